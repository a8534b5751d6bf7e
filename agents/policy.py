"""Policies as distributions over actions: what an actor network's outputs stand for."""

import abc
import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.parts.critic import Samples

GroupedActions = Float32[torch.Tensor, "group sample act"]
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
FLAT = -10.0
"""Below this softplus is hardly more than 0."""


class Distribution(abc.ABC):
    """Over actions. `mask` is 1 where an action number is real, to be broadcast to `[..., act]`."""

    @abc.abstractmethod
    def parameters(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`[..., 2 * act]` of the network to the mean and the log standard deviation, `[..., act]` each."""

    @abc.abstractmethod
    def sample(self, outputs: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor) -> tuple[GroupedActions, Samples]:
        """What is drawn, 0 where it is not real, and its log-probability over the real action numbers.

        Args:
            outputs: `[..., 2 * act]` of the network.
            noise: `[..., act]`, standard normal.
            mask: See above.
        """

    @abc.abstractmethod
    def action(self, drawn: torch.Tensor) -> torch.Tensor:
        """What the environment gets of what was drawn, in [-1, 1]."""

    @abc.abstractmethod
    def mode(self, outputs: torch.Tensor, mask: torch.Tensor) -> GroupedActions:
        """The action of the mean."""


@dataclass(frozen=True)
class SquashedGaussian(Distribution):
    """Tanh of a Gaussian, whose mean and spread the network gives.

    Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018, appendix C.

    Attributes:
        spread: How the standard deviation follows from the network's output.
        min_log_std: Lower bound of its logarithm.
        max_log_std: Upper bound of its logarithm.
    """

    spread: Literal["clip", "tanh", "softplus"]
    min_log_std: float
    max_log_std: float

    def parameters(self, outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Distribution.parameters`."""
        mean, raw = outputs.chunk(2, dim=-1)
        if self.spread == "tanh":
            half = 0.5 * (self.max_log_std - self.min_log_std)
            return mean, self.min_log_std + half * (1.0 + torch.tanh(raw))
        if self.spread == "softplus":
            # log(softplus(x)) is x - exp(x) / 2 + ... far below zero, where softplus itself rounds to 0
            flat = raw.clamp(max=FLAT)
            raw = torch.where(raw < FLAT, raw - 0.5 * flat.exp(), nn.functional.softplus(raw.clamp(min=FLAT)).log())
        return mean, raw.clamp(self.min_log_std, self.max_log_std)

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor, mask: torch.Tensor) -> tuple[GroupedActions, Samples]:
        """Actions and their log-probability, see `Distribution.sample`."""
        mean, log_std = self.parameters(outputs)
        raw = mean + log_std.exp() * noise
        log_gaussian = -0.5 * noise.square() - log_std - HALF_LOG_TWO_PI
        # log(1 - tanh(u)^2) written so that it neither overflows nor rounds to log(0)
        log_slope = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        return torch.tanh(raw) * mask, ((log_gaussian - log_slope) * mask).sum(dim=-1)

    def action(self, drawn: torch.Tensor) -> torch.Tensor:
        """It is an action."""
        return drawn

    def mode(self, outputs: torch.Tensor, mask: torch.Tensor) -> GroupedActions:
        """The tanh of the mean."""
        return torch.tanh(self.parameters(outputs)[0]) * mask
