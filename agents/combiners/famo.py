"""FAMO: weights under which all losses fall at about the same rate, from the losses alone.

Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner


@dataclass(frozen=True)
class FAMOConfig(CombinerConfig):
    """How the weights are learned."""

    learning_rate: float = 0.025
    """Adam's step size for the weights' logits."""
    decay: float = 0.01
    """Weight decay of the logits, which draws the weights together."""
    epsilon: float = 1e-8
    """Added to losses before their logarithm is taken."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"learning_rate": (0.0, 10.0), "decay": (0.0, 10.0), "epsilon": (1e-30, 1.0)}, prefix)


@register_combiner("famo", description="all losses fall at about the same rate", config=FAMOConfig)
class FAMO(Weighting):
    """sum_i c z_i log(l_i - b_i + epsilon), with z = softmax(logits) and c = 1 / sum_i z_i / (l_i - b_i + epsilon).

    After the step, the logits follow the losses' logarithms before it less those after it: Adam moves them along minus
    J^T (log before - log after), where J is the softmax's Jacobian. So a loss that fell less than others weighs more.

    b_i is 0 for losses that were never negative, and otherwise twice the smallest one seen: as far below it as it is
    below zero. A loss of exactly 0 is that of a task that sits out; it takes no part.
    """

    def __init__(self, setting: Setting, config: FAMOConfig) -> None:
        super().__init__()
        self.epsilon = config.epsilon
        self.logits = nn.Parameter(torch.zeros(setting.num_tasks, device=setting.device))
        self.register_buffer("smallest", torch.zeros(setting.num_tasks, device=setting.device))
        self.register_buffer("before", torch.ones(setting.num_tasks, device=setting.device))
        self.optimizer = torch.optim.Adam([self.logits], config.learning_rate, weight_decay=config.decay, fused=True)

    def _above(self, losses: PerTask) -> PerTask:
        """Losses less their lower bounds."""
        return losses - 2.0 * self.get_buffer("smallest") + self.epsilon

    def _take_in(self, losses: PerTask) -> None:
        smallest = self.get_buffer("smallest")
        smallest.copy_(torch.minimum(smallest, losses.detach()))

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """See the class. The logits get no gradient from here, and so stay as they are until `stepped`."""
        self._take_in(losses)
        self.get_buffer("before").copy_(losses.detach())
        above, shares = self._above(losses), torch.softmax(self.logits.detach(), dim=0)
        shares = torch.where(losses.detach() == 0.0, 0.0, shares)
        scale = (shares / above.detach()).sum().clamp(min=1e-30)
        return (shares * above.log()).sum() / scale

    @torch.no_grad()
    def stepped(self, objective: Objective) -> None:
        """Learns from what the step did to the losses."""
        after, before = objective.value(), self.get_buffer("before")
        self._take_in(after)
        fell = self._above(before).log() - self._above(after).log()
        fell = torch.where((before == 0.0) | (after == 0.0), 0.0, fell)
        shares = torch.softmax(self.logits, dim=0)
        self.logits.grad = shares * (fell - (shares * fell).sum())
        assert self.optimizer is not None
        self.optimizer.step()
