"""Which goal each slot plays, and how far it is: arrays over slots; Python per slot only where episodes end."""

from collections.abc import Sequence

import numpy as np

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, GoalSchedule, ResampleGoals
from mtrl.types import State

RANDOM_PROGRESS = 7
"""Which of the random streams under the environment's seed draws the initial progress."""


class ScheduledEpisodes:
    """What both ways of keeping episodes share: the schedule that says what is played, and the seed.

    Args:
        goal_counts: Goals that each slot may play.
    """

    def __init__(self, goal_counts: Sequence[int]) -> None:
        self._goal_counts = list(goal_counts)
        self._seed = 0
        self._schedule: GoalSchedule | None = None

    @property
    def seed(self) -> int:
        """Of the environment, as `begin` last got it."""
        return self._seed

    def _begun(self, seed: int | None, schedule: GoalSchedule | None) -> GoalSchedule:
        """Takes a schedule into use, or one that resamples goals; None keeps the seed of before.

        Raises:
            UserError: The seed is negative.
        """
        self._seed = self._seed if seed is None else int(seed)
        if self._seed < 0:
            raise UserError(f"seed {self._seed} is negative: use 0 or more")
        self._schedule = schedule or ResampleGoals(self._goal_counts, self._seed)
        return self._schedule

    def _progress(self, horizon: np.ndarray) -> np.ndarray:
        """A random step of each slot's horizon, `[env]`."""
        return np.random.default_rng([self._seed, RANDOM_PROGRESS]).integers(0, horizon)

    def _schedule_state(self) -> State:
        assert self._schedule is not None
        return {"seed": self._seed, "schedule": self._schedule.get_state()}

    def _set_schedule_state(self, state: State) -> None:
        self._schedule = self._schedule or ResampleGoals(self._goal_counts, self._seed)
        self._schedule.set_state(state["schedule"])
        self._seed = state["seed"]


class Episodes(ScheduledEpisodes):
    """The running episodes.

    Args:
        horizon: Of each slot, `[env]`.
        goal_counts: Goals that each slot may play.

    Attributes:
        goal: What each slot plays, `[env]`; `INACTIVE` where nothing is left.
        elapsed: Steps of each slot's episode, `[env]`.
    """

    def __init__(self, horizon: np.ndarray, goal_counts: Sequence[int]) -> None:
        super().__init__(goal_counts)
        self._horizon = horizon
        self.goal = np.full(len(horizon), INACTIVE, np.int64)
        self.elapsed = np.zeros(len(horizon), np.int64)
        self._next_goal = self.goal.copy()

    @property
    def active(self) -> np.ndarray:
        """Where something is played, `[env]` bool."""
        return self.goal != INACTIVE

    def begin(self, seed: int | None, schedule: GoalSchedule | None, *, random_progress: bool) -> None:
        """Puts every slot at the start of its first episode, or somewhere in it.

        Raises:
            UserError: The seed is negative.
        """
        schedule = self._begun(seed, schedule)
        self.goal[:] = [schedule.first(slot) for slot in range(len(self.goal))]
        self._draw_next(np.arange(len(self.goal)))
        self.elapsed[:] = 0
        if random_progress:
            self.elapsed[:] = self._progress(self._horizon)

    def stepped(self) -> np.ndarray:
        """Notes a step; where the horizon is reached, `[env]` bool."""
        self.elapsed += 1
        return self.elapsed >= self._horizon

    def end(self, slots: np.ndarray) -> None:
        """Goes on to the next episodes of these slots, where there are any."""
        self.goal[slots] = self._next_goal[slots]
        self.elapsed[slots] = 0
        self._draw_next(slots)

    def _draw_next(self, slots: np.ndarray) -> None:
        assert self._schedule is not None
        for slot in slots.tolist():
            active = self.goal[slot] != INACTIVE
            self._next_goal[slot] = self._schedule.following(slot) if active else INACTIVE

    def get_state(self) -> State:
        """All that is needed to go on, the schedule included."""
        return {
            **self._schedule_state(),
            "goal": self.goal.tolist(),
            "next_goal": self._next_goal.tolist(),
            "elapsed": self.elapsed.tolist(),
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._set_schedule_state(state)
        self.goal[:], self._next_goal[:] = state["goal"], state["next_goal"]
        self.elapsed[:] = state["elapsed"]
