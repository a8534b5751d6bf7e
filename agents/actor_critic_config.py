"""Settings that all agents with an actor and critics have: the parts that they are made of."""

from dataclasses import dataclass, field
from typing import ClassVar

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import NetworkConfig
from mtrl.parts.scale import ScaleConfig

from .precision import Precision


@dataclass(frozen=True)
class ActorCriticConfig:
    """Parts of an agent with an actor and critics."""

    PARTS: ClassVar[tuple[str, ...]] = ("actor", "critic", "value", "actor_combiner", "critic_combiner", "scale")

    actor: NetworkConfig = field(default_factory=NetworkConfig)
    """Actor network."""
    critic: NetworkConfig = field(default_factory=NetworkConfig)
    """Network of the critics."""
    value: CriticConfig = field(default_factory=CriticConfig)
    """How the critics represent and learn values."""
    actor_combiner: CombinerConfig = field(default_factory=CombinerConfig)
    """How the tasks' actor losses become one update."""
    critic_combiner: CombinerConfig = field(default_factory=CombinerConfig)
    """How the tasks' critic losses become one update."""
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    """How rewards of different tasks are brought to one scale."""
    focus_floor: float = 1.0
    """Losses of tasks that fail weigh more: one that always fails weighs 1, one that always succeeds this much, brought
    to a mean of 1; success is that of recent training episodes. 1: all weigh alike."""

    precision: Precision = "float32"
    """Of the networks' products. bfloat16 is faster where the processor knows it, and rounds to three digits: values
    should be small then (critics popart, c51, hl_gauss, or a scale of rewards)."""

    def __post_init__(self) -> None:
        for name in self.PARTS:
            object.__setattr__(self, name, getattr(self, name).resolved())

    def check(self) -> None:
        """Refuses what cannot work.

        Raises:
            UserError: A setting is out of its bounds, or two contradict each other.
        """
        check_bounds(self, {"focus_floor": (0.001, 1.0)}, "algorithm.")
        for name in self.PARTS:
            getattr(self, name).check(f"algorithm.{name}.")
