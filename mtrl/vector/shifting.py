"""Worlds that shift: those of tasks that succeed rest, so that steps go to tasks that still fail."""

import math
from typing import Any, cast

import torch

from mtrl.errors import UserError
from mtrl.goals import ChosenSlots, ResampleGoals
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv, schedule_of, slots_of_each_task
from mtrl.vector.wrapper import WrappedVectorEnv


def refuse_single_worlds(slots_per_task: int) -> None:
    """For whoever is about to build `ShiftingWorlds`.

    Raises:
        UserError: There is one slot of each task, which cannot rest.
    """
    if slots_per_task < 2:
        raise UserError(
            "--shift.floor lets worlds rest, and there is one of each task: raise --slots-per-task, or leave it out"
        )


class ShiftingWorlds(WrappedVectorEnv):
    """Of every task with success s, a share f + (1 - f) (1 - s) of its slots plays, and the others rest.

    A slot that rests repeats one of its task that plays: observation, reward, ends and goal are the same, and so has
    the action to be (`twin`). Whoever learns from all slots thus learns from equally many steps of every task, which
    are of fewer worlds where a task succeeds. In `active`, only slots that play are set, so that episodes are counted
    once. An engine on a CPU does not simulate slots that rest.

    Args:
        env: Slots sorted by task, equally many of each. It is owned, and closed, by this one.
        floor: f, the share that plays however well a task does.

    Attributes:
        playing: How many slots of each task play.
        twin: `[env]` int64, the slot that each one repeats, its own where it plays; None while all play.

    Raises:
        UserError: There is one slot of each task, or there are unequally many.
    """

    def __init__(self, env: TaskVectorEnv, floor: float) -> None:
        super().__init__(env)
        self._floor, self._slots, self._seed = floor, slots_of_each_task(env), 0
        refuse_single_worlds(self._slots)
        self._play((self._slots,) * len(env.tasks))

    def _play(self, counts: tuple[int, ...]) -> None:
        """Lets the first so many slots of each task play."""
        self.playing = counts
        place = torch.arange(self._slots)
        own = [task * self._slots + place % count for task, count in enumerate(counts)]
        self.twin = None if min(counts) == self._slots else torch.cat(own).to(self.device)

    def arrange(self, success: torch.Tensor) -> bool:
        """Decides how many slots of each task play from the next `reset` on.

        Args:
            success: Of each task's recent episodes, `[task]`, from 0 to 1; NaN, where none is over, counts as failure.

        Returns:
            Whether they become others.
        """
        shares = self._floor + (1.0 - self._floor) * (1.0 - success.nan_to_num(0.0).to("cpu", torch.float64))
        # What rounding adds does not make one slot more.
        counts = tuple(max(1, math.ceil(share - 1e-6)) for share in (self._slots * shares).tolist())
        changed = counts != self.playing
        self._play(counts)
        return changed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`."""
        self._seed = self._seed if seed is None else int(seed)
        schedule = schedule_of(options) or ResampleGoals(self.goal_counts, self._seed, self.trial_episodes)
        plays = [place < count for count in self.playing for place in range(self._slots)]
        chosen = {**(options or {}), "schedule": ChosenSlots(schedule, plays)}
        obs, info = self._env.reset(seed=self._seed, options=chosen)
        return self._repeated(obs), {**info, "goal_index": self._repeated(info["goal_index"])}

    def _repeated(self, of_slots: torch.Tensor) -> torch.Tensor:
        return of_slots if self.twin is None else of_slots[self.twin]

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`; those for slots that rest are not taken."""
        self._env.step_async(actions)

    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """See `TaskVectorEnv.step_wait`."""
        *results, info = self._env.step_wait()
        obs, reward, terminated, truncated = map(self._repeated, results)
        told: Any = {
            name: value if name == "active" else self._repeated(value) for name, value in cast(Any, info).items()
        }
        return obs, reward, terminated, truncated, told

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`."""
        return {"env": self._env.get_state(), "playing": list(self.playing), "seed": self._seed}

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`."""
        self._play(tuple(state["playing"]))
        self.reset(seed=state["seed"])
        return self._repeated(self._env.set_state(state["env"]))
