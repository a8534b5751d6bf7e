"""Values as a distribution over fixed numbers, learned by projecting the distribution after the step onto them."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float32

from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError
from mtrl.parts.critic import Backup, Critic, CriticConfig, CriticValues, Reduction
from mtrl.parts.network import GroupTasks, Outputs
from mtrl.parts.part import Setting
from mtrl.parts.register import register_critic

Distributions = Float32[torch.Tensor, "group sample bin"]


@dataclass(frozen=True)
class BinsConfig(CriticConfig):
    """Values within bounds, in bins; rewards should be on a scale that keeps them there."""

    bins: int = 101
    """Numbers that a value is a distribution over."""
    v_min: float = -10.0
    """Lower end of what a value can be."""
    v_max: float = 10.0
    """Upper end of what a value can be."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.v_min >= self.v_max:
            raise UserError(f"--{prefix}v-min {self.v_min} is not below --{prefix}v-max {self.v_max}: give less")


_BOUNDS: Bounds = {"bins": (2, 10_000), "v_min": (-1e9, math.inf), "v_max": (-math.inf, 1e9)}


@register_critic(
    "c51", description="values as a distribution over 101 numbers, learned by cross-entropy", config=BinsConfig
)
class C51(Critic):
    """Categorical values z_0 < ... < z_K, evenly spaced, with probabilities softmax(outputs).

    Bellemare et al., "A Distributional Perspective on Reinforcement Learning", ICML 2017; over 101 numbers and with the
    mean of the target critics' distributions as in BRC (Nauman et al., 2025).
    """

    def __init__(self, setting: Setting, config: BinsConfig) -> None:
        super().__init__()
        self.outputs = config.bins
        self._low, self._high = config.v_min, config.v_max
        self._width = (config.v_max - config.v_min) / (config.bins - 1)
        support = torch.linspace(config.v_min, config.v_max, config.bins, device=setting.device)
        self.register_buffer("_support", support, persistent=False)

    def values(self, outputs: Outputs, task_id: GroupTasks) -> CriticValues:
        """Expectation: sum_j p_j z_j."""
        return outputs.softmax(dim=-1) @ self.get_buffer("_support")

    def target(self, outputs: Outputs, backup: Backup, task_id: GroupTasks, reduction: Reduction) -> Distributions:
        """The distribution of r + discount (z + bonus), with z from the target critics, on the bins.

        z is drawn from the mean of their distributions, from that with the lower expectation, or from the first.
        """
        each = outputs.softmax(dim=-1)
        if reduction == "mean":
            chosen = each.mean(dim=0)
        elif reduction == "min":
            lowest = (each @ self.get_buffer("_support")).argmin(dim=0)
            chosen = each.gather(0, lowest[None, ..., None].expand(1, *each.shape[1:])).squeeze(0)
        else:
            chosen = each[0]
        reward, discount, bonus = (x.unsqueeze(-1) for x in (backup.reward, backup.discount, backup.bonus))
        return self.project(reward + discount * (self.get_buffer("_support") + bonus), chosen)

    def project(self, places: Distributions, mass: Distributions) -> Distributions:
        """Shares every mass out between the two bins next to its place, so that their mean is the place.

        Args:
            places: Where the masses are; clipped to the bounds.
            mass: `[group, sample, bin]`.
        """
        position = (places.clamp(self._low, self._high) - self._low) / self._width
        lower = position.floor().clamp(0, self.outputs - 2)
        share = (position - lower).clamp(0.0, 1.0)
        index = lower.nan_to_num(0.0).to(torch.int64)  # a place that is no number shows in its share
        result = torch.zeros_like(mass)
        result.scatter_add_(-1, index, mass * (1.0 - share))
        return result.scatter_add_(-1, index + 1, mass * share)

    def losses(self, outputs: Outputs, target: torch.Tensor, task_id: GroupTasks) -> CriticValues:
        """Cross-entropy: -sum_j target_j log p_j."""
        return -(target * outputs.log_softmax(dim=-1)).sum(dim=-1)
