"""CAGrad: the direction near the mean gradient along which the task that gains least gains most.

Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021.
"""

from dataclasses import dataclass

import torch

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig, GradientCombiner, Gram
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner

from .solvers import angles_of, minimize


@dataclass(frozen=True)
class CAGradConfig(CombinerConfig):
    """How far from the mean gradient."""

    c: float = 0.4
    """Radius of the ball around the mean gradient, in its lengths; 0 is the mean."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"c": (0.0, 10.0)}, prefix)


@register_combiner(
    "cagrad", description="near the mean gradient, best for the task that gains least", config=CAGradConfig
)
class CAGrad(GradientCombiner):
    """d = (g_0 + c |g_0| g_w / |g_w|) / (1 + c^2), with w on the simplex where g_w . g_0 + c |g_0| |g_w| is smallest.

    g_0 is the mean gradient and g_w = sum_i w_i g_i.
    """

    def __init__(self, setting: Setting, config: CAGradConfig) -> None:
        super().__init__()
        self.c = config.c

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """See the class."""
        mean = torch.full(losses.shape, 1.0 / len(losses), dtype=torch.float64, device=losses.device)
        return conflict_averse(gram.double(), mean, torch.ones_like(mean), self.c)


def conflict_averse(gram: torch.Tensor, mean: torch.Tensor, among: torch.Tensor, c: float) -> torch.Tensor:
    """Weights of CAGrad's direction.

    |g_w| is written as the least of (|g_w|^2 / s + s) / 2 over s > 0: without a kink where g_w is zero, which is the
    solution where gradients conflict so much that no direction within the ball serves all. Gradients that are zero
    take no part in the minimum.

    Args:
        gram: `[gradient, gradient]`.
        mean: `[gradient]`, what the mean gradient is of these.
        among: `[gradient]`, 1 for those that are to gain, 0 for others.
        c: Radius.
    """
    if c == 0.0:
        return mean
    angles = angles_of(gram)
    among = among * angles.present
    largest = angles.norms.amax()
    least = torch.where(among > 0.0, angles.norms, torch.inf).amin().clamp(max=1e300)
    row = torch.where(among.sum() > 0.0, among * least / angles.norms, 1.0)
    pull = angles.cosines @ (mean * angles.present * angles.norms / largest)
    length = (mean @ (gram @ mean)).clamp(min=0.0).sqrt() / largest
    linear = torch.where(among > 0.0, pull / length.clamp(min=1e-12), 1.0)  # the others are best left at 0
    cosines = angles.cosines * torch.outer(among, among)
    solution = _solve(cosines, linear, row, c)
    lengths = solution[:-1] * among
    size = torch.maximum(solution[-1], (lengths @ (cosines @ lengths)).clamp(min=0.0).sqrt())
    return (mean + c * length * largest * lengths / angles.norms / size) / (1.0 + c * c)


def _solve(cosines: torch.Tensor, linear: torch.Tensor, row: torch.Tensor, c: float) -> torch.Tensor:
    """Minimum of linear . v + c (v . cosines @ v / s + s) / 2 over row . v = 1, v >= 0, s >= 0: v and s."""
    count = len(row)

    def value(points: torch.Tensor) -> torch.Tensor:
        v, s = points[:, :count], points[:, count]
        return v @ linear + 0.5 * c * ((v @ cosines * v).sum(dim=1) / s + s)

    def derivatives(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        v, s = x[:count], x[count]
        bend = cosines @ v / s
        share = v @ bend / s
        corner = torch.cat([torch.cat([cosines, -bend[:, None]], 1), torch.cat([-bend, share[None]])[None]])
        return torch.cat([linear + c * bend, (0.5 * c * (1.0 - share))[None]]), c * corner / s

    start = torch.where(row > 0.0, 1.0 / row.clamp(min=1e-300), 1.0) / (row > 0.0).sum()
    size = (start @ (cosines @ start)).clamp(min=1e-6).sqrt()
    return minimize(value, derivatives, torch.cat([row, row.new_zeros(1)]), torch.cat([start, size[None]]), steps=16)
