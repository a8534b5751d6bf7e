"""A shared trunk with a head for each task (MTMHSAC in Meta-World)."""

import math
from dataclasses import dataclass

import torch

from mtrl.config import Bounds, check_bounds
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode, beside
from .layers import TaskLinear, TaskPerceptron, perceptron


@dataclass(frozen=True)
class MultiHeadConfig(NetworkConfig):
    """A trunk and heads of any size."""

    name: str = "multi_head"
    head_width: int = 400
    """Units of each hidden layer of a head."""
    head_depth: int = 0
    """Hidden layers of a head; 0: heads are linear."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)


_BOUNDS: Bounds = {"head_width": (1, math.inf), "head_depth": (0, 100)}


@register_network(
    "multi_head",
    description="shared trunk, also told the task by a one-hot code; a head for each task",
    config=MultiHeadConfig,
)
class MultiHead(Network):
    """Trunk shared, heads apart: y = head_i(trunk([x, code_i])).

    Yu et al., "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning", 2019.
    """

    def __init__(self, shape: NetworkShape, config: MultiHeadConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, tasks = shape.copies, shape.num_tasks
        self.copies = copies
        self.code = TaskCode(shape, config.task, generator)
        self.trunk, features = perceptron(copies, shape.in_dim + self.code.dim, config, generator)
        sizes = (features, *[config.head_width] * config.head_depth)
        self.hidden = TaskPerceptron(copies, tasks, sizes, config, generator)
        self.heads = TaskLinear(copies, tasks, sizes[-1], shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        features = self.trunk(beside(x, self.code(task_id), self.copies))
        return self.heads(self.hidden(features, task_id), task_id)
