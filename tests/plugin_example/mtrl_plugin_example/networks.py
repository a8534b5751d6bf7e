"""A network: a linear map for each task."""

import torch
from torch import nn

import mtrl
from mtrl.parts.network import Network, NetworkConfig, NetworkShape, TaskSpecific


@mtrl.register_network("plugged_linear", description="a linear map for each task, nothing shared")
class LinearPerTask(Network, TaskSpecific):
    """All parameters are the tasks' own."""

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        draw = torch.rand(shape.copies, shape.num_tasks, shape.in_dim, shape.out_dim, generator=generator)
        self.weight = nn.Parameter((2 * draw - 1) * shape.head_scale)

    def forward(self, x: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """`[group, sample, in]` through each group's own map to `[copies, group, sample, out]`."""
        return torch.einsum("gsi,cgio->cgso", x, self.weight[:, task_id])
