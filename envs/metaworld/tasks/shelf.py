"""Put an object on a shelf without pushing it against what is below: shelf-place."""

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, geom_rotation

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

HAND_START = np.array((0.0, 0.6, 0.2), np.float32)
"""In upstream's single precision, m."""
SHELF_HEIGHT = 0.3
RADIUS = 0.05
SUCCESS_RADIUS = 0.07
HELD_REACH = 0.025
HELD_RISE = 0.01
NEAR_REACH = 0.03
GRASP_RISE = 0.02
LOW = 0.24
"""Below this height an object is beside or under the shelf's board, m."""
HALF_WIDTH = 0.15
DEPTH = 3 * RADIUS
"""How far in front of the goal the space to keep out of begins, m."""


def place(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The block and the shelf; the block's height is that to which it has settled."""
    base = goals[:, 3:] - (0.0, 0.0, SHELF_HEIGHT)
    start = np.hstack((goals[:, :2], simulation.body("obj")[:, 2:]))
    simulation.place_body("shelf", base)
    target = simulation.model.site("goal").pos + base
    place_object(simulation, start)
    margin = np.linalg.norm(start - target, axis=1)
    return {"target": target, "object_start": start, "in_place_margin": margin}


def _kept_out(frame: Frame, in_place: torch.Tensor) -> torch.Tensor:
    """`in_place`, less the deeper the object is below the board, and nothing behind the goal, `[world]`."""
    x, y, height = frame.object.unbind(1)
    offset = y - frame.target[:, 1]
    low = (height > 0) & (height < LOW) & ((x - frame.target[:, 0]).abs_() < HALF_WIDTH)
    within = low & (offset > -DEPTH) & (offset < 0)
    lost = both((offset + DEPTH).div_(DEPTH), (LOW - height).div_(LOW))
    kept = torch.where(within, (in_place - lost).clamp_(0, 1), in_place)
    return kept.masked_fill_(low & (offset > 0), 0.0)


def judge(frame: Frame) -> Judgement:
    """A good grip on an object near its place, more while it is held out of the shelf's space, and 10 at the place."""
    gap, reach = distance(frame.object, frame.target), distance(frame.object, frame.tcp)
    in_place = near(gap, RADIUS, frame.memory("in_place_margin"))
    reward = both(frame.grasp, in_place)
    in_place = _kept_out(frame, in_place)
    height, start = frame.object[:, 2], frame.object_start[:, 2]
    opened = frame.opening > 0
    held = (reach < HELD_REACH) & opened & (height - HELD_RISE > start)
    reward.add_(held * (in_place * 5).add_(1))
    return Judgement(
        reward=reward.masked_fill_(gap < RADIUS, 10.0),
        success=gap <= SUCCESS_RADIUS,
        near_object=reach <= NEAR_REACH,
        grasp_success=frame.touching & opened & (height - GRASP_RISE > start),
        grasp_reward=frame.grasp,
        in_place=in_place,
        obj_to_target=gap,
    )


FAMILY = Family(
    "shelf",
    (
        sawyer_task(
            "shelf-place-v3",
            "sawyer_shelf_placing",
            goals=GoalSpace((-0.1, 0.5, 0.019, -0.1, 0.8, 0.299), (0.1, 0.6, 0.021, 0.1, 0.9, 0.301), apart(0, 3, 0.1)),
            start=place,
            object=body_position("obj"),
            rotation=geom_rotation("objGeom"),
            hand_start=HAND_START,
            touched="objGeom",
            constants=grip(0.02, 0.05, 0.01, density="none"),
        ),
    ),
    judge,
    memory={"in_place_margin": 1},
    grip="caging",
)
