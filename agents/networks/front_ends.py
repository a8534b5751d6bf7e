"""Encoders of each task's own observation, decision layers that all tasks share, heads of each task's own.

Tasks may differ in what they observe and in how they act; the shared layers see features alone and hold nothing that
depends on the number or the names of the tasks. So they can be frozen and carried over to other suites.
"""

import math
from dataclasses import dataclass

import torch

from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .layers import TaskLinear, TaskPerceptron, perceptron
from .multi_head import MultiHeadConfig


@dataclass(frozen=True)
class FrontEndsConfig(MultiHeadConfig):
    """Front ends, shared layers (`width`, `depth`) and heads of any size."""

    name: str = "front_ends"
    front_width: int = 128
    """Units of each layer of a front end; as many numbers go into the shared layers."""
    front_depth: int = 2
    """Layers of a front end."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.task.code not in ("default", "one_hot", "hidden"):
            raise UserError(
                f"--{prefix}task.code {self.task.code} has no use in front_ends, whose shared layers are not told the "
                "task: leave it out"
            )


_BOUNDS: Bounds = {"front_width": (1, math.inf), "front_depth": (1, 100)}


@register_network(
    "front_ends",
    description="encoders of each task's own observation, shared decision layers, a head for each task",
    config=FrontEndsConfig,
)
class FrontEnds(Network):
    """y = head_i(shared(encoder_i(x))), where what is padding for task i counts in nothing."""

    def __init__(self, shape: NetworkShape, config: FrontEndsConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, tasks = shape.copies, shape.num_tasks
        self.copies = copies
        real = torch.ones(tasks, shape.in_dim, dtype=torch.bool) if shape.in_mask is None else shape.in_mask
        self.register_buffer("real", real, persistent=False)
        fronts = (shape.in_dim, *[config.front_width] * config.front_depth)
        self.encoders = TaskPerceptron(copies, tasks, fronts, config, generator)
        self._scale_to(real)
        self.shared, features = perceptron(copies, config.front_width, config, generator)
        heads = (features, *[config.head_width] * config.head_depth)
        self.hidden = TaskPerceptron(copies, tasks, heads, config, generator)
        self.heads = TaskLinear(copies, tasks, heads[-1], shape.out_dim, generator, shape.head_scale)

    @torch.no_grad()
    def _scale_to(self, real: torch.Tensor) -> None:
        """Draws first layers as wide as each task's own observation; weights of padding are zero, and stay."""
        weight = next(self.encoders.parameters())
        count = real.sum(dim=1).clamp(min=1)
        weight.mul_((real.shape[1] / count).sqrt()[:, None, None] * real[:, :, None])

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        own = torch.where(self.get_buffer("real")[task_id].unsqueeze(1), x, 0.0)
        features = self.shared(self.encoders(own.expand(self.copies, *x.shape), task_id))
        return self.heads(self.hidden(features, task_id), task_id)
