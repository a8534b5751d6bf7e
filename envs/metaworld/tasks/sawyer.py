"""What all tasks share: the scene files, the arm, the way to a start, and the form in which tasks are declared."""

import functools
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mtrl.errors import UserError
from mtrl.scenes.scene import TOUCH, Scene
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import SceneTask, View, body_position, sensor_value, site_position

from ..camera import viewpoint
from ..goals import GoalSpace
from ..weld import write_weld
from .family import SawyerTask
from .rules import RULES

FRAME_SKIP = 5
HAND_STEPS = 50
"""Environment steps that upstream gives the hand to reach its start."""
PADS = ("leftpad_geom", "rightpad_geom")
COMMON_VIEWS: dict[str, View] = {
    "hand": body_position("hand"),
    "right_claw": body_position("rightclaw"),
    "left_claw": body_position("leftclaw"),
    "right_pad": body_position("rightpad"),
    "left_pad": body_position("leftpad"),
    "right_finger": site_position("rightEndEffector"),
    "left_finger": site_position("leftEndEffector"),
}
Vector = tuple[float, float, float]
Start = Callable[[Simulation, np.ndarray], Mapping[str, np.ndarray]]
"""Places a task's objects by its goals `[n, goal]`, the hand being at its start, and returns the memory; at least
`target` and `object_start`."""


def assets() -> Path:
    """The folder of the scenes in Meta-World's installed package, of which no code is run.

    Raises:
        UserError: The package is not installed.
    """
    spec = importlib.util.find_spec("metaworld")
    if spec is None or spec.origin is None:
        raise UserError(
            "the package metaworld, whose scenes are needed, is not installed: pip install metaworld==3.0.0"
        )
    return Path(spec.origin).parent / "assets" / "sawyer_xyz"


def sawyer_task(
    name: str,
    xml: str,
    *,
    goals: GoalSpace,
    start: Start,
    object: View,
    rotation: View | None = None,
    offset: Vector = (0.0, 0.0, 0.0),
    quaternion: tuple[float, float, float, float] | None = None,
    hand_low: Vector = (-0.5, 0.40, 0.05),
    hand_high: Vector = (0.5, 1.0, 0.5),
    hand_start: tuple[float, ...] | np.ndarray = (0.0, 0.6, 0.2),
    views: Mapping[str, View] | None = None,
    constants: Mapping[str, float | tuple[float, ...]] | None = None,
    touched: str | None = None,
    phantoms: tuple[str, ...] = (),
) -> SawyerTask:
    """Declares a task.

    Args:
        name: Such as `reach-v3`.
        xml: The scene's file name, without its ending.
        goals: Where goals are drawn from.
        start: Places the objects.
        object: Position of the observed object.
        rotation: Its observed orientation: a quaternion is observed as w, x, y, z; a rotation matrix as x, y, z, w
            (upstream uses SciPy there); None: `quaternion`.
        offset: Added to the observed position, m.
        quaternion: A constant that is observed in place of an orientation; None with no rotation: zeros.
        hand_low: Lower bounds of the commanded hand position, m.
        hand_high: Upper bounds.
        hand_start: Where the hand is sent at the start, m, in upstream's precision.
        views: What the family reads besides.
        constants: The family's constants.
        touched: The geom whose contact with the finger pads is reported.
        phantoms: Geoms that are read and do not collide.
    """
    all_views = {**COMMON_VIEWS, "object": object, **(views or {})}
    if rotation is not None:
        all_views["quaternion" if rotation.width == 4 else "matrix"] = rotation
    touches = tuple((pad, touched) for pad in PADS) if touched else ()
    for side, pair in zip(("left_force", "right_force"), touches, strict=False):
        all_views[side] = sensor_value(TOUCH.format(*pair))
    numbers = {
        "hand_low": hand_low,
        "hand_high": hand_high,
        "offset": offset,
        "fixed_quaternion": quaternion or (0.0, 0.0, 0.0, 0.0),
        "uses_matrix": float(rotation is not None and rotation.width == 9),
        **(constants or {}),
    }
    return SawyerTask(
        SceneTask(
            name=name,
            scene=Scene(assets() / f"{xml}.xml", finish=write_weld, phantoms=phantoms, touches=touches),
            rules=RULES,
            views=all_views,
            start=functools.partial(_start, np.asarray(hand_start, np.float64), start),
            frame_skip=FRAME_SKIP,
            constants=numbers,
            viewpoint=viewpoint(),
        ),
        goals,
    )


def tcp(simulation: Simulation) -> np.ndarray:
    """The point between the fingers, `[n, 3]` m."""
    return (simulation.site("rightEndEffector") + simulation.site("leftEndEffector")) / 2.0


def place_object(simulation: Simulation, position: np.ndarray) -> None:
    """Puts the free object, whose joint follows the arm's nine, at a place, `[n, 3]` m, and at rest."""
    simulation.qpos[:, 9:12] = position
    simulation.qvel[:, 9:15] = 0
    simulation.forward()


def _start(hand: np.ndarray, place: Start, simulation: Simulation, goals: np.ndarray) -> Mapping[str, np.ndarray]:
    """Upstream's reset, which runs twice: the hand goes to its start among fixtures that the first run has moved."""
    simulation.forward()
    with simulation.rehearsal():
        place(simulation, goals)
    simulation.reset()
    simulation.mocap_pos[:, 0] = hand
    simulation.mocap_quat[:, 0] = (1, 0, 1, 0)
    simulation.ctrl[:] = (-1, 1)
    simulation.step(HAND_STEPS * FRAME_SKIP)
    # Positions of sites are those before the last physics step, here as upstream.
    begun = {"hand_target": np.tile(hand, (len(goals), 1)), "tcp_start": tcp(simulation)}
    placed = place(simulation, goals)
    return {**begun, "grip_start": placed["object_start"], **placed}
