"""Rewards divided by the running standard deviation of the discounted returns of single worlds."""

from dataclasses import dataclass

import torch

from mtrl.agents.statistics import Moments
from mtrl.config import check_bounds
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_scale
from mtrl.parts.scale import ScaleConfig

from .worlds import WorldScale

LEAST = 1e-8
"""Of what is divided by."""


@dataclass(frozen=True)
class ReturnDeviationConfig(ScaleConfig):
    """How large returns may become."""

    v_max: float = 10.0
    """The largest return that was seen becomes at most this."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"v_max": (1e-9, 1e9)}, prefix)


@register_scale(
    "return_deviation",
    description="rewards divided by the running deviation of discounted returns, for each task",
    config=ReturnDeviationConfig,
)
class ReturnDeviation(WorldScale):
    """r / max(sigma_i(G), max_i |G| / v_max), with G <- gamma G + r in every world, from 0 at the start of an episode.

    The reward normalisation of FastTD3 (Seo et al., 2025), with one running return for every world: that of all worlds
    of a task together would be the return of none.
    """

    per_world = ("returns",)

    def __init__(self, setting: Setting, config: ReturnDeviationConfig) -> None:
        super().__init__()
        self._tasks, self._gamma, self._v_max = setting.num_tasks, setting.gamma, config.v_max
        self._ranks = setting.ranks
        self.moments = Moments(setting.num_tasks, (), setting.device, setting.ranks)
        self.register_buffer("largest", torch.zeros(setting.num_tasks, device=setting.device))
        self.register_buffer("returns", torch.zeros(0, device=setting.device))

    def observe(
        self, reward: torch.Tensor, terminated: torch.Tensor, ended: torch.Tensor, task_id: torch.Tensor
    ) -> None:
        """See `Scale.observe`."""
        self.make_room(len(reward))
        returns, largest = self.get_buffer("returns"), self.get_buffer("largest")
        returns.mul_(self._gamma).add_(reward)
        rows = returns.unflatten(0, (self._tasks, -1))
        self.moments.add(rows)
        torch.maximum(largest, self._ranks.largest(rows.abs().amax(dim=1)), out=largest)
        returns.masked_fill_(ended, 0.0)

    def factors(self, log_temperature: PerTask) -> PerTask:
        """One before anything was seen."""
        largest = self.get_buffer("largest")
        deviation = self.moments.variance().sqrt().to(torch.float32)
        size = torch.maximum(deviation, largest / self._v_max)
        return torch.where(largest > 0.0, 1.0 / size.clamp(min=LEAST), 1.0)
