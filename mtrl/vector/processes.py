"""Environments in worker processes: Meta-World's own classes and users' gymnasium environments."""

import os
import pickle
import weakref
from collections.abc import Sequence
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import torch

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, GoalSet, ResampleGoals
from mtrl.tasks import TaskDefinition
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv, refuse_random_progress, schedule_of
from mtrl.vector.episodes import EpisodeBook
from mtrl.vector.pool import WorkerPool
from mtrl.vector.shared import SharedArrays
from mtrl.vector.worker import STEP, WorkerSetup, WorkerTask


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """One less than the cores this process may use, for the learner has one; at least 1."""
    return max(1, available_cores() - 1)


class ProcessVectorEnv(TaskVectorEnv):
    """Steps single environments in worker processes.

    Workers start from a fresh interpreter, load no torch and use one thread each. State is saved as the actions of the
    running episodes and restored by replaying them. A worker that dies is started again and replayed, and the step
    completed as if nothing had happened.

    Args:
        definitions: The suite's tasks, in order.
        goal_set: Their goals.
        slots_per_task: Environments of each task.
        workers: Worker processes, 0 for one less than the cores; never more than slots.
        goal_visible: Passed on to the tasks.
        device: Where returned tensors live.

    Raises:
        UserError: A task cannot be built, or sent to a worker.
        WorkerDied: A worker ended while it built its environments.
    """

    def __init__(
        self,
        definitions: Sequence[TaskDefinition],
        *,
        goal_set: GoalSet,
        slots_per_task: int = 1,
        workers: int = 0,
        goal_visible: bool = True,
        device: str | torch.device = "cpu",
    ) -> None:
        task_id = np.repeat(np.arange(len(definitions)), slots_per_task).tolist()
        super().__init__([task.spec for task in definitions], task_id, goal_set, torch.device(device))
        obs_dim, action_dim = self.obs_mask.shape[1], self.action_mask.shape[1]
        self._arrays = SharedArrays(self.num_envs, obs_dim, action_dim)
        self._arrays.goal[:] = INACTIVE
        self._goal_counts = [goal_set.counts[task] for task in task_id]
        self._book = EpisodeBook([definitions[task].name for task in task_id], self._arrays)
        self._ready = False
        tasks = [_worker_task(task, rows) for task, rows in zip(definitions, goal_set.rows, strict=True)]
        shares = np.array_split(np.arange(self.num_envs), min(workers or default_workers(), self.num_envs))
        setups = [
            WorkerSetup(
                tasks={task_id[slot]: tasks[task_id[slot]] for slot in share.tolist()},
                task_of_slot={slot: task_id[slot] for slot in share.tolist()},
                goal_visible=goal_visible,
                shape=self._arrays.shape,
            )
            for share in shares
        ]
        self._pool = WorkerPool(setups, self._arrays)
        self._step_messages = [STEP] * len(setups)
        self._stepping = False
        weakref.finalize(self, WorkerPool.close, self._pool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`."""
        refuse_random_progress(options)
        base = self._book.seed if seed is None else int(seed)
        if base < 0:
            raise UserError(f"seed {base} is negative: use 0 or more")
        self._book.begin(base, schedule_of(options) or ResampleGoals(self._goal_counts, base))
        self._restore()
        obs = self._arrays.obs.copy()
        self._book.begun(obs)
        goal = self._arrays.goal.copy()
        return self._tensor(obs.copy()), {"goal_index": self._tensor(goal), "active": self._tensor(goal != INACTIVE)}

    def _restore(self) -> None:
        """Sends all slots to where the book says they are."""
        self._ready = self._stepping = False
        self._arrays.obs[self._arrays.goal == INACTIVE] = 0
        messages = [self._book.message(worker.slots) for worker in self._pool.workers]
        self._pool.begin(messages)
        self._pool.finish(messages, None)
        self._ready = True

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`."""
        if not self._ready:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if actions.shape != self._arrays.action.shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {self._arrays.action.shape}")
        self._arrays.action[:] = actions.detach().cpu().numpy()
        self._pool.begin(self._step_messages)
        self._stepping = True

    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """See `TaskVectorEnv.step_wait`."""
        if not self._stepping:
            raise gymnasium.error.NoAsyncCallError("call step_async before step_wait", "step_wait")
        self._stepping, self._ready = False, False
        self._pool.finish(self._step_messages, self._book)
        arrays, goal = self._arrays, self._arrays.goal.copy()
        active = goal != INACTIVE
        terminated, truncated = arrays.terminated & active, arrays.truncated & active
        ended = terminated | truncated
        obs = arrays.obs.copy()
        final_obs = obs.copy()
        final_obs[ended] = arrays.final_obs[ended]
        self._book.stepped(ended, obs.copy())
        self._ready = True
        info: StepInfo = {
            "success": self._tensor(arrays.success & active),
            "final_obs": self._tensor(final_obs),
            "final_mask": self._tensor(ended),
            "goal_index": self._tensor(goal),
            "active": self._tensor(active),
        }
        reward = np.where(active, arrays.reward, np.float32(0))
        return self._tensor(obs), self._tensor(reward), self._tensor(terminated), self._tensor(truncated), info

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        """A tensor over the array's memory, which must be the caller's from now on, or a copy on the device."""
        return torch.from_numpy(array).to(self.device)

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`: of every running episode its goal, its number and its actions."""
        if not self._ready or self._stepping:
            raise RuntimeError("get_state is for between steps, after a reset")
        return self._book.get_state()

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`.

        Raises:
            UserError: The state belongs to another environment, or a task is not deterministic.
        """
        if self._book.schedule is None:
            self._book.schedule = ResampleGoals(self._goal_counts, self._book.seed)
        self._book.set_state(state)
        self._restore()
        self._book.verify(range(self.num_envs))
        return self._tensor(self._arrays.obs.copy())

    def render_slot(self, slot: int) -> np.ndarray:
        """See `TaskVectorEnv.render_slot`."""
        if not 0 <= slot < self.num_envs or self._arrays.goal[slot] == INACTIVE:
            raise UserError(f"slot {slot} plays nothing that could be rendered")
        worker = next(worker for worker in self._pool.workers if slot in worker.slots)
        return self._pool.ask(worker, pickle.dumps(("render", slot)), self._book)

    def close_extras(self, **_: Any) -> None:
        """Ends the workers."""
        self._pool.close()


def _worker_task(task: TaskDefinition, rows: np.ndarray) -> WorkerTask:
    try:
        # cloudpickle also sends what is defined in a script or a notebook, which a worker could not import.
        make = cloudpickle.dumps(task.make)
    except Exception as error:
        raise UserError(
            f"task '{task.name}' cannot be sent to a worker, since its `make` is not picklable: {error}"
        ) from error
    return WorkerTask(task.name, make, task.obs_dim, task.action_dim, rows)
