"""A shared trunk with one linear head a task (MTMHSAC in Meta-World)."""

import torch

from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode, beside
from .layers import TaskLinear, perceptron


@register_network("multi_head", description="shared trunk, also told the task by a one-hot code; a head for each task")
class MultiHead(Network):
    """Trunk shared, heads apart.

    Yu et al., "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning", 2019.
    """

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.copies = shape.copies
        self.code = TaskCode(shape, config.task, generator)
        self.trunk, features = perceptron(shape.copies, shape.in_dim + self.code.dim, config, generator)
        self.heads = TaskLinear(shape.copies, shape.num_tasks, features, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        return self.heads(self.trunk(beside(x, self.code(task_id), self.copies)), task_id)
