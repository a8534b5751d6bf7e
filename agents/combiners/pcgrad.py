"""PCGrad: what of a task's gradient points against that of another is taken away before the mean is taken.

Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
"""

from dataclasses import dataclass
from typing import Literal

import torch

from mtrl.parts.combiner import CombinerConfig, GradientCombiner, Gram
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner


@dataclass(frozen=True)
class PCGradConfig(CombinerConfig):
    """What becomes of the projected gradients."""

    reduction: Literal["mean", "sum"] = "mean"
    """Their mean over tasks, or their sum."""


@register_combiner("pcgrad", description="gradients projected off those they conflict with", config=PCGradConfig)
class PCGrad(GradientCombiner):
    """d = mean of h_i.

    h_i begins as g_i. Then, for all j other than i in random order: where h_i . g_j < 0, h_i -= (h_i . g_j / |g_j|^2)
    g_j. Each h_i = sum_k C_ik g_k is kept as its coefficients, so that h_i . g_j is an entry of C times the Gram
    matrix: all tasks are projected at once, and no vector as long as the parameters is made on the way.
    """

    def __init__(self, setting: Setting, config: PCGradConfig) -> None:
        super().__init__()
        self.reduction = config.reduction
        self.generator = torch.Generator(setting.device).manual_seed(setting.seed)

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """See the class."""
        coefficients = project(gram.double(), self.orders(len(losses), gram.device))
        return coefficients.sum(dim=0) if self.reduction == "sum" else coefficients.mean(dim=0)

    def own_weights(self, weights: PerTask) -> PerTask:
        """Those of the mean or of the sum."""
        return torch.ones_like(weights) if self.reduction == "sum" else super().own_weights(weights)

    def orders(self, tasks: int, device: torch.device) -> torch.Tensor:
        """`[task, task - 1]`: for each task all others, in random order."""
        keys = torch.rand((tasks, tasks), generator=self.generator, device=device, dtype=torch.float64)
        keys.fill_diagonal_(2.0)
        return keys.argsort(dim=1)[:, : tasks - 1]


def project(gram: torch.Tensor, orders: torch.Tensor) -> torch.Tensor:
    """Coefficients `[task, task]` of the projected gradients: row i is h_i as a sum of the tasks' gradients.

    Args:
        gram: `[task, task]`.
        orders: `[task, position]`, which gradient each task's is compared with next.
    """
    coefficients = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    products = gram.clone()  # h_i . g_j
    squares = gram.diagonal()
    for position in range(orders.shape[1]):
        other = orders[:, position]
        against = products.gather(1, other[:, None]).clamp(max=0.0)
        share = against / squares[other][:, None].clamp(min=1e-300)
        coefficients.scatter_add_(1, other[:, None], -share)
        products -= share * gram[other]
    return coefficients
