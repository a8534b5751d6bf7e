"""Settings of probabilistic embeddings for actor-critic."""

from dataclasses import dataclass, field
from typing import ClassVar

from mtrl.config import Bounds, TrialConfig, check_bounds
from mtrl.errors import UserError
from mtrl.parts.network import ConditioningConfig, NetworkConfig

from .actor_critic_config import ActorCriticConfig
from .meta_checks import refuse_task_codes
from .sac_config import SACConfig

_ENCODER = NetworkConfig("one_hot", width=200, depth=3, task=ConditioningConfig("hidden"))


@dataclass(frozen=True)
class PEARLConfig(SACConfig):
    """Soft actor-critic with a latent variable inferred from context."""

    PARTS: ClassVar[tuple[str, ...]] = (*ActorCriticConfig.PARTS, "encoder")

    encoder: NetworkConfig = field(default_factory=lambda: _ENCODER)
    """The network that makes a factor of the posterior of every step: observation, action, reward."""
    encoder_learning_rate: float = 3e-4
    """Adam's step size for the encoder."""
    latent: int = 5
    """Numbers of the latent variable."""
    kl_weight: float = 0.1
    """What the divergence of the posterior from the prior counts for in the critics' loss."""
    goals: int = 16
    """Goals of each task in a batch; `batch_per_task` transitions are of all of them together."""
    context: int = 64
    """Steps of a trial of each of these goals from which the latent variable is inferred."""
    reward_seen: float = 0.1
    """What rewards are multiplied with where the encoder sees them."""

    def training_episodes(self, trial: TrialConfig) -> int:
        """Episodes of a trial in training. Agents that learn to learn have this; trials are made for them."""
        return trial.training

    def check(self) -> None:
        """See `ActorCriticConfig.check`."""
        check_bounds(self, _BOUNDS, "algorithm.")
        for name in ("actor", "critic", "encoder"):
            refuse_task_codes(getattr(self, name), name)
        if self.batch_per_task % self.goals:
            raise UserError(
                f"--algorithm.batch-per-task {self.batch_per_task} is not divisible by --algorithm.goals "
                f"{self.goals}: give a multiple"
            )
        for name, wrong in (("normalize-obs", self.normalize_obs), ("reset-every", self.reset_every > 0)):
            if wrong:
                raise UserError(f"--algorithm.{name} is not for agents that learn to learn: leave it off")
        if self.n_step != 1:
            raise UserError(f"--algorithm.n-step {self.n_step}: transitions within trials have one step, give 1")
        super().check()


_BOUNDS: Bounds = {
    "encoder_learning_rate": (0.0, 1e3),
    "latent": (1, 10_000),
    "kl_weight": (0.0, 1e6),
    "goals": (1, 100_000),
    "context": (1, 1_000_000),
    "reward_seen": (0.0, 1e6),
}
