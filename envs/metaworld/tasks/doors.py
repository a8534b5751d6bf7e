"""Push a door shut: door-close."""

import math

import numpy as np

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import geom_position, geom_rotation

from ..goals import GoalSpace
from .family import Family, Frame, Judgement
from .measures import distance, near_gaussian
from .sawyer import sawyer_task

HAND_START = np.array([-0.5, 0.6, 0.2], np.float32)
SHUT_HANDLE = np.array([0.2, -0.2, 0.0])
"""Where the handle of a shut door is, from the door's place, m."""
RADIUS = 0.05
MARGIN = math.hypot(*SHUT_HANDLE)


def place(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A wide open door."""
    simulation.place_body("door", goals)
    simulation.set_joint("doorjoint", -1.5708, 0.0)
    simulation.forward()
    return {"target": goals + SHUT_HANDLE, "object_start": goals, "door_hand": np.tile(HAND_START, (len(goals), 1))}


def judge(frame: Frame) -> Judgement:
    """The handle at its goal, and the fingers there as well."""
    gap = distance(frame.object, frame.target)
    in_place = near_gaussian(gap, RADIUS, MARGIN)
    # The margin moves with the door.
    margin = distance(frame.memory("door_hand"), frame.object).add_(0.1)
    follows = near_gaussian(distance(frame.tcp, frame.target), 0.25 * RADIUS, margin)
    reward = (6 * in_place).add_(follows, alpha=3)
    return Judgement(
        reward=reward.masked_fill_(gap < RADIUS, 10.0),
        success=gap <= 0.08,
        near_object=0.0,
        grasp_success=1.0,
        grasp_reward=1.0,
        in_place=follows,
        obj_to_target=gap,
    )


FAMILY = Family(
    "doors",
    (
        sawyer_task(
            "door-close-v3",
            "sawyer_door_pull",
            goals=GoalSpace((0.0, 0.85, 0.15), (0.1, 0.95, 0.15)),
            start=place,
            object=geom_position("handle"),
            rotation=geom_rotation("handle"),
            hand_start=HAND_START,
            phantoms=("handle",),
        ),
    ),
    judge,
    memory={"door_hand": 3},
)
