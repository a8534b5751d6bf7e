"""Equal weights: the mean over tasks."""

import torch

from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner


@register_combiner("mean", description="mean over tasks: every task weighs as much as its loss is large")
class Mean(Weighting):
    """sum_i l_i / N."""

    def __init__(self, setting: Setting, config: CombinerConfig) -> None:
        super().__init__()

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """The mean."""
        return losses.mean()

    def report(self) -> dict[str, torch.Tensor]:
        """Nothing: the weights never change."""
        return {}
