"""Several vector environments side by side, so that tasks of different engines can share a suite."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mtrl.errors import UserError
from mtrl.goals import GoalSchedule, GoalSet, ResampleGoals
from mtrl.seeds import derived_seed
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv, schedule_of


class _PartSchedule:
    """A schedule as one part sees it; the composite keeps the state of the whole."""

    def __init__(self, whole: GoalSchedule, slots: Sequence[int]) -> None:
        self._whole, self._slots = whole, slots

    def first(self, slot: int) -> int:
        return self._whole.first(self._slots[slot])

    def following(self, slot: int) -> int:
        return self._whole.following(self._slots[slot])

    def get_state(self) -> State:
        return {}

    def set_state(self, state: State) -> None:
        pass


class CompositeVectorEnv(TaskVectorEnv):
    """Concatenates the slots of several vector environments, sorted by task, padded to the largest.

    Args:
        parts: Vector environments on the same device. The composite owns them and closes them.
        members: For each part, the place in the whole suite of each of its tasks.
        goal_set: Goals of the whole suite.
    """

    def __init__(self, parts: Sequence[TaskVectorEnv], members: Sequence[Sequence[int]], goal_set: GoalSet) -> None:
        placed = {
            place: part.tasks[own]
            for part, places in zip(parts, members, strict=True)
            for own, place in enumerate(places)
        }
        tasks = [placed[place] for place in sorted(placed)]
        joined = np.concatenate([np.asarray(m)[p.task_id.cpu().numpy()] for p, m in zip(parts, members, strict=True)])
        order = np.argsort(joined, kind="stable")
        super().__init__(tasks, joined[order].tolist(), goal_set, parts[0].device)
        self._parts, self._members = tuple(parts), tuple(members)
        self.report_every = max(part.report_every for part in parts)
        # Slot of the composite for each slot of each part: the inverse of the sorting, cut into parts.
        bounds = np.cumsum([part.num_envs for part in parts])[:-1]
        self._slots = [slots.tolist() for slots in np.split(np.argsort(order), bounds)]
        self._index = [torch.tensor(slots, device=self.device) for slots in self._slots]
        self._seed = 0
        self._schedule: GoalSchedule | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`; each part gets a seed of its own, made from this one."""
        self._seed = self._seed if seed is None else int(seed)
        if self._seed < 0:
            raise UserError(f"seed {self._seed} is negative: use 0 or more")
        self._schedule = schedule_of(options) or ResampleGoals(self.goal_counts, self._seed)
        obs, infos = [], []
        for number, (part, slots) in enumerate(zip(self._parts, self._slots, strict=True)):
            own_seed = derived_seed(self._seed, number)
            schedule = _PartSchedule(self._schedule, slots)
            part_obs, part_info = part.reset(seed=own_seed, options={**(options or {}), "schedule": schedule})
            obs.append(part_obs)
            infos.append(part_info)
        return self._join(obs), {key: self._join([info[key] for info in infos]) for key in infos[0]}

    def _join(self, pieces: Sequence[torch.Tensor]) -> torch.Tensor:
        """One tensor over all slots from one a part; `[env, obs]` pieces are padded with zeros."""
        wide = (self.obs_mask.shape[1],) if pieces[0].dim() == 2 else ()
        whole = torch.zeros((self.num_envs, *wide), dtype=pieces[0].dtype, device=self.device)
        for index, piece in zip(self._index, pieces, strict=True):
            if wide:
                whole[index, : piece.shape[1]] = piece
            else:
                whole[index] = piece
        return whole

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`."""
        if actions.shape != self.action_space.shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {self.action_space.shape}")
        actions = actions.to(self.device)
        for part, index in zip(self._parts, self._index, strict=True):
            part.step_async(actions[index, : part.action_mask.shape[1]])

    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """See `TaskVectorEnv.step_wait`."""
        obs, reward, terminated, truncated, infos = zip(*[part.step_wait() for part in self._parts], strict=True)
        info: StepInfo = {
            "success": self._join([part["success"] for part in infos]),
            "final_obs": self._join([part["final_obs"] for part in infos]),
            "final_mask": self._join([part["final_mask"] for part in infos]),
            "goal_index": self._join([part["goal_index"] for part in infos]),
            "active": self._join([part["active"] for part in infos]),
        }
        return self._join(obs), self._join(reward), self._join(terminated), self._join(truncated), info

    def compile(self) -> None:
        """See `TaskVectorEnv.compile`."""
        for part in self._parts:
            part.compile()

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`."""
        if self._schedule is None:
            raise RuntimeError("get_state is for after a reset")
        parts = [part.get_state() for part in self._parts]
        return {"seed": self._seed, "schedule": self._schedule.get_state(), "parts": parts}

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`."""
        if len(state.get("parts", ())) != len(self._parts):
            raise UserError("the saved environment has other engines than this one: build it as it was saved")
        if self._schedule is None:
            self.reset()
        assert self._schedule is not None
        self._seed = state["seed"]
        self._schedule.set_state(state["schedule"])
        return self._join([part.set_state(own) for part, own in zip(self._parts, state["parts"], strict=True)])

    @property
    def engine_name(self) -> str:
        """See `TaskVectorEnv.engine_name`."""
        return " and ".join(part.engine_name for part in self._parts)

    @property
    def faults(self) -> np.ndarray:
        """See `TaskVectorEnv.faults`."""
        counts = np.zeros(len(self.tasks), np.int64)
        for part, places in zip(self._parts, self._members, strict=True):
            counts[list(places)] = part.faults
        return counts

    @property
    def fault_reasons(self) -> dict[str, int]:
        """See `TaskVectorEnv.fault_reasons`."""
        joined: Counter[str] = Counter()
        for part in self._parts:
            joined.update(part.fault_reasons)
        return dict(joined)

    def render_slot(self, slot: int) -> np.ndarray:
        """See `TaskVectorEnv.render_slot`."""
        for part, slots in zip(self._parts, self._slots, strict=True):
            if slot in slots:
                return part.render_slot(slots.index(slot))
        raise UserError(f"slot {slot} plays nothing that could be rendered")

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the parts."""
        for part in self._parts:
            part.close(**kwargs)
