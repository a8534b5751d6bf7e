"""How a network is told the task: a code of each task, to be put beside what goes in."""

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.parts.network import ConditioningConfig, GroupTasks, NetworkShape

Code = Float32[torch.Tensor, "copies group code"]


class TaskCode(nn.Module):
    """The code of every task.

    Args:
        shape: Tasks and copies.
        config: Which code.
        generator: Draws initial values.

    Attributes:
        dim: Numbers in a code.
    """

    def __init__(self, shape: NetworkShape, config: ConditioningConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("codes", torch.eye(shape.num_tasks).unsqueeze(0), persistent=False)
        self.dim = shape.num_tasks

    def forward(self, task_id: GroupTasks) -> Code:
        """Codes `[1 or copies, group, code]`."""
        return self.get_buffer("codes")[:, task_id]


def beside(x: Float32[torch.Tensor, "group sample in"], code: Code, copies: int) -> torch.Tensor:
    """Inputs with their task's code at the end, `[copies, group, sample, in + code]`."""
    wide = code.unsqueeze(2).expand(-1, -1, x.shape[1], -1)
    return torch.cat([x.expand(len(code), *x.shape), wide], dim=-1).expand(copies, -1, -1, -1)
