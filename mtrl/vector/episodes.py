"""What the parent knows of the running episodes: enough to bring every slot back to where it is by replaying it."""

import pickle
from collections.abc import Sequence

import numpy as np
import torch

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, GoalSchedule
from mtrl.seeds import derived_seed
from mtrl.types import State
from mtrl.vector.shared import SharedArrays
from mtrl.vector.worker import Episode


def episode_seed(seed: int, slot: int, episode: int) -> int:
    """The seed of a slot's episode, 31 bits."""
    return derived_seed(seed, slot, episode)


class EpisodeBook:
    """Goal, episode number and actions of each slot's current episode.

    An episode is a pure function of goal, episode seed and actions, so these restore any deterministic environment
    exactly, whatever it keeps inside.

    Args:
        task_names: Name of each slot's task.
        arrays: Where workers find what to play, and where their observations are.
    """

    def __init__(self, task_names: Sequence[str], arrays: SharedArrays) -> None:
        slots, _, action_dim = arrays.shape
        self._names, self._arrays, self._slots = list(task_names), arrays, np.arange(slots)
        self.seed = 0
        self.schedule: GoalSchedule | None = None
        self._episode = np.zeros(slots, np.int64)
        self._length = np.zeros(slots, np.int64)
        self._actions = np.zeros((64, slots, action_dim), np.float32)
        self._obs = np.zeros_like(arrays.obs)

    def begin(self, seed: int, schedule: GoalSchedule) -> None:
        """Puts every slot at the start of its first episode."""
        self.seed, self.schedule = seed, schedule
        self._episode[:], self._length[:] = 0, 0
        self._arrays.goal[:] = [schedule.first(slot) for slot in self._slots.tolist()]
        for slot in self._slots.tolist():
            self._prepare_next(slot)

    def _prepare_next(self, slot: int) -> None:
        assert self.schedule is not None
        arrays = self._arrays
        active = arrays.goal[slot] != INACTIVE
        arrays.next_goal[slot] = self.schedule.following(slot) if active else INACTIVE
        arrays.next_seed[slot] = episode_seed(self.seed, slot, int(self._episode[slot]) + 1) if active else 0

    def stepped(self, ended: np.ndarray, obs: np.ndarray) -> None:
        """Notes a finished step.

        Args:
            ended: `[env]`, where an episode ended and the next one, if there is one, has begun.
            obs: `[env, obs]`, current observations; kept, not copied.
        """
        longest = int(self._length.max())
        if longest == len(self._actions):
            self._actions = np.concatenate([self._actions, np.zeros_like(self._actions)])
        self._actions[self._length, self._slots] = self._arrays.action
        self._length += 1
        self._obs = obs
        if ended.any():
            self._length[ended] = 0
            self._episode[ended] += 1
            self._arrays.goal[ended] = self._arrays.next_goal[ended]
            for slot in np.flatnonzero(ended).tolist():
                self._prepare_next(slot)

    def begun(self, obs: np.ndarray) -> None:
        """Notes the first observations `[env, obs]` after `begin`; kept, not copied."""
        self._obs = obs

    def message(self, slots: Sequence[int]) -> bytes:
        """The command that brings these slots, in a worker, to where they are."""
        episodes = [
            Episode(
                slot,
                int(self._arrays.goal[slot]),
                episode_seed(self.seed, slot, int(self._episode[slot])),
                self._actions[: self._length[slot], slot].copy(),
            )
            for slot in slots
            if self._arrays.goal[slot] != INACTIVE
        ]
        return pickle.dumps(("restore", episodes))

    def verify(self, slots: Sequence[int]) -> None:
        """Compares what replaying gave with what was there before.

        Raises:
            UserError: They differ.
        """
        for slot in slots:
            if not np.array_equal(self._arrays.obs[slot], self._obs[slot], equal_nan=True):
                raise UserError(
                    f"task '{self._names[slot]}' is not deterministic: the same goal, seed and actions led to another "
                    "observation (or its code, goals or physics library changed since the state was saved)"
                )

    def get_state(self) -> State:
        """Everything above, the schedule included."""
        assert self.schedule is not None
        return {
            "tasks": list(self._names),
            "seed": self.seed,
            "episode": self._episode.tolist(),
            "goal": self._arrays.goal.tolist(),
            "next_goal": self._arrays.next_goal.tolist(),
            "actions": [
                torch.from_numpy(self._actions[:length, slot].copy())
                for slot, length in enumerate(self._length.tolist())
            ],
            "obs": torch.from_numpy(self._obs.copy()),
            "schedule": self.schedule.get_state(),
        }

    def set_state(self, state: State) -> None:
        """Takes over a state; the slots themselves are restored by sending `message`.

        Raises:
            UserError: It is the state of an environment that was built otherwise.
        """
        assert self.schedule is not None
        if state["tasks"] != self._names:
            raise UserError(
                f"the saved environment has {len(state['tasks'])} slots of other tasks than these {len(self._names)}: "
                "build it with the suite and the slots per task that it was saved with"
            )
        self.schedule.set_state(state["schedule"])
        self.seed = state["seed"]
        self._episode[:] = state["episode"]
        self._arrays.goal[:] = state["goal"]
        self._arrays.next_goal[:] = state["next_goal"]
        self._arrays.next_seed[:] = [
            episode_seed(self.seed, slot, episode + 1) for slot, episode in enumerate(state["episode"])
        ]
        lengths = [len(actions) for actions in state["actions"]]
        self._length[:] = lengths
        self._actions = np.zeros((max([64, *lengths]) + 1, *self._actions.shape[1:]), np.float32)
        for slot, actions in enumerate(state["actions"]):
            self._actions[: lengths[slot], slot] = actions.numpy()
        self._obs = state["obs"].numpy().copy()
