"""Rewards as they are."""

import torch

from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_scale
from mtrl.parts.scale import Scale, ScaleConfig


@register_scale("none", description="rewards as they are")
class NoScale(Scale):
    """Factors of one."""

    def __init__(self, setting: Setting, config: ScaleConfig) -> None:
        super().__init__()
        self.register_buffer("_ones", torch.ones(setting.num_tasks, device=setting.device), persistent=False)

    def factors(self, log_temperature: PerTask) -> PerTask:
        """Ones."""
        return self.get_buffer("_ones")
