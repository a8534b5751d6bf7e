"""The vector environment of tasks on scenes."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import gymnasium
import numpy as np
import torch

from mtrl.goals import GoalSet
from mtrl.scenes.columns import Columns
from mtrl.scenes.episodes import Episodes
from mtrl.scenes.native import NativeEngine
from mtrl.scenes.scene import Scene
from mtrl.scenes.worlds import SceneWorlds
from mtrl.tasks import TaskDefinition
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, schedule_of
from mtrl.vector.processes import default_workers


class SceneVectorEnv(SceneWorlds):
    """Worlds of one or several tasks with equal rules, stepped together without Python per world.

    Worlds are laid out as the rules want them; slots are the same worlds in the suite's order. A world whose physics
    fails (not finite, or beyond bounds) is truncated with reward 0 and its last sound observation, begins its next
    episode, and is counted in `faults`.

    Args:
        definitions: The suite's tasks, in order.
        goal_set: Their goals.
        slots_per_task: Worlds of each task.
        workers: Threads of the physics, 0 for one less than the cores.
        goal_visible: Whether observations show the goal.
        device: Where returned tensors live.

    Raises:
        UserError: A task has no scene, or one that cannot be used.
    """

    engine = "native"

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
        super().__init__(
            definitions,
            goal_set,
            slots_per_task,
            goal_visible=goal_visible,
            device=device,
            rules_device="cpu",
            dtype=torch.float64,
        )
        self._engine = NativeEngine(self._layout, workers or default_workers())
        self._episodes = Episodes(self._horizon, [goal_set.counts[task] for task in self._task_of_slot])
        self._use_snapshots()
        self._faults = np.zeros(len(definitions), np.int64)
        self._obs = torch.zeros(self.num_envs, self._rules.obs_dim)
        self._ready = False
        self._pool = ThreadPoolExecutor(1, "mtrl-physics")
        self._stepping: Future | None = None

    def _use_snapshots(self) -> None:
        visible = self._layout.goal_visible
        self._first_obs = [
            torch.from_numpy(starts.visible if visible else starts.hidden).to(torch.float32)
            for starts in self._snapshots
        ]
        self._first_memory = [torch.from_numpy(starts.memory) for starts in self._snapshots]

    @property
    def _views(self) -> Columns:
        return self._engine.views

    @property
    def faults(self) -> np.ndarray:
        """Episodes that ended because their physics failed, `[task]`, since the environment was built."""
        return self._faults.copy()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`."""
        self._finish()
        progress = bool((options or {}).get("random_progress"))
        self._episodes.begin(seed, schedule_of(options), random_progress=progress)
        self._obs = torch.zeros_like(self._obs)
        self._begin(np.flatnonzero(self._episodes.active))
        self._heed_inactive()
        self._ready = True
        goal, active = torch.from_numpy(self._episodes.goal.copy()), torch.from_numpy(self._episodes.active)
        return self._obs.clone().to(self.device), {
            "goal_index": goal.to(self.device),
            "active": active.to(self.device),
        }

    def _begin(self, slots: np.ndarray) -> None:
        """Puts slots at the start of their goals."""
        for task in np.unique(self._task_of_slot[slots]).tolist():
            own = slots[self._task_of_slot[slots] == task]
            goals = self._episodes.goal[own]
            self._engine.place(int(self._position[task]), own % self._per_task, self._snapshots[task], goals)
            rows = torch.from_numpy(goals)
            self._memory.table[torch.from_numpy(self._world[own])] = self._first_memory[task][rows]
            self._obs[torch.from_numpy(own)] = self._first_obs[task][rows]

    def _heed_inactive(self) -> None:
        active = self._episodes.active
        self._all_active = bool(active.all())
        by_world = np.empty_like(active)
        by_world[self._world] = active
        self._engine.keep_active(by_world)

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`; the physics runs in a thread of its own meanwhile."""
        self._prepare(actions)
        self._stepping = self._pool.submit(self._advance)

    def step(self, actions: Actions) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:  # type: ignore[override]
        """See `TaskVectorEnv.step`."""
        self._prepare(actions)
        return self._conclude(self._advance())

    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """See `TaskVectorEnv.step_wait`."""
        if self._stepping is None:
            raise gymnasium.error.NoAsyncCallError("call step_async before step_wait", "step_wait")
        running, self._stepping = self._stepping, None
        return self._conclude(running.result())

    def _prepare(self, actions: Actions) -> None:
        if not self._ready or self._stepping is not None:
            raise gymnasium.error.ResetNeeded("call reset before step, and step_wait after step_async")
        self._check_actions(actions)
        actions = actions.detach().to("cpu", torch.float32)
        self._action = actions.clone() if self._slot_of_world is None else actions[self._slot_of_world]

    @torch.inference_mode()
    def _advance(self) -> torch.Tensor | None:
        return self._engine.step(self._evaluator.control(self._action, self._memory))

    @torch.no_grad()
    def _conclude(self, failed: torch.Tensor | None) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """Judges the state, ends episodes and begins the next ones."""
        with torch.inference_mode():
            self._outcome = outcome = self._judge(self._engine.views, self._action, self._memory)
        # What is made from here on may be used in a backward pass.
        obs = self._by_slot(outcome.observation).to(torch.float32)
        reward = self._by_slot(outcome.reward).to(torch.float32)
        success = self._own_by_slot(outcome.success)
        goal, active = torch.from_numpy(self._episodes.goal.copy()), torch.from_numpy(self._episodes.active)
        truncated = torch.from_numpy(self._episodes.stepped())
        terminated = (
            torch.zeros_like(truncated) if outcome.terminated is None else self._own_by_slot(outcome.terminated)
        )
        if failed is not None:
            wrong = self._by_slot(failed) & active
            self._faults += np.bincount(self._task_of_slot[wrong.numpy()], minlength=len(self._faults))
            obs = torch.where(wrong.unsqueeze(1), self._obs, obs)
            reward, success = reward.masked_fill(wrong, 0), success & ~wrong
            terminated, truncated = terminated & ~wrong, truncated | wrong
        if not self._all_active:
            # Not by multiplication: where the physics failed last, a resting world still reads as NaN.
            obs, reward = obs.masked_fill(~active.unsqueeze(1), 0), reward.masked_fill(~active, 0)
            success, terminated, truncated = success & active, terminated & active, truncated & active
        ended = terminated | truncated
        # Three tensors: the caller may write to either of his.
        self._obs, final_obs = obs.clone(), obs
        slots = np.flatnonzero(ended.numpy())
        if len(slots):
            self._end(slots)
        info: StepInfo = {
            "success": success,
            "final_obs": final_obs,
            "final_mask": ended,
            "goal_index": goal,
            "active": active,
        }
        return self._handed_over(reward, terminated, truncated, info)

    def _end(self, slots: np.ndarray) -> None:
        """Ends the episodes of these slots and begins their next ones, where there are any."""
        self._episodes.end(slots)
        playing = self._episodes.active[slots]
        self._begin(slots[playing])
        done = slots[~playing]
        if len(done):
            self._obs[torch.from_numpy(done)] = 0
            self._heed_inactive()

    def _handed_over(
        self, reward: Rewards, terminated: Flags, truncated: Flags, info: StepInfo
    ) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """The results on the device, as tensors that nobody writes to again."""
        obs = self._obs.clone()
        if self.device.type != "cpu":
            obs, reward, terminated, truncated = (part.to(self.device) for part in (obs, reward, terminated, truncated))
            info = {key: value.to(self.device) for key, value in info.items()}  # pyright: ignore
        return obs, reward, terminated, truncated, info

    def _finish(self) -> None:
        """Ends a step that is under way, and forgets it."""
        if self._stepping is not None:
            self._stepping.result()
            self._stepping = None

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`: the whole state of every simulation."""
        if not self._ready or self._stepping is not None:
            raise RuntimeError("get_state is for between steps, after a reset")
        return {
            **self._identity(),
            **self._episodes.get_state(),
            "faults": self._faults.tolist(),
            "obs": self._obs.clone(),
            "memory": self._memory.table.clone(),
            "simulations": self._engine.get_state(),
        }

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`.

        Raises:
            UserError: The state belongs to another environment.
        """
        self._check_state(state)
        self._finish()
        self._episodes.set_state(state)
        self._faults[:] = state["faults"]
        self._obs = state["obs"].clone()
        self._memory.table[:] = state["memory"]
        self._engine.set_state(state["simulations"])
        self._heed_inactive()
        self._ready = True
        return self._obs.clone().to(self.device)

    def _simulation_of(self, task: int, slot: int) -> tuple[Scene, np.ndarray, np.ndarray] | None:
        if not self._episodes.active[slot]:
            return None
        return self._engine.simulation_of(task, slot % self._per_task)

    def close_extras(self, **_: Any) -> None:
        """Ends the thread of the physics, and frees what draws."""
        self._finish()
        self._engine.close()
        super().close_extras()
        self._pool.shutdown()
