"""Settings of multi-task proximal policy optimisation."""

import math
from dataclasses import dataclass
from typing import Literal

from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError

from .actor_critic_config import ActorCriticConfig
from .gaussian import Spread


@dataclass(frozen=True)
class PPOConfig(ActorCriticConfig):
    """Multi-task proximal policy optimisation."""

    rollout_steps: int = 128
    """Steps of every world between two rounds of learning."""
    epochs: int = 10
    """How often each rollout is learned from."""
    minibatches: int = 8
    """Updates in an epoch, each from an equal part of every task's steps."""
    overlap: bool = False
    """Learn from one rollout while the environments step for the next: processor and physics work at the same time."""
    gae_lambda: float = 0.95
    """Advantages: 0 trusts the critic after one step, 1 looks to the end of the rollout."""
    baseline: Literal["critic", "linear"] = "critic"
    """What returns are compared with: the critics' values, or a linear function of the observation and the time in the
    episode, fitted for each task to the rollout itself, which should then hold whole episodes."""
    advantages: Literal["task", "all", "none"] = "task"
    """Advantages are brought to mean 0 and deviation 1 for each task, over all tasks, or left as they are."""
    clip: float = 0.2
    """How far the ratio of probabilities may leave 1 before it stops counting."""
    value_clip: float = 0.0
    """How far critics' outputs may leave those of the rollout before they stop counting; 0: as far as they like."""
    entropy_weight: float = 0.005
    """What entropy counts for in the actor's loss."""
    critics: int = 1
    """Independent critics; their mean is the value."""
    final_learning_rate: float = 1.0
    """Share of the learning rates that is left when the run ends; they fall linearly."""
    target_kl: float = 0.0
    """The actor's learning rate falls where the policy moves by more than twice this in an update, and rises where it
    moves by less than half, as the mean KL divergence; 0: it does not follow."""
    spread: Spread = "task"
    """The policy's standard deviation: learned for each task or for all together, or given by the network in each
    state."""
    initial_log_std: float = 0.0
    """Log standard deviation at the start."""
    max_log_std_fall: float = 0.0
    """By how much `max_log_std` falls, linearly, until the run ends, so that a policy that needs noise to find out what
    to do also learns to do without."""
    squash: bool = False
    """Bring actions to [-1, 1] by tanh instead of clipping them."""

    def check(self) -> None:
        """See `ActorCriticConfig.check`."""
        check_bounds(self, _BOUNDS, "algorithm.")
        if self.value_clip and self.value.name not in ("mse", "popart"):
            raise UserError(
                f"--algorithm.value-clip {self.value_clip} needs values that are plain numbers, and critic "
                f"'{self.value.name}' gives histograms: leave it 0, or take --critic mse or popart"
            )
        super().check()
        if self.max_log_std - self.max_log_std_fall <= self.min_log_std:
            raise UserError(
                f"--algorithm.max-log-std-fall {self.max_log_std_fall} takes max-log-std {self.max_log_std} down to "
                f"min-log-std {self.min_log_std}: give less"
            )


_BOUNDS: Bounds = {
    "rollout_steps": (1, 1_000_000),
    "epochs": (1, 1_000),
    "minibatches": (1, 1_000_000),
    "gae_lambda": (0.0, 1.0),
    "clip": (1e-6, 1e6),
    "value_clip": (0.0, math.inf),
    "entropy_weight": (0.0, 1e3),
    "critics": (1, 1_000),
    "final_learning_rate": (0.0, 1.0),
    "target_kl": (0.0, 1e3),
    "initial_log_std": (-20.0, 5.0),
    "max_log_std_fall": (0.0, 20.0),
}
