"""Running means and variances of each task, on the device."""

import torch
from jaxtyping import Float32, Float64
from torch import nn

from mtrl.ranks import ALONE, Ranks

LEAST_DEVIATION = 1e-2
"""Of observations, as in FastTD3 (Seo et al., 2025)."""
FURTHEST = 10.0
"""Deviations from the mean."""


class Moments(nn.Module):
    """Mean and variance of everything that came so far, for each task; its buffers are written in place.

    Rows are merged as in Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances",
    1979, in double precision, since they count all steps of a run.

    Args:
        num_tasks: Tasks.
        features: Numbers that each have a mean of their own; none for plain numbers.
        device: Where they live.
        ranks: Processes that all add rows of their own, equally many.
    """

    def __init__(self, num_tasks: int, features: tuple[int, ...], device: torch.device, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self._ranks = ranks
        self.register_buffer("count", torch.zeros((), dtype=torch.float64, device=device))
        for name in ("mean", "squares"):
            self.register_buffer(name, torch.zeros((num_tasks, *features), dtype=torch.float64, device=device))

    def add(self, rows: torch.Tensor) -> None:
        """Takes in equally many rows of every task, `[task, sample, ...]`."""
        count, mean, squares = (self.get_buffer(name) for name in ("count", "mean", "squares"))
        rows, new = rows.to(torch.float64), rows.shape[1] * self._ranks.size
        (new_mean,) = self._ranks.mean(rows.mean(dim=1))
        (spread,) = self._ranks.mean((rows - new_mean.unsqueeze(1)).square().sum(dim=1))
        away, share = new_mean - mean, new / (count + new)
        squares += spread * self._ranks.size + away.square() * count * share
        mean += away * share
        count += new

    def variance(self) -> Float64[torch.Tensor, "task ..."]:
        """Of what came so far; 0 before anything did."""
        return self.get_buffer("squares") / self.get_buffer("count").clamp(min=1.0)


class ObsNormalizer(nn.Module):
    """Brings each observation number of each task to mean 0 and deviation 1, by what was seen so far.

    Padding stays as it is. Numbers that hardly vary are divided by `LEAST_DEVIATION`, so that noise is not blown up,
    and what lies further than `FURTHEST` deviations away is brought there.

    Args:
        mask: `[task, obs]` bool, which numbers are real.
        ranks: Processes that train together.
    """

    def __init__(self, mask: torch.Tensor, ranks: Ranks = ALONE) -> None:
        super().__init__()
        self.moments = Moments(mask.shape[0], (mask.shape[1],), mask.device, ranks)
        self.register_buffer("_mask", mask, persistent=False)

    def observe(self, obs: torch.Tensor) -> None:
        """Takes in a step of all worlds, `[env, obs]`, sorted by task."""
        self.moments.add(obs.unflatten(0, (len(self.get_buffer("_mask")), -1)))

    def forward(self, obs: Float32[torch.Tensor, "group sample obs"], task_id: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        mean = self.moments.get_buffer("mean")[task_id].to(torch.float32)
        deviation = self.moments.variance()[task_id].sqrt().clamp(min=LEAST_DEVIATION).to(torch.float32)
        normal = ((obs - mean.unsqueeze(1)) / deviation.unsqueeze(1)).clamp(-FURTHEST, FURTHEST)
        known = self.get_buffer("_mask")[task_id] & (self.moments.get_buffer("count") > 0)
        return torch.where(known.unsqueeze(1), normal, obs)
