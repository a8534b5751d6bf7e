"""Rewards multiplied so that all tasks pay alike, fixed between resets."""

import torch

from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_scale
from mtrl.parts.scale import Scale, ScaleConfig

LEAST_MEAN = 0.01
"""Mean rewards smaller than this count as this."""


@register_scale("balance", description="rewards multiplied so that all tasks pay alike, found anew at each reset")
class Balance(Scale):
    """c_i = max_j m_j / max(m_i, 0.01), with m_i the mean reward of task i over the whole replay.

    Cho et al., "ARS: Adaptive Reward Scaling for Multi-Task Reinforcement Learning", ICML 2025. It changes when
    learning begins and at resets alone (`--algorithm.reset-every`). The largest mean counts as 0.01 at least too, so
    that no factor is negative where every mean is.
    """

    def __init__(self, setting: Setting, config: ScaleConfig) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(setting.num_tasks, device=setting.device))

    def refit(self, mean_reward: PerTask) -> None:
        """See `Scale.refit`."""
        means = mean_reward.clamp(min=LEAST_MEAN)
        self.get_buffer("scale").copy_(means.max() / means)

    def factors(self, log_temperature: PerTask) -> PerTask:
        """As of the last reset; ones before learning begins."""
        return self.get_buffer("scale")
