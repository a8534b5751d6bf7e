"""What all kinds of parts have in common: how one is registered, configured and built."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from jaxtyping import Float32

from mtrl.config import Choice
from mtrl.ranks import ALONE, Ranks
from mtrl.registry import Registry

PerTask = Float32[torch.Tensor, " task"]
C = TypeVar("C", bound="PartConfig")


@dataclass(frozen=True)
class Part(Generic[C]):
    """A registered part.

    Attributes:
        config: The frozen dataclass of its settings, whose fields become options.
        build: Makes it; a class with that constructor.
    """

    config: type[C]
    build: Callable[..., Any]


@dataclass(frozen=True)
class PartConfig(Choice):
    """Settings of a part. The direct subclasses hold what all parts of a kind have."""

    kind: ClassVar[Registry[Part[Any]]]

    def renamed(self, name: str) -> Self:
        """The settings of another part of the same kind; what all parts of the kind have keeps its value.

        Raises:
            UserError: There is no such part.
        """
        family = next(base for base in reversed(type(self).__mro__) if "kind" in vars(base))
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(family)}
        return self.kind.get(name).config(**{**kept, "name": name})

    def resolved(self) -> Self:
        """These settings with all the fields that the part has, where they were given as those of its kind alone.

        Raises:
            UserError: There is no such part.
        """
        return self if isinstance(self, self.kind.get(self.name).config) else self.renamed(self.name)

    def build(self, *arguments: Any) -> Any:
        """The part with these settings; the arguments are those of its kind."""
        return self.kind.get(self.name).build(*arguments)

    def check(self, prefix: str) -> None:
        """Refuses settings that cannot work.

        Args:
            prefix: Dotted name of this config, for messages, such as `algorithm.actor.`.

        Raises:
            UserError: One cannot.
        """


@dataclass(frozen=True)
class Setting:
    """What critics, combiners and scales are built for.

    Attributes:
        num_tasks: Tasks of the suite.
        gamma: Discount.
        device: Where the agent lives.
        seed: Fixes what they draw.
        target_entropy: `[task]`, of agents that have one.
        task_names: Names of the tasks, in order; empty where they do not matter.
        ranks: Processes that train together; statistics are to be those of all of them.
    """

    num_tasks: int
    gamma: float
    device: torch.device
    seed: int
    target_entropy: PerTask | None = None
    task_names: tuple[str, ...] = ()
    ranks: Ranks = ALONE
