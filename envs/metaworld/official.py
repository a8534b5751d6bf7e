"""One Meta-World task as a gymnasium environment, on upstream's own class."""

import math
from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from mtrl.errors import UserError, unknown
from mtrl.scenes.camera import SceneCamera

from .camera import SIDE, viewpoint
from .catalogue import DESCRIPTIONS, FRAMES_PER_SECOND, HORIZON
from .upstream import GoalControlled, upstream_class


class OfficialEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A Meta-World task.

    An episode is a pure function of the goal and the actions. It never terminates and is truncated after 500 steps;
    `info["success"]` is 1.0 in every state that counts as solved. Observations, rewards and info are upstream's to the
    last bit, faults included; docs/environments.md lists which faults are mended.

    Args:
        name: Task, such as `reach-v3`.
        goal_visible: Whether the last three numbers of an observation are the goal, or zeros.
        render_mode: Only `rgb_array`; OpenGL is first needed when `render` is called.
        camera_name: One of `mtrl.envs.metaworld.camera.CAMERAS`.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Raises:
        UserError: There is no such task, camera or render mode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}  # noqa: RUF012 - gymnasium's own form

    def __init__(
        self,
        name: str,
        goal_visible: bool = True,
        *,
        render_mode: str | None = "rgb_array",
        camera_name: str = SIDE,
        width: int = 480,
        height: int = 480,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render mode '{render_mode}' is not supported: use 'rgb_array'")
        self.name = name
        self.render_mode = render_mode
        self._upstream = _build(name)
        self._upstream.show_goal(goal_visible)
        self._camera = SceneCamera(self._upstream.model, viewpoint(camera_name), width, height)
        self.observation_space = _observation_space(self._upstream)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Fixes the goals that are drawn from here on.
            options: `{"goal": row}` plays that goal, `[goal]` float64; without one a goal is drawn.

        Returns:
            The observation and `{"goal": row}`.

        Raises:
            UserError: The goal is not one of this task.
        """
        super().reset(seed=seed)
        row = (options or {}).get("goal")
        goal = self._upstream.draw_goal(self.np_random) if row is None else self._checked(row)
        return self._upstream.reset_to(goal), {"goal": goal.copy()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """Moves the hand for one step, 0.0125 s.

        Args:
            action: `[4]`, taken as float32; displacements are clipped to [-1, 1], rewards see it as given.

        Raises:
            UserError: The action is not four finite numbers, or the episode is over.
        """
        action = np.asarray(action, dtype=np.float32)
        if action.shape != (4,) or not math.isfinite(action.sum()):
            raise UserError(f"task '{self.name}' got action {action.tolist()}: it takes 4 finite numbers in [-1, 1]")
        if self._upstream.curr_path_length >= HORIZON:
            raise UserError(f"task '{self.name}' was stepped after its last step: call reset() first")
        return self._upstream.step(action)

    def render(self) -> np.ndarray:
        """A picture, uint8 `[height, width, 3]`.

        Raises:
            UserError: There is no OpenGL here.
        """
        return self._camera.picture(self._upstream.data)

    def close(self) -> None:
        """Frees the OpenGL context, if there is one."""
        self._camera.close()

    def _checked(self, row: Any) -> np.ndarray:
        """The goal as float64, if it lies in the task's range."""
        bounds = self._upstream._random_reset_space
        assert bounds is not None
        goal = np.array(row, dtype=np.float64)
        if goal.shape != bounds.shape:
            raise UserError(f"task '{self.name}' got a goal of shape {goal.shape}: it takes {bounds.shape}")
        if not np.all((bounds.low <= goal) & (goal <= bounds.high)):
            raise UserError(f"task '{self.name}' got a goal outside its range: take goals from its sample_goals")
        return goal


def _observation_space(upstream: GoalControlled) -> gymnasium.spaces.Box:
    """Upstream's space for a visible or hidden goal, with float64 bounds that hold at reset as well."""
    space = upstream.observation_space
    assert isinstance(space, gymnasium.spaces.Box)
    return gymnasium.spaces.Box(space.low, space.high, dtype=np.float64)


def _build(name: str) -> GoalControlled:
    if name not in DESCRIPTIONS:
        raise unknown("task", name, DESCRIPTIONS)
    upstream = upstream_class(name)()
    upstream.task_name = name
    return upstream
