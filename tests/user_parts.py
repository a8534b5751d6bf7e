"""Parts as a user writes them, in a module of their own: `user_parts:thin` and so on. Tests import it by that name."""

from dataclasses import dataclass, field

import torch

import mtrl
from mtrl.agents.networks.layers import Linear
from mtrl.errors import UserError
from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.network import Network, NetworkConfig, NetworkShape
from mtrl.parts.part import PerTask, Setting


@dataclass(frozen=True)
class ThinConfig(NetworkConfig):
    """A network with a narrow layer."""

    neck: int = 3
    """Units of the narrow layer."""

    def check(self, prefix: str) -> None:
        """Refuses a neck that lets nothing through."""
        super().check(prefix)
        if self.neck < 1:
            raise UserError(f"--{prefix}neck {self.neck} is impossible: give at least 1")


@mtrl.register_network("thin", description="one narrow layer that all tasks share", config=ThinConfig)
class Thin(Network):
    """in -> neck -> out; the task is not told."""

    def __init__(self, shape: NetworkShape, config: ThinConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.copies = shape.copies
        self.first = Linear(shape.copies, shape.in_dim, config.neck, generator)
        self.head = Linear(shape.copies, config.neck, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """`[group, sample, in]` to `[copies, group, sample, out]`."""
        return self.head(torch.relu(self.first(x.expand(self.copies, -1, -1, -1))))


@dataclass(frozen=True)
class AroundConfig(CombinerConfig):
    """A combiner around another."""

    inner: CombinerConfig = field(default_factory=CombinerConfig)
    """The combiner within."""
    share: float = 0.5
    """Part of the losses that it is given."""


@mtrl.register_combiner("around", description="a part of what another combiner makes", config=AroundConfig)
class Around(Weighting):
    """share * inner."""

    def __init__(self, setting: Setting, config: AroundConfig) -> None:
        super().__init__()
        self.share, self.inner = config.share, config.inner.build(setting, config.inner)

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """See the class."""
        return self.share * self.inner.total(losses, objective)
