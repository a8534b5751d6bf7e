"""Settings of RL2."""

from collections.abc import Sequence
from dataclasses import dataclass

from mtrl.config import Bounds, TrialConfig, check_bounds
from mtrl.errors import UserError

from .meta_checks import refuse_task_codes
from .ppo_config import PPOConfig


@dataclass(frozen=True)
class RL2Config(PPOConfig):
    """RL2 by proximal policy optimisation; gradients go back through `rollout_steps`, memory through whole trials."""

    memory: int = 128
    """Units of the memory, of the actor and of the critics each."""
    reward_seen: float = 0.1
    """What the reward of the step before is multiplied with where networks see it, after `normalize_obs`."""
    hold: int = 1
    """Steps that an action is repeated for. Memory, `gamma` and `gae_lambda` count decisions, of which there are fewer,
    and the reward of one is the mean of its steps."""
    recall: bool = False
    """Networks also see what was observed when the reward of the trial was the highest yet, and that reward."""
    sampled_adaptation: bool = False
    """Evaluations sample actions in the episodes for adaptation, and take the most likely ones in those after them
    alone: what is tried by chance may tell more of the goal."""
    unseen: tuple[str, ...] = ()
    """Numbers of the environment's observation that networks do not see, by place from 0: `3` or `3-17`. What lies
    elsewhere for every training goal and has nothing to do with it lets these be learned by heart."""

    def training_episodes(self, trial: TrialConfig) -> int:
        """Episodes of a trial in training. Agents that learn to learn have this; trials are made for them."""
        return trial.training

    @property
    def decisions(self) -> int:
        """Of every world in a rollout."""
        return self.rollout_steps // self.hold

    def check(self) -> None:
        """See `ActorCriticConfig.check`."""
        check_bounds(self, _BOUNDS, "algorithm.")
        for name in ("actor", "critic"):
            refuse_task_codes(getattr(self, name), name)
        if self.precision != "float32":
            raise UserError(
                f"--algorithm.precision {self.precision} would round what is remembered at every step of a trial: "
                "leave it at float32"
            )
        places_in(self.unseen)
        if self.rollout_steps % self.hold:
            raise UserError(
                f"--algorithm.rollout-steps {self.rollout_steps} are no whole decisions of {self.hold} steps: give a "
                "multiple of --algorithm.hold"
            )
        super().check()


_BOUNDS: Bounds = {"memory": (1, 100_000), "reward_seen": (0.0, 1e6), "hold": (1, 100_000)}


def places_in(spans: Sequence[str]) -> list[int]:
    """Places that `unseen` names.

    Raises:
        UserError: It cannot be read.
    """
    places: list[int] = []
    for span in spans:
        first, to, last = span.partition("-")
        last = last if to else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise UserError(f"--algorithm.unseen {span} names no places of an observation: give 3, say, or 3-17")
        places.extend(range(int(first), int(last) + 1))
    return places
