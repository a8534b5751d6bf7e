"""Gaussian policies, for on-policy learning: what an actor network's outputs stand for."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mtrl.parts.critic import Samples
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkAround, Outputs, TaskSpecific

from .policy import HALF_LOG_TWO_PI, Distribution, GroupedActions

Spread = Literal["task", "all", "state"]
"""Where a standard deviation comes from: learned for each task, learned for all together, or the network's output."""


@dataclass(frozen=True)
class Gaussian(Distribution):
    """A Gaussian over real numbers, which are brought to [-1, 1] for the environment.

    Probabilities are those of what was drawn, before that: a ratio of two of them is the same after it.

    Attributes:
        initial_log_std: What is added to the log standard deviation that the network gives, which begins near 0.
        min_log_std: Lower bound of the log standard deviation.
        max_log_std: Upper bound of the log standard deviation; a tensor where it changes.
        squash: By tanh; otherwise numbers outside are clipped.
    """

    initial_log_std: float
    min_log_std: float
    max_log_std: float | torch.Tensor
    squash: bool

    def parameters(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Distribution.parameters`."""
        mean, raw = outputs.chunk(2, dim=-1)
        log_std, highest = raw + self.initial_log_std, self.max_log_std
        if isinstance(highest, torch.Tensor):
            return mean, torch.minimum(log_std.clamp(min=self.min_log_std), highest)
        return mean, log_std.clamp(self.min_log_std, highest)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor) -> tuple[GroupedActions, Samples]:
        """See `Distribution.sample`."""
        mean, log_std = self.parameters(outputs)
        drawn = (mean + log_std.exp() * noise) * mask
        return drawn, self.log_prob(outputs, drawn, mask)

    def log_prob(self, outputs: torch.Tensor, drawn: torch.Tensor, mask: torch.Tensor) -> Samples:
        """Of what was drawn, over the real action numbers."""
        mean, log_std = self.parameters(outputs)
        away = (drawn - mean) * (-log_std).exp()
        return ((-0.5 * away.square() - log_std - HALF_LOG_TWO_PI) * mask).sum(dim=-1)

    def divergence(self, before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor) -> Samples:
        """Kullback-Leibler, of what is drawn with outputs `after` from what was drawn `before`."""
        (mean, log_std), (new_mean, new_log_std) = self.parameters(before), self.parameters(after)
        squares = (2.0 * log_std).exp() + (mean - new_mean).square()
        each = new_log_std - log_std + 0.5 * squares * (-2.0 * new_log_std).exp() - 0.5
        return (each * mask).sum(dim=-1)

    def entropy(self, outputs: torch.Tensor, mask: torch.Tensor) -> Samples:
        """Of what is drawn, over the real action numbers."""
        _, log_std = self.parameters(outputs)
        return ((log_std + 0.5 + HALF_LOG_TWO_PI) * mask).sum(dim=-1)

    def action(self, drawn: torch.Tensor) -> torch.Tensor:
        """See `Distribution.action`."""
        return torch.tanh(drawn) if self.squash else drawn.clamp(-1.0, 1.0)

    def mode(self, outputs: torch.Tensor, mask: torch.Tensor) -> GroupedActions:
        """See `Distribution.mode`."""
        return self.action(self.parameters(outputs)[0] * mask)


class TaskSpread(TaskSpecific):
    """Numbers of each task's own, the same in all states, beside what a network gives.

    Args:
        copies: Of the network.
        num_tasks: Tasks.
        numbers: Of each.
    """

    def __init__(self, copies: int, num_tasks: int, numbers: int) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(copies, num_tasks, 1, numbers))

    def forward(self, mean: Outputs, task_id: GroupTasks) -> Outputs:
        """`[copies, group, sample, act]` to `[copies, group, sample, 2 * act]`."""
        return torch.cat([mean, self.log_std[:, task_id].expand_as(mean)], dim=-1)


class CommonSpread(nn.Module):
    """The same numbers for all tasks and states, beside what a network gives.

    Args:
        copies: Of the network.
        numbers: Beside it.
    """

    def __init__(self, copies: int, numbers: int) -> None:
        super().__init__()
        self.log_std = nn.Parameter(torch.zeros(copies, 1, 1, numbers))

    def forward(self, mean: Outputs, task_id: GroupTasks) -> Outputs:
        """`[copies, group, sample, act]` to `[copies, group, sample, 2 * act]`."""
        return torch.cat([mean, self.log_std.expand_as(mean)], dim=-1)


class WithSpread(NetworkAround):
    """A network of means, and a spread beside them that is no output of it."""

    def __init__(self, body: Network, spread: TaskSpread | CommonSpread) -> None:
        super().__init__(body)
        self.spread = spread

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        return self.spread(self.body(x, task_id), task_id)
