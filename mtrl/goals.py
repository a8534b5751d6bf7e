"""Goals: which variations of a task exist, and which one each slot plays next."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mtrl.errors import UserError
from mtrl.plain_types import GoalRows, State
from mtrl.tasks import TaskDefinition

INACTIVE = -1
"""Goal index of a slot that has nothing left to play."""


@dataclass(frozen=True)
class GoalSet:
    """The goals of every task of a suite: one table a task, `[goal_index, goal]` float64."""

    name: str
    rows: tuple[GoalRows, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Goals of each task."""
        return tuple(len(table) for table in self.rows)


def make_goal_sets(tasks: Sequence[TaskDefinition], count: int, seed: int) -> tuple[GoalSet, GoalSet]:
    """The training goals and the held-out goals of some tasks, disjoint.

    A task's goals depend on the seed and on the task alone, not on its place in the suite (upstream's do).

    Args:
        tasks: Tasks, in the suite's order.
        count: Goals a task in either set.
        seed: The goal seed, apart from the run's seed.

    Returns:
        Two sets, `train` and `heldout`.

    Raises:
        UserError: A task cannot give that many distinct goals.
    """
    if count < 1:
        raise UserError(f"{count} goals per task is too few: ask for at least 1")
    train, heldout = [], []
    for task in tasks:
        rows = np.ascontiguousarray(task.sample_goals(2 * count, seed), dtype=np.float64)
        if rows.ndim != 2:
            raise UserError(f"task '{task.name}': sample_goals gave shape {rows.shape}, it must give [count, goal]")
        if len(np.unique(rows, axis=0)) != 2 * count:
            raise UserError(f"task '{task.name}' gave fewer than {2 * count} distinct goals: ask for fewer a task")
        train.append(rows[:count])
        heldout.append(rows[count:])
    return GoalSet("train", tuple(train)), GoalSet("heldout", tuple(heldout))


@runtime_checkable
class GoalSchedule(Protocol):
    """Decides which goal each slot plays. Slots are numbered as in the vector environment."""

    def first(self, slot: int) -> int:
        """The goal index that the slot starts with, or `INACTIVE`."""
        ...

    def following(self, slot: int) -> int:
        """The goal index of the slot's next episode, or `INACTIVE`. Called once when the current one begins."""
        ...

    def get_state(self) -> State:
        """All that is needed to go on."""
        ...

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        ...


class _CountingSchedule(abc.ABC):
    """A schedule whose choice is a pure function of the slot and of how many episodes the slot has had."""

    def __init__(self, slots: int) -> None:
        self._episodes = [0] * slots

    @abc.abstractmethod
    def _goal(self, slot: int, episode: int) -> int:
        """The goal index of the slot's episode of that number, or `INACTIVE`."""

    def first(self, slot: int) -> int:
        self._episodes[slot] = 0
        return self._goal(slot, 0)

    def following(self, slot: int) -> int:
        self._episodes[slot] += 1
        return self._goal(slot, self._episodes[slot])

    def get_state(self) -> State:
        return {"kind": type(self).__name__, "episodes": list(self._episodes)}

    def set_state(self, state: State) -> None:
        kind, slots = state.get("kind"), len(state.get("episodes", ()))
        if kind != type(self).__name__ or slots != len(self._episodes):
            raise UserError(
                f"the saved goal schedule is {kind} over {slots} slots, this one {type(self).__name__} over "
                f"{len(self._episodes)}: continue with the schedule and the slots it was saved with"
            )
        self._episodes = list(state["episodes"])


class ResampleGoals(_CountingSchedule):
    """A goal drawn anew for every episode, held for `trial_episodes` of them: training, and meta trials.

    Args:
        goal_counts: Goals to draw from, one number a slot.
        seed: Fixes all draws.
        trial_episodes: Consecutive episodes on the same goal.
    """

    def __init__(self, goal_counts: Sequence[int], seed: int, trial_episodes: int = 1) -> None:
        super().__init__(len(goal_counts))
        if trial_episodes < 1:
            raise UserError(f"trial_episodes is {trial_episodes}: a trial has at least 1 episode")
        self._counts, self._seed, self._trial = list(goal_counts), seed, trial_episodes
        self._drawn = [(INACTIVE, INACTIVE)] * len(goal_counts)  # the newest trial of each slot, and its goal

    def _goal(self, slot: int, episode: int) -> int:
        trial = episode // self._trial
        if self._drawn[slot][0] != trial:
            stream = np.random.default_rng([self._seed, slot, trial])
            self._drawn[slot] = trial, int(stream.integers(self._counts[slot]))
        return self._drawn[slot][1]

    def get_state(self) -> State:
        """Seed and trials too, so that a schedule built with others goes on as this one."""
        return super().get_state() | {"seed": self._seed, "trial_episodes": self._trial}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        super().set_state(state)
        self._seed, self._trial = state["seed"], state["trial_episodes"]
        self._drawn = [(INACTIVE, INACTIVE)] * len(self._counts)


