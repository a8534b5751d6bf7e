"""Settings of model-agnostic meta-learning."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mtrl.config import Bounds, TrialConfig, check_bounds
from mtrl.parts.network import ConditioningConfig, NetworkConfig

from .meta_checks import refuse_task_codes
from .trust_region import TrustRegion

_POLICY = NetworkConfig("one_hot", width=128, depth=2, activation="tanh", task=ConditioningConfig("hidden"))


@dataclass(frozen=True)
class MAMLConfig:
    """Model-agnostic meta-learning with trust regions; the episodes that are adapted on are `--trial.episodes`."""

    whole_trials: ClassVar[bool] = True
    """In every rollout all worlds begin anew."""
    actor: NetworkConfig = field(default_factory=lambda: _POLICY)
    """The policy's network; it is told no task."""
    inner_learning_rate: float = 0.1
    """Of the gradient step that adapts; advantages have deviation 1."""
    adapt: Literal["all", "head"] = "all"
    """What that step changes: all weights, or those of the last layer alone (ANIL: Raghu et al., ICLR 2020), which
    takes a larger rate: the gradient of the others tells less of the goal and more of chance."""
    first_order: bool = False
    """Take that step for a constant where the outer gradient goes through it."""
    pretrain: float = 0.0
    """Share of the run in which training leaves the inner step out and learns from all episodes what is best for all
    tasks: a large step takes a policy that can do nothing yet far off. 1: all of it, the baseline that learning to
    adapt is compared with. Evaluations take the step in any case."""
    outer_episodes: int = 10
    """Episodes with adapted weights in each world, which the outer step is learned from."""
    hold: int = 1
    """Environment steps that each decision stands for: the action is held, gradients and the discount count decisions,
    and a reward is the mean over the steps."""
    gamma: float = 0.99
    """Discount."""
    gae_lambda: float = 1.0
    """Advantages: 0 trusts the linear baseline after one step, 1 looks to the end of the episode."""
    kl: float = 0.01
    """Limit of the mean divergence between the adapted policies before and after an outer step."""
    conjugate_iterations: int = 10
    """Of the conjugate gradient method, for the direction of the outer step."""
    damping: float = 1e-5
    """Added to the curvature."""
    shrink: float = 0.8
    """What an outer step that does not do is multiplied with."""
    attempts: int = 15
    """How often that is tried."""
    initial_log_std: float = 0.0
    """Log standard deviation of actions at the start."""
    min_log_std: float = math.log(1e-6)
    """Lower bound of it."""
    max_log_std: float = 2.0
    """Upper bound of it."""

    def training_episodes(self, trial: TrialConfig) -> int:
        """Episodes of a trial in training. Agents that learn to learn have this; trials are made for them."""
        return trial.training + self.outer_episodes

    def trust_region(self) -> TrustRegion:
        """How the outer step is looked for."""
        return TrustRegion(self.kl, self.conjugate_iterations, self.damping, self.shrink, self.attempts)

    def check(self) -> None:
        """Refuses impossible settings.

        Raises:
            UserError: There are some.
        """
        check_bounds(self, _BOUNDS, "algorithm.")
        self.actor.check("algorithm.actor.")
        refuse_task_codes(self.actor, "actor")


_BOUNDS: Bounds = {
    "inner_learning_rate": (0.0, 1e3),
    "pretrain": (0.0, 1.0),
    "outer_episodes": (1, 10_000),
    "hold": (1, 100_000),
    "gamma": (0.0, 1.0),
    "gae_lambda": (0.0, 1.0),
    "kl": (1e-9, 1e3),
    "conjugate_iterations": (1, 10_000),
    "damping": (0.0, 1e3),
    "shrink": (0.01, 0.99),
    "attempts": (1, 1_000),
    "initial_log_std": (-20.0, 5.0),
    "min_log_std": (-20.0, 5.0),
    "max_log_std": (-20.0, 5.0),
}
