"""A network: a linear map for each task."""

import torch
from torch import nn

import mtrl
from mtrl.algorithm import NetworkConfig, NetworkShape


@mtrl.register_network("plugged_linear", description="a linear map for each task, nothing shared")
class LinearPerTask(nn.Module):
    """`[batch, in]` and task ids `[batch]` to `[copies, batch, out]`."""

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        draw = torch.rand(shape.copies, shape.num_tasks, shape.in_dim, shape.out_dim, generator=generator)
        self.weight = nn.Parameter((2 * draw - 1) * shape.head_scale)

    def forward(self, x: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """Applies each row's own map."""
        return torch.einsum("bi,cbio->cbo", x, self.weight[:, task_id])
