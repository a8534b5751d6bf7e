"""One network for all tasks, told the task by a code at its input (MTSAC in Meta-World)."""

import torch

from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode, beside
from .layers import Linear, perceptron


@register_network("one_hot", description="every layer shared; the task is a one-hot code at the input")
class OneHot(Network):
    """Trunk and head, both shared.

    Yu et al., "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning", 2019.
    """

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.copies = shape.copies
        self.code = TaskCode(shape, config.task, generator)
        self.trunk, features = perceptron(shape.copies, shape.in_dim + self.code.dim, config, generator)
        self.head = Linear(shape.copies, features, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        return self.head(self.trunk(beside(x, self.code(task_id), self.copies)))
