"""Rewards divided by their running standard deviation."""

from dataclasses import dataclass

import torch

from mtrl.config import check_bounds
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_scale
from mtrl.parts.scale import Scale, ScaleConfig

LEAST_DEVIATION = 1e-8


@dataclass(frozen=True)
class RewardDeviationConfig(ScaleConfig):
    """How fast the statistics follow."""

    rate: float = 1e-3
    """Share of every new reward in the running mean and variance."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"rate": (1e-12, 1.0)}, prefix)


@register_scale(
    "reward_deviation",
    description="rewards divided by their running standard deviation, for each task",
    config=RewardDeviationConfig,
)
class RewardDeviation(Scale):
    """r / sigma_i, the mean not subtracted; m <- m + rate (r - m), then v <- v + rate ((r - m)^2 - v), sigma^2 = v.

    The reward normalisation of Sodhani et al., "Multi-Task Reinforcement Learning with Context-based Representations",
    ICML 2021 (CARE). Several worlds of a task that step together count as that many rewards in a row, each with the
    mean of them all. Rewards are divided when they are learned from, not when they are stored.
    """

    def __init__(self, setting: Setting, config: RewardDeviationConfig) -> None:
        super().__init__()
        self._tasks, self._rate, self._ranks = setting.num_tasks, config.rate, setting.ranks
        self.register_buffer("mean", torch.zeros(setting.num_tasks, device=setting.device))
        self.register_buffer("variance", torch.ones(setting.num_tasks, device=setting.device))

    def observe(
        self, reward: torch.Tensor, terminated: torch.Tensor, ended: torch.Tensor, task_id: torch.Tensor
    ) -> None:
        """See `Scale.observe`."""
        rows = reward.unflatten(0, (self._tasks, -1))
        share = 1.0 - (1.0 - self._rate) ** (rows.shape[1] * self._ranks.size)
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        mean.lerp_(self._ranks.mean(rows.mean(dim=1))[0], share)
        variance.lerp_(self._ranks.mean((rows - mean[:, None]).square().mean(dim=1))[0], share)

    def factors(self, log_temperature: PerTask) -> PerTask:
        """One over the deviation."""
        return 1.0 / self.get_buffer("variance").sqrt().clamp(min=LEAST_DEVIATION)
