"""One world of a task on a scene as a gymnasium environment."""

from typing import Any

import gymnasium
import numpy as np
import torch

from mtrl.errors import UserError
from mtrl.scenes.camera import ScenePictures
from mtrl.scenes.columns import Columns
from mtrl.scenes.native import NativeEngine
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.snapshots import make_snapshots
from mtrl.scenes.task import Layout
from mtrl.tasks import TaskDefinition


class SceneEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A single world on the native engine, with the same numbers as any slot of the vector environment.

    Args:
        definition: The task.
        goal_visible: Whether observations show the goal.
        render_mode: Only `rgb_array`; OpenGL is first needed when `render` is called.

    Raises:
        UserError: The task has no scene, or one that cannot be used.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - gymnasium's own form

    def __init__(
        self, definition: TaskDefinition, goal_visible: bool = True, render_mode: str | None = "rgb_array"
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise UserError(f"render mode '{render_mode}' is not supported: use 'rgb_array'")
        self._definition, self._task, self.render_mode = definition, definition.scene_task, render_mode
        layout = Layout((self._task,), (1,), goal_visible)
        self._engine = NativeEngine(layout, threads=1)
        self._evaluator = self._task.rules.lay_out(layout)
        self._memory = Columns.empty(1, self._task.rules.memory, layout.dtype, layout.device)
        self._pictures: ScenePictures | None = None
        self._elapsed, self._last = 0, np.zeros(definition.obs_dim)
        step = stripped_model(self._task.scene).opt.timestep * self._task.frame_skip
        self.metadata = {**self.metadata, "render_fps": max(1, round(1 / step))}
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (definition.obs_dim,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (definition.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Fixes the goals that are drawn from here on.
            options: `{"goal": row}` plays that goal, `[goal]` float64; without one a goal is drawn.

        Returns:
            The observation and `{"goal": row}`.
        """
        super().reset(seed=seed)
        row = (options or {}).get("goal")
        if row is None:
            row = self._definition.sample_goals(1, int(self.np_random.integers(2**31)))[0]
        goal = np.array(row, np.float64).reshape(1, -1)
        starts = make_snapshots(self._task, goal)
        self._engine.place(0, np.zeros(1, np.int64), starts, np.zeros(1, np.int64))
        self._memory.table[:] = torch.from_numpy(starts.memory)
        self._elapsed = 0
        self._last = (starts.visible if self._engine.layout.goal_visible else starts.hidden)[0]
        return self._last.copy(), {"goal": goal[0]}

    @torch.no_grad()
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Applies an action `[act]` in [-1, 1] and moves the physics on; see `SceneVectorEnv` for failing physics."""
        tensor = torch.as_tensor(np.asarray(action, np.float32)).reshape(1, -1)
        failed = self._engine.step(self._evaluator.control(tensor, self._memory))
        self._elapsed += 1
        if failed is not None:
            return self._last.copy(), 0.0, False, True, {"success": 0.0, "unstable": True}
        outcome = self._evaluator.evaluate(self._engine.views, tensor, self._memory)
        self._last = outcome.observation[0].numpy().astype(np.float64)
        names = self._task.rules.metrics
        info = {"success": float(outcome.success[0]), **dict(zip(names, outcome.metrics()[0].tolist(), strict=True))}
        terminated = outcome.terminated is not None and bool(outcome.terminated[0])
        return self._last.copy(), float(outcome.reward[0]), terminated, self._elapsed >= self._definition.horizon, info

    def render(self) -> np.ndarray:
        """An image, uint8 `[height, width, 3]`.

        Raises:
            UserError: There is no OpenGL.
        """
        scene, state, body_pos = self._engine.simulation_of(0, 0)
        if self._pictures is None:
            self._pictures = ScenePictures(scene, self._task.viewpoint)
        return self._pictures.draw(state, body_pos)

    def close(self) -> None:
        """Ends the engine, and frees what draws."""
        self._engine.close()
        if self._pictures is not None:
            self._pictures.close()
            self._pictures = None
