"""Critics: the contract of a way to represent and learn values."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.registry import Registry

from .network import GroupTasks, Network, NetworkShape, Outputs
from .part import Part, PartConfig

CriticValues = Float32[torch.Tensor, "copies group sample"]
Samples = Float32[torch.Tensor, "group sample"]
Reduction = Literal["min", "mean", "first"]
"""How the values of several critics become one."""
CRITICS: Registry[Part[Any]] = Registry("critic")


@dataclass(frozen=True)
class CriticConfig(PartConfig):
    """How values are represented and learned."""

    kind: ClassVar[Registry[Part[Any]]] = CRITICS
    name: str = "mse"
    """Registered critic; `mtrl list critics` shows all."""


@dataclass(frozen=True)
class Backup:
    """What the value of a state and action follows from: reward + discount * (value after it + bonus).

    Attributes:
        reward: `[group, sample]`.
        discount: `[group, sample]`, 0 where no value follows.
        bonus: `[group, sample]`, what comes on top of the next value: the entropy's worth.
    """

    reward: Samples
    discount: Samples
    bonus: Samples


class Critic(nn.Module):
    """How a network's outputs stand for values, and how they are learned.

    Attributes:
        outputs: Numbers that the network gives for a value.
    """

    outputs: int

    def attach(self, network: Network, shape: NetworkShape) -> Network:
        """The critics' network with whatever this critic adds to it."""
        return network

    def values(self, outputs: Outputs, task_id: GroupTasks) -> CriticValues:
        """`[copies, group, sample, out]` to values `[copies, group, sample]`, with gradient."""
        raise NotImplementedError

    def target(self, outputs: Outputs, backup: Backup, task_id: GroupTasks, reduction: Reduction) -> torch.Tensor:
        """What is learned towards: `[group, sample]`, or `[group, sample, bin]`.

        Args:
            outputs: Of the target critics in the next state.
            backup: What comes before that state.
            task_id: `[group]`.
            reduction: How the target critics become one.
        """
        raise NotImplementedError

    def losses(self, outputs: Outputs, target: torch.Tensor, task_id: GroupTasks) -> CriticValues:
        """Loss of every copy and sample."""
        raise NotImplementedError

    def adapt(self, target: torch.Tensor, task_id: GroupTasks, networks: tuple[Network, ...]) -> torch.Tensor:
        """Takes in the targets of an update before it is made; their values must not change by it.

        Args:
            target: What `target` gave.
            task_id: `[group]`.
            networks: The critics and the target critics, as `attach` made them.

        Returns:
            The targets, which it may write anew.
        """
        return target


def reduce_critics(values: torch.Tensor, reduction: Reduction) -> torch.Tensor:
    """`[copies, ...]` to `[...]`: the least value, the mean, or that of the first."""
    if reduction == "min":
        return values.amin(dim=0)
    return values.mean(dim=0) if reduction == "mean" else values[0]
