"""Settings that all agents with an actor and critics have: the parts that they are made of, and how these learn."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import NetworkConfig
from mtrl.parts.scale import ScaleConfig

from .precision import Precision


@dataclass(frozen=True)
class ActorCriticConfig:
    """Settings of an agent with an actor and critics."""

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
    gamma: float = 0.99
    """Discount."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon for actor and critics."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW) of all that actor and critics learn, biases and normalisations too."""
    max_gradient_norm: float = 1.0
    """Gradients of actor and of critics are scaled down to this global norm; 1e12 leaves them."""
    min_log_std: float = -20.0
    """Lower bound of the policy's log standard deviation."""
    max_log_std: float = 2.0
    """Upper bound of the policy's log standard deviation."""
    normalize_obs: bool = False
    """Bring each observation number of each task to mean 0 and deviation 1, as seen so far."""
    normalize_obs_steps: int = 0
    """Environment steps a task after which what observations are normalised by stays as it is; 0: it goes on."""

    def __post_init__(self) -> None:
        for name in self.PARTS:
            object.__setattr__(self, name, getattr(self, name).resolved())

    def check(self) -> None:
        """Refuses what cannot work.

        Raises:
            UserError: A setting is out of its bounds, or two contradict each other.
        """
        check_bounds(self, _BOUNDS, "algorithm.")
        if self.min_log_std >= self.max_log_std:
            raise UserError(
                f"--algorithm.min-log-std {self.min_log_std} is not below --algorithm.max-log-std {self.max_log_std}"
            )
        for name in self.PARTS:
            getattr(self, name).check(f"algorithm.{name}.")


_BOUNDS: Bounds = {
    "focus_floor": (0.001, 1.0),
    "gamma": (0.0, 1.0),
    "actor_learning_rate": (0.0, 1.0),
    "critic_learning_rate": (0.0, 1.0),
    "adam_epsilon": (0.0, 1.0),
    "weight_decay": (0.0, 1.0),
    "max_gradient_norm": (1e-12, math.inf),
    "normalize_obs_steps": (0, math.inf),
}
