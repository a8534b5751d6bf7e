# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Upstream's environment classes, made to work on current MuJoCo and told which goal to play.

Nothing of upstream is changed in place: each class is subclassed, so other users of the package in the same process
see it as it was.
"""

import functools
from typing import Any

import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils import reward_utils

from mtrl.errors import UserError

from .lean import lean_class
from .weld import write_weld

MAX_DRAWS = 10_000
"""Draws after which a task's rejection loop is taken for endless; upstream's tasks accept at least one in three."""


class GoalControlled(SawyerXYZEnv):
    """What every upstream environment gets on top: the weld, the goal, and quiet resets.

    It goes before upstream's class in the method resolution order.
    """

    task_name: str
    _generator: np.random.Generator | None = None
    _draws = 0

    def reset_mocap_welds(self) -> None:
        """Upstream's weld, on current MuJoCo."""
        write_weld(self.model)

    def show_goal(self, visible: bool) -> None:
        """Makes observations hold the goal, or zeros in its place."""
        self._set_task_called = True
        self._partially_observable = not visible
        self.__dict__.pop("sawyer_observation_space", None)  # cached with the goal's bounds at zero
        self.observation_space = self.sawyer_observation_space

    def reset_to(self, goal: np.ndarray) -> np.ndarray:
        """Starts the variation that a goal describes; returns upstream's reset observation, `[obs]`."""
        self._last_rand_vec = goal
        self._freeze_rand_vec = True
        observation, _ = self.reset()
        return observation

    def draw_goal(self, generator: np.random.Generator) -> np.ndarray:
        """Draws a goal as upstream's reset does, rejections included, without simulating the hand's way to its start.

        Leaves the environment in no particular state: reset it before use.
        """
        self._generator, self._freeze_rand_vec = generator, False
        try:
            self.reset_model()
        finally:
            self._generator, self._freeze_rand_vec = None, True
        assert self._last_rand_vec is not None
        return self._last_rand_vec.copy()

    def reset_model(self) -> np.ndarray:
        """Upstream's reset, counting how often it asks for a goal."""
        self._draws = 0
        return super().reset_model()

    def do_simulation(self, ctrl: Any, n_frames: int) -> None:
        """Upstream's simulation, left out while a goal is drawn: no task looks at it to accept or reject one."""
        if self._generator is None:
            super().do_simulation(ctrl, n_frames)

    def _get_state_rand_vec(self) -> np.ndarray:
        """The goal of this reset, a new array each time since upstream keeps views into it."""
        self._draws += 1
        if self._generator is None:
            if self._draws > 1:
                raise UserError(f"task '{self.task_name}' rejects this goal: take goals from its sample_goals")
            assert self._last_rand_vec is not None
            return self._last_rand_vec.copy()
        if self._draws > MAX_DRAWS:
            raise RuntimeError(f"task '{self.task_name}' rejected {MAX_DRAWS} goals in a row")
        bounds = self._random_reset_space
        assert bounds is not None
        self._last_rand_vec = self._generator.uniform(bounds.low, bounds.high, size=bounds.low.size)
        return self._last_rand_vec.copy()


class ClosedGripperReward:
    """The reward of button-press-topdown-wall as of metaworld 3.1.1.

    Release 3.0.0 rewards the closed gripper by `1 - obs[3]`; 3.1.1 by `max(obs[3], 0)`.
    """

    def compute_reward(self, action: np.ndarray, obs: np.ndarray) -> tuple[float, ...]:
        """Reward, hand to button, gripper opening, button to target, nearness, pressedness."""
        _, hand_to_button, opening, button_to_target, near, pressed = super().compute_reward(action, obs)
        reward = 5 * reward_utils.hamacher_product(max(obs[3], 0.0), near)
        if hand_to_button <= 0.03:
            reward += 5 * pressed
        return reward, hand_to_button, opening, button_to_target, near, pressed


CORRECTIONS: dict[str, tuple[type, ...]] = {"button-press-topdown-wall-v3": (ClosedGripperReward,)}
"""Classes that go before upstream's in single tasks."""


@functools.cache
def upstream_class(name: str) -> type[GoalControlled]:
    """The class of a task: upstream's, with `GoalControlled` and the task's corrections before it.

    Raises:
        KeyError: No task has that name.
    """
    lean = lean_class(ALL_V3_ENVIRONMENTS[name])
    return type(lean.__name__, (GoalControlled, *CORRECTIONS.get(name, ()), lean), {})
