# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Pictures of the Meta-World scenes. OpenGL is first needed when a picture is taken."""

import mujoco
import numpy as np

from mtrl.errors import UserError, unknown

SIDE = "side"
"""Our own camera: the whole table and the arm, from the front left."""
ROLLED = ("corner", "corner2", "corner3")
"""Upstream's cameras that hang upside down; their pictures are turned round."""
CAMERAS = (SIDE, *ROLLED, "topview", "behindGripper", "gripperPOV")
_GL_FAULTS = (RuntimeError, ImportError, AttributeError, OSError, mujoco.FatalError)


class SceneCamera:
    """Takes pictures of one simulation.

    Shadows and reflections are left out: in software they take nine tenths of the time.

    Args:
        model: The simulation's model.
        camera_name: One of `CAMERAS`.
        width: Of the picture, pixels.
        height: Of the picture, pixels.

    Raises:
        UserError: There is no such camera, or the size is not one.
    """

    def __init__(self, model: mujoco.MjModel, camera_name: str, width: int, height: int) -> None:
        if camera_name not in CAMERAS:
            raise unknown("camera", camera_name, CAMERAS)
        if width < 1 or height < 1:
            raise UserError(f"cannot take a picture of {width} x {height} pixels: both must be 1 or more")
        self._model, self._name, self._size = model, camera_name, (height, width)
        self._renderer: mujoco.Renderer | None = None

    def picture(self, data: mujoco.MjData) -> np.ndarray:
        """The picture, uint8 `[height, width, 3]`.

        Raises:
            UserError: There is no OpenGL here.
        """
        try:
            if self._renderer is None:
                self._renderer = _renderer(self._model, *self._size)
            self._renderer.update_scene(data, _free_camera() if self._name == SIDE else self._name)
            flags = self._renderer.scene.flags
            flags[mujoco.mjtRndFlag.mjRND_SHADOW] = flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
            image = self._renderer.render()
        except _GL_FAULTS as fault:
            raise UserError(
                f"cannot render, there is no working OpenGL here ({fault}): install libegl1, or set MUJOCO_GL"
            ) from fault
        return np.ascontiguousarray(image[::-1, ::-1]) if self._name in ROLLED else image

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _renderer(model: mujoco.MjModel, height: int, width: int) -> mujoco.Renderer:
    model.vis.global_.offwidth = max(model.vis.global_.offwidth, width)
    model.vis.global_.offheight = max(model.vis.global_.offheight, height)
    return mujoco.Renderer(model, height, width)


def _free_camera() -> mujoco.MjvCamera:
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FREE
    camera.lookat[:] = (0.0, 0.65, 0.14)
    camera.distance, camera.azimuth, camera.elevation = 1.4, 152.0, -27.0
    return camera
