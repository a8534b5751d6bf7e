# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Pictures of simulations. OpenGL is first needed when one is taken."""

import mujoco
import numpy as np

from mtrl.errors import UserError
from mtrl.scenes.scene import Scene, Viewpoint

SIZE = 480
_GL_FAULTS = (RuntimeError, ImportError, AttributeError, OSError, mujoco.FatalError)


class SceneCamera:
    """Takes pictures of one simulation.

    Shadows and reflections are left out: in software they take nine tenths of the time.

    Args:
        model: The simulation's model.
        viewpoint: From where.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Raises:
        UserError: The size is not one.
    """

    def __init__(self, model: mujoco.MjModel, viewpoint: Viewpoint, width: int = SIZE, height: int = SIZE) -> None:
        if width < 1 or height < 1:
            raise UserError(f"cannot take a picture of {width} x {height} pixels: both must be 1 or more")
        self._model, self._viewpoint, self._size = model, viewpoint, (height, width)
        self._renderer: mujoco.Renderer | None = None

    def picture(self, data: mujoco.MjData) -> np.ndarray:
        """The picture, uint8 `[height, width, 3]`.

        Raises:
            UserError: There is no OpenGL here, or the scene has no such camera.
        """
        try:
            if self._renderer is None:
                self._renderer = _renderer(self._model, *self._size)
            self._renderer.update_scene(data, _camera(self._viewpoint))
            flags = self._renderer.scene.flags
            flags[mujoco.mjtRndFlag.mjRND_SHADOW] = flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            image = self._renderer.render()
        except _GL_FAULTS as fault:
            raise UserError(
                f"cannot render, there is no working OpenGL here ({fault}): install libegl1, or set MUJOCO_GL"
            ) from fault
        except ValueError as fault:
            raise UserError(f"cannot render: {fault}; name a camera of the scene") from fault
        return np.ascontiguousarray(image[::-1, ::-1]) if self._viewpoint.rolled else image

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


class ScenePictures:
    """Draws worlds of a scene, with what only looks put back in.

    Args:
        scene: The scene.
        viewpoint: From where.
    """

    def __init__(self, scene: Scene, viewpoint: Viewpoint) -> None:
        self._model = scene.compile(stripped=False)
        self._data = mujoco.MjData(self._model)
        self._camera = SceneCamera(self._model, viewpoint)

    def draw(self, state: np.ndarray, body_pos: np.ndarray) -> np.ndarray:
        """A world, uint8 `[height, width, 3]`.

        Args:
            state: MuJoCo's integration state.
            body_pos: Where each body stands within its parent, `[body, 3]`.

        Raises:
            UserError: There is no OpenGL here.
        """
        self._model.body_pos[:] = body_pos
        mujoco.mj_setState(self._model, self._data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(self._model, self._data)
        return self._camera.picture(self._data)

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._camera.close()


def _renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    return mujoco.Renderer(model, height, width)


def _camera(viewpoint: Viewpoint) -> mujoco.MjvCamera | str | int:
    if viewpoint.look_at is None:
        return -1 if viewpoint.camera is None else viewpoint.camera
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = viewpoint.look_at
    camera.distance, camera.azimuth, camera.elevation = viewpoint.distance, viewpoint.azimuth, viewpoint.elevation
    return camera
