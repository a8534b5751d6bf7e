"""Rewards divided by the largest discounted return that any episode had from any of its steps on."""

import math
from dataclasses import dataclass

import torch

from mtrl.config import check_bounds
from mtrl.errors import UserError
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_scale
from mtrl.parts.scale import ScaleConfig

from .worlds import WorldScale

SETTLED = 1e-3
"""A return is known when what follows counts less than this."""
LEAST = 1e-8
"""Of what is divided by."""


@dataclass(frozen=True)
class ReturnRangeConfig(ScaleConfig):
    """How large returns may become."""

    v_max: float = 10.0
    """The largest return, and half of the entropy's worth, become this."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"v_max": (1e-9, 1e9)}, prefix)


@register_scale(
    "return_range",
    description="rewards divided by the largest discounted return that was seen, for each task",
    config=ReturnRangeConfig,
)
class ReturnRange(WorldScale):
    """r / [(max_i |G| + alpha_i H |h_i| / 2) / v_max], with H = 1 / (1 - gamma) and h the target entropy.

    The reward normalisation of BRC (Nauman et al., "Bigger, Regularized, Categorical", NeurIPS 2025). G are the
    discounted returns of an episode from each of its steps on, known when it is over; where it was truncated, its mean
    reward goes on for ever. What entropy is worth is alpha H h where the policy keeps to its target; BRC writes it with
    the sign of a target below zero, here it is a size, so that a target above zero makes values larger as well.

    The returns of all steps are added up side by side, as each reward comes. Those from steps so long ago that nothing
    more counts (`SETTLED`) are taken as they are, so that episodes may be of any length.
    """

    per_world = ("returns", "age", "total")

    def __init__(self, setting: Setting, config: ReturnRangeConfig) -> None:
        super().__init__()
        if setting.gamma >= 1.0:
            raise UserError(f"scale '{config.name}' needs a discount below 1: lower --algorithm.gamma")
        self._tasks, self._gamma, self._v_max = setting.num_tasks, setting.gamma, config.v_max
        self._ranks = setting.ranks
        self._horizon, device = 1.0 / (1.0 - setting.gamma), setting.device
        columns = max(1, math.ceil(math.log(SETTLED) / math.log(max(setting.gamma, 1e-9))))
        entropy = torch.zeros(setting.num_tasks) if setting.target_entropy is None else setting.target_entropy
        self.register_buffer("_entropy", 0.5 * self._horizon * entropy.abs().to(device), persistent=False)
        self.register_buffer("_columns", torch.arange(columns, device=device), persistent=False)
        self.register_buffer("largest", torch.zeros(setting.num_tasks, device=device))
        self.register_buffer("returns", torch.zeros((0, columns), device=device))
        self.register_buffer("age", torch.zeros((0, 1), dtype=torch.int64, device=device))
        self.register_buffer("total", torch.zeros((0, 1), device=device))

    def observe(
        self, reward: torch.Tensor, terminated: torch.Tensor, ended: torch.Tensor, task_id: torch.Tensor
    ) -> None:
        """See `Scale.observe`."""
        self.make_room(len(reward))
        returns, age, total = (self.get_buffer(name) for name in self.per_world)
        columns, reward, ended = self.get_buffer("_columns"), reward[:, None], ended[:, None]
        # Step `age` of an episode begins in column `age % columns`; `back` is how many steps ago that of a column was.
        back = torch.remainder(age - columns, len(columns))
        held = back <= age
        self._take(torch.where((back == 0) & (age >= len(columns)), returns, 0.0))
        returns.masked_fill_(back == 0, 0.0)
        returns += torch.where(held, torch.pow(self._gamma, back.to(torch.float32)) * reward, 0.0)
        age += 1
        total += reward
        rest = torch.where(terminated[:, None], 0.0, self._horizon * total / age)
        following = torch.pow(self._gamma, back.to(torch.float32) + 1.0) * rest
        self._take(torch.where(held & ended, returns + following, 0.0))
        for buffer in (age, total):
            buffer.masked_fill_(ended, 0)

    def _take(self, returns: torch.Tensor) -> None:
        """Takes in returns, `[world, column]`, 0 where there is none."""
        largest = self.get_buffer("largest")
        found = returns.abs().amax(dim=1).unflatten(0, (self._tasks, -1)).amax(dim=1)
        torch.maximum(largest, self._ranks.largest(found), out=largest)

    def factors(self, log_temperature: PerTask) -> PerTask:
        """One before any episode was over."""
        largest = self.get_buffer("largest")
        size = (largest + log_temperature.exp() * self.get_buffer("_entropy")) / self._v_max
        return torch.where(largest > 0.0, 1.0 / size.clamp(min=LEAST), 1.0)
