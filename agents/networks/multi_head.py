"""A shared trunk with one linear head a task (MTMHSAC in Meta-World)."""

import torch
from jaxtyping import Float32, Int64
from torch import nn

from mtrl.algorithm import NETWORKS, NetworkConfig, NetworkShape

from .layers import Copies, Linear, Trunk


@NETWORKS.decorator("multi_head", "shared trunk, also told the task by a one-hot code; a linear head for each task")
class MultiHead(nn.Module):
    """Trunk shared, heads apart.

    Every head is computed in one product and the task's own is picked, which costs less than gathering weights.
    Yu et al., "Meta-World: A Benchmark and Evaluation for Multi-Task and Meta Reinforcement Learning", 2019.
    """

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.num_tasks, self.out_dim = shape.num_tasks, shape.out_dim
        self.trunk = Trunk(shape, config, generator)
        outputs = shape.num_tasks * shape.out_dim
        self.heads = Linear(shape.copies, self.trunk.out_dim, outputs, generator, shape.head_scale)

    def forward(self, x: Float32[torch.Tensor, "batch in"], task_id: Int64[torch.Tensor, " batch"]) -> Copies:
        """`[batch, in]` and `[batch]` to `[copies, batch, out]`."""
        every = self.heads(self.trunk(x, task_id)).unflatten(-1, (self.num_tasks, self.out_dim))
        return every[:, torch.arange(len(task_id), device=task_id.device), task_id]
