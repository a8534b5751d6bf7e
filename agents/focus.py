"""Losses that weigh more where tasks still fail."""

import torch
from torch import nn

from mtrl.parts.part import PerTask


class Focus(nn.Module):
    """Weights w_i = (f + (1 - f) (1 - s_i)) / mean, with s_i the success of task i and f what a solved task keeps.

    Args:
        floor: f; with 1 all weights are 1.
        num_tasks: Tasks.
        device: Where they live.
    """

    def __init__(self, floor: float, num_tasks: int, device: torch.device) -> None:
        super().__init__()
        self.floor = floor
        self.register_buffer("weight", torch.ones(num_tasks, device=device))

    def follow(self, success: PerTask) -> None:
        """Takes in the success of recent episodes, from 0 to 1; NaN, where none is over, counts as failure."""
        if self.floor < 1.0:
            wanted = self.floor + (1.0 - self.floor) * (1.0 - success.nan_to_num(0.0))
            self.get_buffer("weight").copy_(wanted / wanted.mean())

    def forward(self, losses: PerTask) -> PerTask:
        """Losses of all tasks, weighed."""
        return losses if self.floor >= 1.0 else losses * self.get_buffer("weight")

    def report(self) -> dict[str, torch.Tensor]:
        """What there is to tell."""
        return {} if self.floor >= 1.0 else {"focus": self.get_buffer("weight").clone()}
