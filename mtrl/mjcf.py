# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""A MuJoCo model with Python functions for observation, reward and success, as a gymnasium environment.

Imported in worker processes: no torch here, and MuJoCo only when an environment is built.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from mtrl.errors import UserError

if TYPE_CHECKING:
    import mujoco

ObserveFunction = Callable[["mujoco.MjModel", "mujoco.MjData", np.ndarray], Any]
RewardFunction = Callable[["mujoco.MjModel", "mujoco.MjData", np.ndarray], float]
TestFunction = Callable[["mujoco.MjModel", "mujoco.MjData", np.ndarray], Any]
ResetFunction = Callable[["mujoco.MjModel", "mujoco.MjData", np.ndarray, np.random.Generator], None]
ControlFunction = Callable[["mujoco.MjModel", "mujoco.MjData", np.ndarray], None]


class MJCFEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A MuJoCo model and what a task makes of it; see `mtrl.register.register_mjcf_task` for the arguments.

    The physics failing (a state that is not finite) truncates the episode, with the last good observation, reward 0
    and `unstable` in the info: no agent is paid or punished for it.

    Raises:
        UserError: The model cannot be read, or lacks what is needed.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - gymnasium's own form

    def __init__(
        self,
        xml: str | Path,
        observe: ObserveFunction,
        reward: RewardFunction,
        success: TestFunction,
        frame_skip: int,
        reset: ResetFunction | None,
        terminated: TestFunction | None,
        control: ControlFunction | None,
        action_dim: int | None,
        example_goal: np.ndarray,
        camera: str | None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        import mujoco

        self.model = _load(xml)
        # Without this, MuJoCo answers a failure by silently going back to the initial state.
        self.model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.data = mujoco.MjData(self.model)
        self._observe, self._reward, self._success, self._terminated = observe, reward, success, terminated
        self._set_up, self._frame_skip, self._camera = reset, frame_skip, camera
        self._control = control or _drive_actuators
        self._renderer: Any = None
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": max(1, round(1 / (self.model.opt.timestep * frame_skip)))}
        size = action_dim if action_dim is not None else actuators(self.model)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (size,), np.float32)
        self._goal = np.array(example_goal, np.float64)
        mujoco.mj_forward(self.model, self.data)
        example = self._observation()
        if example.ndim != 1 or example.size == 0:
            raise UserError(f"`observe` gave shape {example.shape}: it must give one vector of numbers")
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, example.shape, np.float64)
        self._last = example

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode with `options["goal"]`, if there is one."""
        import mujoco

        super().reset(seed=seed)
        self._goal = np.array((options or {}).get("goal", self._goal), np.float64)
        mujoco.mj_resetData(self.model, self.data)
        if self._set_up is not None:
            self._set_up(self.model, self.data, self._goal, self.np_random)
        mujoco.mj_forward(self.model, self.data)
        self._last = self._observation()
        return self._last.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Applies an action `[act]` in [-1, 1] and moves the physics on."""
        import mujoco

        self._control(self.model, self.data, np.asarray(action, np.float64))
        mujoco.mj_step(self.model, self.data, self._frame_skip)
        # mj_step leaves positions of bodies and sensors as they were before its last integration.
        mujoco.mj_forward(self.model, self.data)
        state = np.concatenate([self.data.qpos, self.data.qvel, self.data.qacc])
        if not np.isfinite(state).all() or np.abs(state).max(initial=0) > mujoco.mjMAXVAL:
            return self._last.copy(), 0.0, False, True, {"success": False, "unstable": True}
        parts = (self.model, self.data, self._goal)
        self._last = self._observation()
        ended = bool(self._terminated(*parts)) if self._terminated is not None else False
        return self._last.copy(), float(self._reward(*parts)), ended, False, {"success": bool(self._success(*parts))}

    def _observation(self) -> np.ndarray:
        return np.array(self._observe(self.model, self.data, self._goal), np.float64)

    def render(self) -> np.ndarray:
        """An image, uint8 `[480, 480, 3]`, or smaller where the model's offscreen buffer is.

        Raises:
            UserError: There is no OpenGL, or no such camera.
        """
        import mujoco

        try:
            if self._renderer is None:
                buffer = self.model.vis.global_
                self._renderer = mujoco.Renderer(self.model, min(480, buffer.offheight), min(480, buffer.offwidth))
            self._renderer.update_scene(self.data, -1 if self._camera is None else self._camera)
            return self._renderer.render()
        except Exception as error:
            raise UserError(
                f"the model cannot be rendered ({error}): without a screen, install EGL and set MUJOCO_GL=egl (mtrl "
                "does so itself where it is imported before mujoco)"
            ) from error

    def close(self) -> None:
        """Frees the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _load(xml: str | Path) -> "mujoco.MjModel":
    import mujoco

    if isinstance(xml, Path) and not xml.is_file():
        raise UserError(f"there is no MJCF file {xml}: give its path, or the text itself")
    try:
        return mujoco.MjModel.from_xml_path(str(xml)) if isinstance(xml, Path) else mujoco.MjModel.from_xml_string(xml)
    except ValueError as error:
        place = f"MJCF file {xml}" if isinstance(xml, Path) else "the MJCF text"
        raise UserError(f"{place} cannot be read: {' '.join(str(error).split())}") from error


def actuators(model: "mujoco.MjModel") -> int:
    """How many actuators there are, all with a control range."""
    import mujoco

    if model.nu == 0:
        raise UserError("the model has no actuators: add some, or give `control` and `action_dim`")
    for index in np.flatnonzero(~np.asarray(model.actuator_ctrllimited, bool)):
        name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_ACTUATOR, int(index)) or index
        raise UserError(
            f"actuator '{name}' has no control range, to which [-1, 1] could be scaled: give it a ctrlrange"
        )
    return model.nu


def _drive_actuators(model: "mujoco.MjModel", data: "mujoco.MjData", action: np.ndarray) -> None:
    low, high = model.actuator_ctrlrange.T
    data.ctrl[:] = low + 0.5 * (np.clip(action, -1, 1) + 1) * (high - low)
