"""What agents that adapt learn from in an evaluation: their trial's own goal, and two controls.

An agent that learns within a trial does worse in both controls. One that does as well gains from something else: from
practice with the body, or from sampling.
"""

from collections.abc import Sequence

import torch

from mtrl.algorithm import Policy
from mtrl.errors import UserError
from mtrl.plain_types import Context
from mtrl.types import Actions, Observations, TaskIds
from mtrl.vector.contract import TaskVectorEnv
from mtrl.vector.trials import taken_apart, told_first

LABELS: dict[Context, str] = {"own": "", "other": " on other goals", "none": " that are forgotten"}
"""What is added to a protocol's name."""


def check_context(context: Context, env: TaskVectorEnv, counts: Sequence[int]) -> None:
    """Makes sure that there is something to control.

    Args:
        context: As above.
        env: What is played.
        counts: Goals of each task that are played.

    Raises:
        UserError: The agent does not adapt, or a task has a single goal.
    """
    if context == "own":
        return
    if not env.adapting:
        raise UserError(f"--context {context} is for agents that adapt over the episodes of a trial: leave it out")
    if context == "other" and min(counts) < 2:
        raise UserError("--context other needs at least two goals of every task: play more, or take --context none")


class Forgetful:
    """A policy for which every episode is the first of a trial: it has nothing to remember.

    Args:
        policy: Sees observations of `mtrl.vector.trials.Trials`.
        env: Where it plays.
    """

    def __init__(self, policy: Policy, env: TaskVectorEnv) -> None:
        self._policy, self._actions = policy, env.action_mask.shape[1]
        self.adapts = getattr(policy, "adapts", None)

    def begin_episodes(self, mask: torch.Tensor) -> None:
        """See `Policy.begin_episodes`."""
        self._policy.begin_episodes(mask)

    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """See `Policy.act`."""
        told = taken_apart(obs, self._actions)
        before = told_first(obs[:, told.obs.shape[1] :], told.begins | told.ended)
        return self._policy.act(torch.cat([told.obs, before], dim=1), task_id, mode=mode)
