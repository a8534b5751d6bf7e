"""GradNorm: learned weights under which all tasks' gradients are about as long.

Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks", ICML 2018.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig, GradientCombiner, Gram
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner

SMALLEST = 1e-4
"""Weights are kept above."""


@dataclass(frozen=True)
class GradNormConfig(CombinerConfig):
    """How the weights are learned."""

    exponent: float = 1.5
    """How much more a task that has learned less is to weigh; 0: all gradients are to be as long."""
    learning_rate: float = 0.025
    """Adam's step size for the weights."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"exponent": (0.0, 10.0), "learning_rate": (0.0, 1.0)}, prefix)


@register_combiner(
    "gradnorm", description="learned weights under which all tasks' gradients are as long", config=GradNormConfig
)
class GradNorm(GradientCombiner):
    """sum_i w_i l_i / N, where w learns to make sum_i | w_i |g_i| - G r_i^a | small and sums to N.

    G is the mean of w_i |g_i|, and r_i the loss relative to the task's first, over the mean of these; both are targets
    without gradient. Losses that are not positive have no such ratio: their tasks count as average ones, r_i = 1.
    """

    def __init__(self, setting: Setting, config: GradNormConfig) -> None:
        super().__init__()
        self.exponent = config.exponent
        self.task_weights = nn.Parameter(torch.ones(setting.num_tasks, device=setting.device))
        self.register_buffer("first_losses", torch.zeros(setting.num_tasks, device=setting.device))
        self.optimizer = torch.optim.Adam([self.task_weights], config.learning_rate, fused=True)

    def own_weights(self, weights: PerTask) -> PerTask:
        """The same: they weigh losses."""
        return weights

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """Those before this update, from which the next ones are learned."""
        before = self.task_weights.detach() / len(losses)
        first = self.get_buffer("first_losses")
        first.copy_(torch.where(first == 0.0, losses, first))  # once: a loss of 0 is that of a task that sits out
        self.task_weights.grad = self.slope(gram.diagonal().clamp(min=0.0).sqrt(), losses)
        assert self.optimizer is not None
        self.optimizer.step()
        learned = self.task_weights.detach().clamp(min=SMALLEST)
        self.task_weights.copy_(learned * len(losses) / learned.sum())
        return before

    def slope(self, norms: PerTask, losses: PerTask) -> PerTask:
        """Derivative of the sum by the weights."""
        first = self.get_buffer("first_losses")
        positive = (first > 0.0) & (losses > 0.0)
        ratios = torch.where(positive, losses / torch.where(positive, first, 1.0), 1.0)
        rates = torch.where(positive, ratios / ratios.mean(), 1.0)
        weighted = self.task_weights.detach() * norms
        return norms * torch.sign(weighted - weighted.mean() * rates**self.exponent)
