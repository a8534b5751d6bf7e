"""Temperature weights: tasks that are solved already, whose policies have turned sharp, weigh more.

Sodhani et al., "Multi-Task Reinforcement Learning with Context-based Representations", ICML 2021, and Meta-World+
(McLean et al., NeurIPS 2025), whose networks with experts are trained so.
"""

import torch

from mtrl.errors import UserError
from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner


@register_combiner("temperature", description="softmax of minus the log temperatures: sharp policies weigh more")
class Temperature(Weighting):
    """sum_i w_i l_i / N with w_i = N softmax(-log alpha)_i."""

    needs_temperatures = True

    def __init__(self, setting: Setting, config: CombinerConfig) -> None:
        super().__init__()

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """See the class.

        Raises:
            UserError: The algorithm has no temperatures.
        """
        if objective.log_temperature is None:
            raise UserError(
                "combiner 'temperature' weighs tasks by their temperatures, of which this algorithm has none: "
                "choose another, such as --combiner mean"
            )
        return (torch.softmax(-objective.log_temperature.detach(), dim=0) * losses).sum()
