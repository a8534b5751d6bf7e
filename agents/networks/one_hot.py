"""One network for all tasks, told the task by a one-hot code at its input (MTSAC in Meta-World)."""

import torch
from jaxtyping import Float32, Int64
from torch import nn

from mtrl.algorithm import NETWORKS, NetworkConfig, NetworkShape

from .layers import Copies, Linear, Trunk


@NETWORKS.decorator("one_hot", "every layer shared; the task is a one-hot code at the input")
class OneHot(nn.Module):
    """Trunk and head, both shared.

    Yu et al., "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning", 2019.
    """

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.trunk = Trunk(shape, config, generator)
        self.head = Linear(shape.copies, self.trunk.out_dim, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Float32[torch.Tensor, "batch in"], task_id: Int64[torch.Tensor, " batch"]) -> Copies:
        """`[batch, in]` and `[batch]` to `[copies, batch, out]`."""
        return self.head(self.trunk(x, task_id))
