"""Scales: the contract of a way to bring rewards of different tasks to one size."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from mtrl.registry import Registry
from mtrl.types import State

from .part import Part, PartConfig, PerTask

SCALES: Registry[Part[Any]] = Registry("scale")


@dataclass(frozen=True)
class ScaleConfig(PartConfig):
    """How rewards of different tasks are brought to one scale."""

    kind: ClassVar[Registry[Part[Any]]] = SCALES
    name: str = "none"
    """Registered scale; `mtrl list scales` shows all."""


class Scale(nn.Module):
    """What rewards of each task are multiplied with, so that tasks weigh alike. Rewards are stored as they came."""

    def observe(
        self, reward: torch.Tensor, terminated: torch.Tensor, ended: torch.Tensor, task_id: torch.Tensor
    ) -> None:
        """Takes in one step of all worlds, `[env]` each; the worlds of later calls are the same ones."""

    def refit(self, mean_reward: PerTask) -> None:
        """Takes in the mean reward of each task over the whole replay, when learning begins and when it begins anew."""

    def factors(self, log_temperature: PerTask) -> PerTask:
        """What a reward of each task is multiplied with."""
        raise NotImplementedError

    def forget_worlds(self) -> None:
        """All worlds are other ones from the next step on."""

    def get_state(self) -> State:
        """All that is needed to go on."""
        return {name: value.clone() for name, value in self.state_dict().items()}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self.load_state_dict(state)
