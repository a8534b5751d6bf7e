"""From where the Meta-World scenes can be seen."""

from mtrl.errors import unknown
from mtrl.scenes.scene import Viewpoint

SIDE = "side"
"""Our own camera: the whole table and the arm, from the front left."""
ROLLED = ("corner", "corner2", "corner3")
"""Upstream's cameras that hang upside down; their pictures are turned round."""
CAMERAS = (SIDE, *ROLLED, "topview", "behindGripper", "gripperPOV")


def viewpoint(name: str = SIDE) -> Viewpoint:
    """The viewpoint of that name.

    Raises:
        UserError: There is no such camera.
    """
    if name not in CAMERAS:
        raise unknown("camera", name, CAMERAS)
    if name == SIDE:
        return Viewpoint(look_at=(0.0, 0.65, 0.14), distance=1.4, azimuth=152.0, elevation=-27.0)
    return Viewpoint(camera=name, rolled=name in ROLLED)
