"""Settings of multi-task soft actor-critic."""

import math
from dataclasses import dataclass
from typing import Literal

from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError
from mtrl.parts.critic import Reduction

from .actor_critic_config import ActorCriticConfig


@dataclass(frozen=True)
class SACConfig(ActorCriticConfig):
    """Multi-task soft actor-critic; the defaults are those of Meta-World+."""

    batch_per_task: int = 128
    """Transitions of each task in a batch."""
    n_step: int = 1
    """Steps of reward before the critic's value: more reach further back, and trust the actions of older policies."""
    tau: float = 0.005
    """Share of the critic that moves into the target critic at every update."""
    critics: int = 2
    """Independent critics."""
    target_reduction: Reduction = "min"
    """How the target critics become one value."""
    actor_reduction: Reduction = "min"
    """How the critics become the one value that the actor climbs."""
    temperature_learning_rate: float = 3e-4
    """Adam's step size for the log temperatures."""
    temperature_beta: float = 0.9
    """Adam's decay of the mean gradient for the log temperatures."""
    anneal_after: int = 0
    """Updates after which the learning rates of actor and critics begin to fall."""
    anneal_updates: int = 0
    """Updates over which they fall, linearly, to a tenth; 0 keeps them."""
    shared_temperature: bool = False
    """One temperature for all tasks instead of one each."""
    initial_temperature: float = 1.0
    """Temperature of every task at the start."""
    min_temperature: float = 0.0
    """Temperatures are kept from falling below."""
    max_temperature: float = 1e12
    """Temperatures are kept from rising above."""
    target_entropy_per_action: float = -1.0
    """Target entropy for each real action number of a task."""
    spread: Literal["clip", "tanh", "softplus"] = "clip"
    """How the policy's standard deviation follows from the actor's output: log of it clipped to its bounds, or squashed
    between them by tanh, or softplus of it between their exponentials."""
    loss_limit: float = 0.0
    """A task whose critic loss is larger sits out that update, and what it has of its own begins anew; 0: none."""
    reset_every: int = 0
    """Environment steps a task after which networks, optimisers and temperatures begin anew; 0: never."""
    reset_updates: int = 1_000
    """Extra updates that follow each reset."""

    def check(self) -> None:
        """See `ActorCriticConfig.check`."""
        check_bounds(self, _BOUNDS, "algorithm.")
        if self.min_temperature > self.max_temperature:
            raise UserError(
                f"--algorithm.min-temperature {self.min_temperature} is above --algorithm.max-temperature "
                f"{self.max_temperature}"
            )
        super().check()


_BOUNDS: Bounds = {
    "batch_per_task": (1, math.inf),
    "anneal_after": (0, math.inf),
    "anneal_updates": (0, math.inf),
    "n_step": (1, 100),
    "tau": (0.0, 1.0),
    "critics": (1, 1_000),
    "temperature_learning_rate": (0.0, 1.0),
    "temperature_beta": (0.0, 0.9999),
    "initial_temperature": (1e-12, 1e12),
    "min_temperature": (0.0, math.inf),
    "max_temperature": (1e-12, 1e12),
    "target_entropy_per_action": (-100.0, 100.0),
    "loss_limit": (0.0, math.inf),
    "reset_every": (0, math.inf),
    "reset_updates": (0, math.inf),
}
