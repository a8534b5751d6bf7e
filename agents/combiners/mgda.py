"""MGDA: the shortest vector in the convex hull of the tasks' gradients, along which all losses fall.

Désidéri, "Multiple-gradient descent algorithm", 2012; Sener and Koltun, "Multi-Task Learning as Multi-Objective
Optimization", NeurIPS 2018.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from mtrl.parts.combiner import CombinerConfig, GradientCombiner, Gram
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner

from .solvers import angles_of, minimize

SMALLEST = 1e-3
"""Losses count as at least this large where gradients are divided by them."""


@dataclass(frozen=True)
class MGDAConfig(CombinerConfig):
    """What gradients are divided by beforehand."""

    normalize: Literal["none", "norm", "loss", "both"] = "none"
    """Divide the tasks' gradients by their length, by the size of their loss, or by both."""


@register_combiner("mgda", description="shortest common descent direction of all tasks", config=MGDAConfig)
class MGDA(GradientCombiner):
    """d = sum_i w_i g_i / z_i with w on the simplex where |d| is smallest.

    z_i is what gradients are divided by, relative to its mean over tasks, or 1. A task whose gradient is zero takes no
    part; it would hold all others up.
    """

    def __init__(self, setting: Setting, config: MGDAConfig) -> None:
        super().__init__()
        self.normalize = config.normalize

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """See the class."""
        divisor = self._divisor(gram.double(), losses.double())
        return shortest(gram.double() / torch.outer(divisor, divisor)) / divisor

    def _divisor(self, gram: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        angles = angles_of(gram)
        divisor = torch.ones_like(losses)
        if self.normalize in ("norm", "both"):
            divisor = divisor * angles.norms
        if self.normalize in ("loss", "both"):
            divisor = divisor * losses.abs().clamp(min=SMALLEST)
        mean = (divisor * angles.present).sum() / angles.present.sum().clamp(min=1.0)
        return torch.where((angles.present > 0.0) & (mean > 0.0), divisor / mean, 1.0)


def shortest(gram: torch.Tensor) -> torch.Tensor:
    """Weights on the simplex under which sum_i w_i g_i is shortest; 0 for gradients that are zero."""
    angles = angles_of(gram)
    least = torch.where(angles.present > 0.0, angles.norms, torch.inf).amin().clamp(max=1e300)
    row = torch.where(angles.present.sum() > 0.0, angles.present * least / angles.norms, 1.0)

    def value(points: torch.Tensor) -> torch.Tensor:
        return 0.5 * (points @ angles.cosines * points).sum(dim=1)

    def derivatives(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return angles.cosines @ x, angles.cosines

    lengths = minimize(value, derivatives, row, torch.ones_like(row) / row.sum(), steps=12)
    weights = angles.present * lengths / angles.norms
    return weights / weights.sum().clamp(min=1e-300)
