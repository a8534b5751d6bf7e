"""Scale-invariant weights: each task's loss divided by its own size.

For a positive loss the gradient is that of its logarithm (the SI baseline of Navon et al., "Multi-Task Learning as a
Bargaining Game", ICML 2022), so a task whose returns are a hundred times larger weighs no more than the others.
"""

import torch

from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner

SMALLEST = 1e-3
"""Losses smaller than this are no longer scaled up, since a loss that passes through zero has no scale."""


@register_combiner(
    "scale_invariant", description="each task's loss divided by its own size, so that all tasks weigh the same"
)
class ScaleInvariant(Weighting):
    """sum_i l_i / |l_i| / N, with the sizes held constant: its value is the mean sign, its gradient is what counts."""

    def __init__(self, setting: Setting, config: CombinerConfig) -> None:
        super().__init__()

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """See the class."""
        return (losses / losses.detach().abs().clamp(min=SMALLEST)).mean()
