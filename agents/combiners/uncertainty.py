"""Uncertainty weights: each task's loss is weighed by a noise that is learned for it.

Kendall et al., "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner


@dataclass(frozen=True)
class UncertaintyConfig(CombinerConfig):
    """How the weights are learned."""

    learning_rate: float = 3e-4
    """Adam's step size for the log variances."""
    initial: float = 0.0
    """Log variance of every task at the start."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"learning_rate": (0.0, 1.0), "initial": (-20.0, 20.0)}, prefix)


@register_combiner(
    "uncertainty", description="weights by a learned noise of each task's loss", config=UncertaintyConfig
)
class Uncertainty(Weighting):
    """sum_i e^(-s_i) l_i / 2 + s_i / 2, with learned s.

    A loss that may be negative, as an actor's, would draw s to minus infinity. So s is learned from the size |l_i|,
    which makes no difference for losses that are never negative: e^s_i follows the size of the loss. A loss of exactly
    0 is that of a task that sits out, and teaches s nothing.
    """

    def __init__(self, setting: Setting, config: UncertaintyConfig) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.full((setting.num_tasks,), config.initial, device=setting.device))
        self.optimizer = torch.optim.Adam([self.log_variance], config.learning_rate, fused=True)

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """See the class."""
        s = self.log_variance
        sizes = losses.detach().abs()
        learned = torch.where(sizes > 0.0, 0.5 * (-s).exp() * sizes + 0.5 * s, 0.0)
        weighted = 0.5 * (-s.detach()).exp() * losses
        return (weighted + learned - learned.detach()).sum()
