"""FairGrad: the direction is alpha-fair to the tasks' gains.

Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024.
"""

from dataclasses import dataclass

import torch

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig, GradientCombiner, Gram
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner

from .solvers import angles_of, balance


@dataclass(frozen=True)
class FairGradConfig(CombinerConfig):
    """Which fairness."""

    alpha: float = 2.0
    """1 is proportional fairness, as of Nash-MTL; larger numbers look more to the task that gains least."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"alpha": (0.1, 10.0)}, prefix)


@register_combiner("fairgrad", description="fair shares of what each task gains by a step", config=FairGradConfig)
class FairGrad(GradientCombiner):
    """d = sum_i w_i g_i with w > 0 and G w = w^(-1 / alpha), where G_ij = g_i . g_j.

    The weights act on the losses, and so on what tasks have of their own too. A task whose gradient is zero weighs
    nothing.
    """

    def __init__(self, setting: Setting, config: FairGradConfig) -> None:
        super().__init__()
        self.alpha = config.alpha

    def own_weights(self, weights: PerTask) -> PerTask:
        """The same: they weigh losses."""
        return weights

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """See the class."""
        return fair(gram, self.alpha)


def fair(gram: torch.Tensor, alpha: float) -> torch.Tensor:
    """The only w > 0 with G w = w^(-1 / alpha); 0 for gradients that are zero.

    With y_i = w_i |g_i| the equations are cosines @ y = |g_i|^(1 / alpha - 1) y^(-1 / alpha). Lengths are measured in
    their mean, and the result is scaled back.
    """
    angles, power = angles_of(gram), 1.0 / alpha
    mean = (angles.norms * angles.present).sum() / angles.present.sum().clamp(min=1.0)
    unit = torch.where(mean > 0.0, mean, 1.0)
    norms = torch.where(angles.present > 0.0, angles.norms / unit, 1.0)
    weights = balance(angles.cosines, norms ** (power - 1.0), power) / norms
    return angles.present * weights * unit ** (-2.0 / (1.0 + power))
