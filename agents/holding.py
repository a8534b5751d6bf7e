"""Decisions that stand for several steps: what is done is repeated, and what is told meanwhile is not lost."""

from collections.abc import Callable

import torch

from mtrl.algorithm import Explored
from mtrl.rollouts import RolloutBuffer
from mtrl.types import Observations, State
from mtrl.vector.trials import ENDED, REWARD

FLAGS = slice(ENDED, None)
"""Where an observation of `Trials` tells what ended and what begins."""


class Holding:
    """Decides at every so-manyth step of all worlds together, and repeats what was decided until then.

    A decision sees the observation of its own step; that an episode ended or a trial began since the decision before
    is told with it.

    Args:
        steps: That a decision stands for.
        mean_reward: Tell the mean of the rewards since the decision before, instead of the newest one.
    """

    def __init__(self, steps: int, *, mean_reward: bool = False) -> None:
        self.steps, self._step, self._mean_reward = steps, 0, mean_reward
        self._told: torch.Tensor | None = None
        self._paid: torch.Tensor | None = None
        self._decided: Explored | None = None

    def __call__(self, obs: Observations, decide: Callable[[Observations], Explored]) -> Explored:
        """What is done in a step: what `decide` says now, or said last."""
        if self.steps == 1:
            return decide(obs)
        told = obs[:, FLAGS] if self._told is None else torch.maximum(self._told, obs[:, FLAGS])
        paid = None
        if self._mean_reward:
            paid = obs[:, REWARD] if self._paid is None else self._paid + obs[:, REWARD]
        due, self._step = self._step % self.steps == 0, self._step + 1
        if not due and self._decided is not None:
            self._told, self._paid = told, paid
            return self._decided
        seen, self._told, self._paid = obs.clone(), None, None
        seen[:, FLAGS] = told
        if paid is not None:
            seen[:, REWARD] = paid / self.steps
        self._decided = decide(seen)
        return self._decided

    def anew(self) -> "Holding":
        """One that has decided nothing yet, and is otherwise the same."""
        return Holding(self.steps, mean_reward=self._mean_reward)

    def get_state(self) -> State:
        """All that is needed to go on, on the CPU."""
        now = self._decided
        held = [] if now is None else [part.cpu().clone() for part in (now.action, now.drawn, now.log_prob)]
        told, paid = (None if part is None else part.cpu().clone() for part in (self._told, self._paid))
        return {"step": self._step, "told": told, "paid": paid, "held": held}

    def set_state(self, state: State, device: torch.device) -> None:
        """Goes on from a state."""
        self._step, held = int(state["step"]), [part.to(device) for part in state["held"]]
        self._told, self._paid = (None if state[name] is None else state[name].to(device) for name in ("told", "paid"))
        self._decided = Explored(*held) if held else None


def decisions_of(
    rollout: RolloutBuffer, last_obs: Observations, late: torch.Tensor | None, steps: int
) -> tuple[RolloutBuffer, Observations, torch.Tensor | None]:
    """A rollout of decisions that stand for so many steps each, as `Holding` took them.

    Args:
        rollout: Of steps.
        last_obs: After the last of them.
        late: `[env, flag]`, what was told after the last decision of the rollout before this one; None: nothing.
        steps: That a decision stands for.

    Returns:
        The decisions, each with the mean of its rewards; `last_obs` as a decision sees it; and what was told after the
        last decision.
    """
    if steps == 1:
        return rollout, last_obs, None
    told = torch.cat([rollout.obs[:, :, FLAGS], last_obs[None, :, FLAGS]])
    before = torch.zeros_like(told[0]) if late is None else late
    told = torch.cat([before.expand(steps - 1, -1, -1), told])
    windows = told.unflatten(0, (-1, steps)).amax(dim=1)
    decisions, last_obs = rollout.every(steps), last_obs.clone()
    decisions.obs[..., FLAGS], last_obs[:, FLAGS] = windows[:-1], windows[-1]
    return decisions, last_obs, told[-steps:-1].amax(dim=0)
