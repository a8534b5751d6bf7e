"""The vector environment of tasks of tensor functions."""

from collections.abc import Hashable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, GoalSet
from mtrl.scenes.episodes import Episodes
from mtrl.tasks import TaskDefinition
from mtrl.tensors.task import mixed, uniforms
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv, schedule_of

REPORT_EVERY = 32
"""See `TaskVectorEnv.report_every`, on a device."""


class TensorVectorEnv(TaskVectorEnv):
    """Worlds of tasks with the same functions, stepped together; the host knows when episodes end, and never waits.

    Args:
        definitions: The suite's tasks, in order.
        goal_set: Their goals.
        slots_per_task: Worlds of each task.
        workers: Ignored.
        goal_visible: Whether observations show the goal.
        device: Where everything lives.

    Raises:
        UserError: A task has no such functions.
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
        task_id = np.repeat(np.arange(len(definitions)), slots_per_task)
        super().__init__([task.spec for task in definitions], task_id.tolist(), goal_set, torch.device(device))
        self._rules, self._goal_visible = definitions[0].tensor_task, goal_visible
        self.report_every = 1 if self.device.type == "cpu" else REPORT_EVERY
        horizon = np.array([task.horizon for task in definitions])[task_id]
        self._episodes = Episodes(horizon, [goal_set.counts[task] for task in task_id])
        self._number = np.zeros(self.num_envs, np.int64)
        # Goals of all tasks in one table; a task's begin where those of the task before end.
        self._table = torch.from_numpy(np.concatenate(goal_set.rows)).to(self.device, torch.float32)
        self._first_row = np.concatenate([[0], np.cumsum(goal_set.counts)])[task_id]
        self._ready = False
        self._action: Actions | None = None
        self._state: torch.Tensor

    @staticmethod
    def kind_of(definition: TaskDefinition) -> Hashable:
        """Tasks with the same functions fit into one environment."""
        return definition.tensor_task

    def _take_goals(self) -> None:
        """What the host knows of the episodes, to the device."""
        active = self._episodes.active
        rows = self._first_row + np.where(active, self._episodes.goal, 0)
        self._goal_index = torch.from_numpy(self._episodes.goal.copy()).to(self.device)
        self._active = self._goal_index != INACTIVE
        self._goal = self._table[torch.from_numpy(rows).to(self.device)]
        slots = torch.arange(self.num_envs)
        self._key = mixed(self._episodes.seed, slots, torch.from_numpy(self._number)).to(self.device)
        self._elapsed = torch.from_numpy(self._episodes.elapsed.copy()).to(self.device)

    def _begun(self) -> torch.Tensor:
        """The states that episodes begin with, of all worlds; what is drawn for them is that of a step before all."""
        draws = uniforms(self._key, -torch.ones_like(self._key), self._rules.draws)
        return self._rules.begin(self._goal, draws)

    def _seen(self) -> Observations:
        obs = self._rules.seen(self._state, self._goal, self._goal_visible)
        return obs.masked_fill(~self._active.unsqueeze(1), 0.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`."""
        progress = bool((options or {}).get("random_progress"))
        self._episodes.begin(seed, schedule_of(options), random_progress=progress)
        self._number[:] = 0
        self._take_goals()
        self._state = self._begun()
        self._ready, self._action = True, None
        return self._seen(), {"goal_index": self._goal_index.clone(), "active": self._active.clone()}

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`."""
        if not self._ready or self._action is not None:
            raise gymnasium.error.ResetNeeded("call reset before step, and step_wait after step_async")
        if actions.shape != (self.num_envs, self.action_mask.shape[1]):
            raise ValueError(
                f"actions have shape {tuple(actions.shape)}, not one row for each of {self.num_envs} slots"
            )
        self._action = actions.detach().to(self.device, torch.float32).clone()

    @torch.no_grad()
    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """See `TaskVectorEnv.step_wait`."""
        if self._action is None:
            raise gymnasium.error.NoAsyncCallError("call step_async before step_wait", "step_wait")
        action, self._action = self._action, None
        draws = uniforms(self._key, self._elapsed, self._rules.draws)
        moved = self._rules.step(self._state, action, self._goal, draws)
        self._state, goal, active = moved.state, self._goal_index, self._active
        reward, success, final = moved.reward.masked_fill(~active, 0.0), moved.success & active, self._seen()
        over = self._episodes.stepped() & self._episodes.active
        ended = torch.from_numpy(over).to(self.device)
        self._elapsed = self._elapsed + 1
        if over.any():
            self._begin_next(over, ended)
        info: StepInfo = {
            "success": success,
            "final_obs": final,
            "final_mask": ended,
            "goal_index": goal.clone(),
            "active": active.clone(),
        }
        obs = self._seen() if over.any() else final.clone()
        return obs, reward, torch.zeros_like(ended), ended.clone(), info

    def _begin_next(self, over: np.ndarray, ended: Flags) -> None:
        """The next episodes of the slots whose episode is over."""
        slots = np.flatnonzero(over)
        self._episodes.end(slots)
        self._number[slots] += 1
        self._take_goals()
        self._state = torch.where(ended.unsqueeze(1), self._begun(), self._state)

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`."""
        if not self._ready or self._action is not None:
            raise RuntimeError("get_state is for between steps, after a reset")
        own = {"tasks": [task.name for task in self.tasks], "number": self._number.tolist()}
        return {**own, **self._episodes.get_state(), "state": self._state.cpu().clone()}

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`.

        Raises:
            UserError: The state belongs to another environment.
        """
        if state.get("tasks") != [task.name for task in self.tasks] or len(state["goal"]) != self.num_envs:
            raise UserError("the saved environment has other tasks or slots than this one: build it as it was saved")
        self._episodes.set_state(state)
        self._number[:] = state["number"]
        self._take_goals()
        self._state = state["state"].to(self.device)
        self._ready, self._action = True, None
        return self._seen()

    def render_slot(self, slot: int) -> np.ndarray:
        """Tasks of tensor functions have no picture.

        Raises:
            UserError: Always.
        """
        raise UserError(f"task '{self.tasks[int(self.task_id[slot])].name}' has nothing to draw: leave out its video")


class TensorEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One world of a task of tensor functions as a gymnasium environment.

    Args:
        definition: The task.
        goal_visible: Whether observations show the goal.
    """

    def __init__(self, definition: TaskDefinition, goal_visible: bool = True) -> None:
        self._definition, self._rules, self._goal_visible = definition, definition.tensor_task, goal_visible
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (definition.obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (definition.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; `options["goal"]` is its goal, `[goal]`, and without one a goal is drawn."""
        super().reset(seed=seed)
        row = (options or {}).get("goal")
        if row is None:
            row = self._definition.sample_goals(1, int(self.np_random.integers(2**31)))[0]
        self._key = torch.tensor([int(self.np_random.integers(2**62))])
        self._goal, self._elapsed = torch.tensor(np.asarray(row, np.float32)).reshape(1, -1), 0
        self._state = self._rules.begin(self._goal, self._draws(-1))
        return self._seen(), {"goal": np.asarray(row, np.float64)}

    def _draws(self, step: int) -> torch.Tensor:
        return uniforms(self._key, torch.tensor([step]), self._rules.draws)

    def _seen(self) -> np.ndarray:
        return self._rules.seen(self._state, self._goal, self._goal_visible)[0].numpy()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; see `TensorTask.step`."""
        given = torch.as_tensor(np.asarray(action, np.float32)).reshape(1, -1)
        moved = self._rules.step(self._state, given, self._goal, self._draws(self._elapsed))
        self._state, self._elapsed = moved.state, self._elapsed + 1
        over = self._elapsed >= self._definition.horizon
        return self._seen(), float(moved.reward[0]), False, over, {"success": float(moved.success[0])}
