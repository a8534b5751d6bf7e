"""A critic and a combiner, each with an option of its own."""

from dataclasses import dataclass

import torch

import mtrl
from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.critic import Backup, Critic, CriticConfig, Reduction, reduce_critics
from mtrl.parts.part import Setting


@dataclass(frozen=True)
class AsymmetricConfig(CriticConfig):
    """An expectile of the value."""

    expectile: float = 0.5
    """Weight of errors below the target, out of 1; 0.5 is the mean."""


@mtrl.register_critic("plugged_expectile", description="an expectile of the value", config=AsymmetricConfig)
class Asymmetric(Critic):
    """Newey and Powell, "Asymmetric Least Squares Estimation and Testing", 1987: |e - [y < v]| (y - v)^2."""

    outputs = 1

    def __init__(self, setting: Setting, config: AsymmetricConfig) -> None:
        super().__init__()
        self.expectile = config.expectile

    def values(self, outputs: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """The one output."""
        return outputs.squeeze(-1)

    def target(
        self, outputs: torch.Tensor, backup: Backup, task_id: torch.Tensor, reduction: Reduction
    ) -> torch.Tensor:
        """Reward and the discounted value of the next state."""
        value = reduce_critics(self.values(outputs, task_id), reduction)
        return backup.reward + backup.discount * (value + backup.bonus)

    def losses(self, outputs: torch.Tensor, target: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """See the class."""
        error = target - self.values(outputs, task_id)
        return (self.expectile - (error < 0).float()).abs() * error.square()


@dataclass(frozen=True)
class PowerConfig(CombinerConfig):
    """A power of the losses."""

    power: float = 2.0
    """Exponent."""


@mtrl.register_combiner("plugged_power", description="weights tasks by a power of their losses", config=PowerConfig)
class Power(Weighting):
    """sum_i |l_i|^p l_i / sum_i |l_i|^p, with the weights held constant."""

    def __init__(self, setting: Setting, config: PowerConfig) -> None:
        super().__init__()
        self.power = config.power

    def total(self, losses: torch.Tensor, objective: Objective) -> torch.Tensor:
        """See the class."""
        size = losses.detach().abs().clamp(min=1e-8).pow(self.power)
        return (size * losses).sum() / size.sum()