class ChosenSlots:
    """A schedule of which only some slots play anything.

    Args:
        schedule: What they play.
        plays: Which do, one entry a slot.
    """

    def __init__(self, schedule: GoalSchedule, plays: Sequence[bool]) -> None:
        self._schedule, self._plays = schedule, list(plays)

    def first(self, slot: int) -> int:
        """See `GoalSchedule.first`."""
        return self._schedule.first(slot) if self._plays[slot] else INACTIVE

    def following(self, slot: int) -> int:
        """See `GoalSchedule.following`."""
        return self._schedule.following(slot) if self._plays[slot] else INACTIVE

    def get_state(self) -> State:
        """See `GoalSchedule.get_state`; which slots play is not in it."""
        return self._schedule.get_state()

    def set_state(self, state: State) -> None:
        """See `GoalSchedule.set_state`."""
        self._schedule.set_state(state)


class BegunSlots:
    """A schedule that is some way on already: each slot leaves out what it would have played first.

    Args:
        schedule: What slots play.
        played: How many episodes each leaves out.
    """

    def __init__(self, schedule: GoalSchedule, played: Sequence[int]) -> None:
        self._schedule, self._played = schedule, list(played)

    def first(self, slot: int) -> int:
        """See `GoalSchedule.first`."""
        goal = self._schedule.first(slot)
        for _ in range(self._played[slot]):
            goal = self._schedule.following(slot)
        return goal

    def following(self, slot: int) -> int:
        """See `GoalSchedule.following`."""
        return self._schedule.following(slot)

    def get_state(self) -> State:
        """See `GoalSchedule.get_state`; what was left out counts as played."""
        return self._schedule.get_state()

    def set_state(self, state: State) -> None:
        """See `GoalSchedule.set_state`."""
        self._schedule.set_state(state)


class EachGoalOnce(_CountingSchedule):
    """Every goal of a task exactly once, dealt over the task's slots; then the slot is inactive: evaluation.

    Args:
        task_id: Task of each slot.
        goal_counts: Goals of each task.
        repeats: How often each goal is played.
        limit: Play this many goals of each task, the first ones; None plays all.
        trial_episodes: Consecutive episodes each time a goal is played.
        elsewhere: The first so many of them are played on another goal of the task.
    """

    def __init__(
        self,
        task_id: Sequence[int],
        goal_counts: Sequence[int],
        repeats: int = 1,
        limit: int | None = None,
        trial_episodes: int = 1,
        elsewhere: int = 0,
    ) -> None:
        super().__init__(len(task_id))
        if repeats < 1 or (limit is not None and limit < 1):
            raise UserError(f"an evaluation of {limit} goals, {repeats} times each, plays nothing: use at least 1")
        self._trial, self._elsewhere = trial_episodes, elsewhere
        slots_of: dict[int, list[int]] = {}
        for slot, task in enumerate(task_id):
            slots_of.setdefault(int(task), []).append(slot)
        self._queues: dict[int, list[tuple[int, int]]] = {}
        for task, slots in slots_of.items():
            goals = list(range(goal_counts[task]))[:limit]
            half = len(goals) // 2
            pairs = list(zip(goals[half:] + goals[:half], goals, strict=True)) * repeats
            for place, slot in enumerate(slots):
                self._queues[slot] = pairs[place :: len(slots)]

    def _goal(self, slot: int, episode: int) -> int:
        queue, (number, place) = self._queues[slot], divmod(episode, self._trial)
        return queue[number][place >= self._elsewhere] if number < len(queue) else INACTIVE
