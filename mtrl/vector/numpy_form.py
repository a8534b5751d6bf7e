"""The NumPy form of a vector environment, as `gymnasium.make_vec("MTRL/MT10-v0")` gives it."""

from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.seeds import derived_seed
from mtrl.suites import Suite, resolve_suite
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.contract import TaskVectorEnv


class NumpyVectorEnv(gymnasium.vector.VectorEnv):
    """Speaks NumPy and gymnasium's info conventions around a `TaskVectorEnv`.

    Autoreset is SAME_STEP. `info` holds `task_id`, `goal_index` and, after a step, `success`, each `[env]`; where an
    episode ended, `final_obs` holds its last observation and `final_info` its last `success` and `goal_index`. Each key
    comes with a mask `_key`.

    Args:
        env: The environment; owned and closed by this one.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium declares it
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
    }

    def __init__(self, env: TaskVectorEnv, render_mode: str | None = None) -> None:
        self.env = env
        self.num_envs = env.num_envs
        self.render_mode = render_mode
        self.single_observation_space, self.observation_space = env.single_observation_space, env.observation_space
        self.single_action_space, self.action_space = env.single_action_space, env.action_space
        self.task_id = env.task_id.cpu().numpy()
        self.task_names = tuple(task.name for task in env.tasks)
        self._seed, self._unseeded_resets = 0, -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the first episode of every slot.

        Args:
            seed: Fixes everything that follows, further resets without a seed included.
            options: As in `TaskVectorEnv.reset`.
        """
        # Without a seed, gymnasium expects other episodes than last time, but the same sequence of them.
        self._seed, self._unseeded_resets = (self._seed, self._unseeded_resets + 1) if seed is None else (int(seed), 0)
        if self._unseeded_resets > 0:
            another = derived_seed(self._seed, self._unseeded_resets)
            obs, info = self.env.reset(seed=another, options=options)
        else:
            obs, info = self.env.reset(seed=self._seed, options=options)
        return _array(obs), self._infos({"goal_index": info["goal_index"]}, _array(info["active"]))

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step; `[env, act]` in, observation, reward (float64), terminated, truncated and infos out."""
        torch_actions = torch.from_numpy(np.array(actions, np.float32)).to(self.env.device)
        obs, reward, terminated, truncated, info = self.env.step(torch_actions)
        played = {"success": info["success"], "goal_index": info["goal_index"]}
        infos = self._infos(played, _array(info["active"]))
        ended = _array(info["final_mask"])
        if ended.any():
            last, final_obs = _array(info["final_obs"]), np.full(self.num_envs, None, dtype=object)
            for slot in np.flatnonzero(ended):
                final_obs[slot] = last[slot]
            infos |= {"final_obs": final_obs, "_final_obs": ended.copy()}
            infos |= {"final_info": self._infos(played, ended), "_final_info": ended.copy()}
        return _array(obs), _array(reward).astype(np.float64), _array(terminated), _array(truncated), infos

    def _infos(self, values: dict[str, torch.Tensor], mask: np.ndarray) -> dict[str, Any]:
        infos: dict[str, Any] = {"task_id": self.task_id.copy(), "_task_id": np.ones(self.num_envs, np.bool_)}
        for key, value in values.items():
            infos |= {key: _array(value).copy(), f"_{key}": mask.copy()}
        return infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """An image of every slot, if the render mode is `rgb_array`."""
        if self.render_mode is None:
            return None
        return tuple(self.env.render_slot(slot) for slot in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environment."""
        self.env.close(**kwargs)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.cpu().numpy()


def make(
    suite: str | Suite,
    num_envs: int = 1,
    *,
    slots_per_task: int | None = None,
    tasks: Literal["train", "test"] = "train",
    goals: Literal["train", "heldout"] = "train",
    goal_seed: int = 42,
    engine: str = "auto",
    workers: int = 0,
    render_mode: Literal["rgb_array"] | None = None,
) -> NumpyVectorEnv:
    """Builds the NumPy form of a suite; gymnasium's entry point.

    Args:
        suite: A suite, or what names one: `MT10`, a task, tasks joined by commas.
        num_envs: Slots in all, a multiple of the number of tasks; 1 (gymnasium's default) is one slot a task.
        slots_per_task: The same said otherwise; leave `num_envs` at 1 then.
        tasks: `train`, or `test` for the held-out tasks of a meta suite.
        goals: `train`, or `heldout` for goals that are never trained on.
        goal_seed: Fixes the goals.
        engine: As in `make_vector_env`.
        workers: As in `make_vector_env`.
        render_mode: `rgb_array`, to have `render`.

    Raises:
        UserError: A name is unknown, or the numbers do not fit.
    """
    suite = suite if isinstance(suite, Suite) else resolve_suite(suite)
    _check_choice("tasks", tasks, "train", "test")
    _check_choice("goals", goals, "train", "heldout")
    _check_choice("render_mode", render_mode, None, "rgb_array")
    names = suite.train_tasks if tasks == "train" else suite.test_tasks
    if not names:
        raise UserError(f"suite '{suite.name}' has no {tasks} tasks: use tasks='train'")
    train, heldout = make_goal_sets([TASKS.get(name) for name in names], suite.goals_per_task, goal_seed)
    env = make_vector_env(
        names,
        goal_set=train if goals == "train" else heldout,
        slots_per_task=_slots_per_task(suite.name, len(names), num_envs, slots_per_task),
        workers=workers,
        engine=engine,
        goal_visible=suite.goal_visible,
    )
    return NumpyVectorEnv(env, render_mode)


def _slots_per_task(suite: str, tasks: int, num_envs: int, slots_per_task: int | None) -> int:
    if num_envs == 1:
        return 1 if slots_per_task is None else slots_per_task
    if num_envs < 1 or num_envs % tasks:
        raise UserError(f"num_envs is {num_envs}: suite '{suite}' has {tasks} tasks, so use a multiple of {tasks}")
    if slots_per_task is not None and slots_per_task * tasks != num_envs:
        raise UserError(f"num_envs is {num_envs} but {slots_per_task} slots x {tasks} tasks are asked for: give one")
    return num_envs // tasks


def _check_choice(option: str, value: object, *allowed: object) -> None:
    if value not in allowed:
        raise UserError(f"{option} is {value!r}: choose {' or '.join(map(repr, allowed))}")
