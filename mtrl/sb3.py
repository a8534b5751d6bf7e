"""Stable-Baselines3's form of a vector environment, so that its agents train on suites unmodified.

import mtrl.sb3, stable_baselines3
env = mtrl.sb3.make("MT3", slots_per_task=2)
stable_baselines3.SAC("MlpPolicy", env).learn(10_000)
"""

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from mtrl.errors import UserError
from mtrl.vector.contract import TaskVectorEnv
from mtrl.vector.numpy_form import make as make_numpy

TaskInput = Literal["append_one_hot", "dict", "hidden"]


class SB3VecEnv(VecEnv):
    """A `TaskVectorEnv` as Stable-Baselines3 knows vector environments.

    Autoreset, `terminal_observation` and `TimeLimit.truncated` are as its algorithms expect; `is_success` of an ended
    episode is success at any of its steps. Padding in observations is zero.

    Args:
        env: The environment, on the CPU; owned and closed by this one.
        task_input: How a policy is told the task: `append_one_hot` to the observation, a `dict` of `observation` and
            `task` (one-hot), or `hidden`.

    Raises:
        UserError: The environment is not on the CPU, or there is no such form.
    """

    def __init__(self, env: TaskVectorEnv, task_input: TaskInput = "append_one_hot") -> None:
        if env.device.type != "cpu":
            raise UserError(f"Stable-Baselines3 speaks NumPy: build the environment on the CPU, not on {env.device}")
        if task_input not in ("append_one_hot", "dict", "hidden"):
            raise UserError(f"task_input is {task_input!r}: choose 'append_one_hot', 'dict' or 'hidden'")
        self.env, self.task_input = env, task_input
        self.render_mode = None
        self._codes = np.eye(len(env.tasks), dtype=np.float32)[env.task_id.numpy()]
        self._names = [env.tasks[task].name for task in env.task_id.tolist()]
        self._succeeded = np.zeros(env.num_envs, dtype=bool)
        self._next_seed = 0
        super().__init__(env.num_envs, self._space(), env.single_action_space)

    def _space(self) -> gymnasium.spaces.Space[Any]:
        obs_dim, tasks = self.env.obs_mask.shape[1], len(self.env.tasks)
        plain = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        code = gymnasium.spaces.Box(0.0, 1.0, (tasks,), np.float32)
        if self.task_input == "dict":
            return gymnasium.spaces.Dict({"observation": plain, "task": code})
        if self.task_input == "hidden":
            return plain
        low, high = np.concatenate([plain.low, code.low]), np.concatenate([plain.high, code.high])
        return gymnasium.spaces.Box(low, high, dtype=np.float32)

    def _observation(self, obs: np.ndarray, codes: np.ndarray) -> Any:
        """`[..., obs]` and `[..., task]` in the form that was chosen."""
        if self.task_input == "dict":
            return {"observation": obs, "task": codes.copy()}
        return obs if self.task_input == "hidden" else np.concatenate([obs, codes], axis=-1)

    def reset(self) -> VecEnvObs:
        """Starts the first episode of every slot, under the seed that `seed` gave; without one, under the next."""
        seed = self._seeds[0] if self._seeds[0] is not None else self._next_seed
        self._next_seed = int(seed) + 1
        obs, info = self.env.reset(seed=int(seed))
        self._succeeded[:] = False
        self.reset_infos = [{"goal_index": int(goal)} for goal in info["goal_index"]]
        self._reset_seeds()
        self._reset_options()
        return self._observation(obs.numpy(), self._codes)

    def step_async(self, actions: np.ndarray) -> None:
        """Begins a step with actions `[env, act]`."""
        self.env.step_async(torch.from_numpy(np.array(actions, dtype=np.float32)))

    def step_wait(self) -> VecEnvStepReturn:
        """Ends it."""
        obs, reward, terminated, truncated, info = self.env.step_wait()
        ended, final_obs = info["final_mask"].numpy(), info["final_obs"].numpy()
        success, cut = info["success"].numpy(), (truncated & ~terminated).numpy()
        self._succeeded |= success
        infos: list[dict[str, Any]] = [
            {"task": name, "success": bool(solved), "TimeLimit.truncated": bool(over)}
            for name, solved, over in zip(self._names, success, cut, strict=True)
        ]
        for slot in np.flatnonzero(ended):
            last = self._observation(final_obs[slot], self._codes[slot])
            infos[slot] |= {"terminal_observation": last, "is_success": bool(self._succeeded[slot])}
        self._succeeded[ended] = False
        return self._observation(obs.numpy(), self._codes), reward.numpy(), ended, infos

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of this environment, once for each slot asked for."""
        source = self if hasattr(self, attr_name) else self.env
        return [getattr(source, attr_name)] * len(self._slots(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Slots have no attributes of their own.

        Raises:
            UserError: Always.
        """
        raise UserError(f"attribute '{attr_name}' cannot be set: slots have none of their own")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Calls a method that takes a slot first, such as `render_slot`, for each slot asked for."""
        return [getattr(self.env, method_name)(slot, *args, **kwargs) for slot in self._slots(indices)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """False for each slot: there are no wrappers that could be seen from here."""
        return [False] * len(self._slots(indices))

    def get_images(self) -> Sequence[np.ndarray | None]:
        """An image of every slot."""
        return [self.env.render_slot(slot) for slot in range(self.num_envs)]

    def _slots(self, indices: VecEnvIndices) -> list[int]:
        return list(self._get_indices(indices))


def make(suite: str, *, task_input: TaskInput = "append_one_hot", **options: Any) -> SB3VecEnv:
    """Builds Stable-Baselines3's form of a suite.

    Args:
        suite: A suite, a task, or tasks joined by commas.
        task_input: As in `SB3VecEnv`.
        **options: As in `mtrl.vector.numpy_form.make`: `slots_per_task`, `goals`, `goal_seed`, `workers` ...

    Raises:
        UserError: A name is unknown, or the numbers do not fit.
    """
    return SB3VecEnv(make_numpy(suite, **options).env, task_input)
