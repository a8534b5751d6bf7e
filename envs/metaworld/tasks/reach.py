"""Reach a point with the fingers: reach, reach-wall."""

import numpy as np

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, geom_rotation

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .measures import distance, near
from .sawyer import place_object, sawyer_task

HAND_START = (0.0, 0.6, 0.2)
RADIUS = 0.05


def place(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck, which only looks on, and the point to reach."""
    place_object(simulation, goals[:, :3])
    target = goals[:, 3:]
    return {
        "target": target,
        "object_start": goals[:, :3],
        "reach_margin": np.linalg.norm(HAND_START - target, axis=1, keepdims=True),
    }


def judge(frame: Frame) -> Judgement:
    """Ten times the nearness of the fingers to the goal."""
    gap = distance(frame.tcp, frame.target)
    in_place = near(gap, RADIUS, frame.memory("reach_margin"))
    reports = frame.constants["reports_distance"]
    seen = gap * reports
    return Judgement(10 * in_place, gap <= RADIUS, seen, reports, seen, in_place, gap)


FAMILY = Family(
    "reach",
    (
        sawyer_task(
            "reach-v3",
            "sawyer_reach_v3",
            goals=GoalSpace((-0.1, 0.6, 0.02, -0.1, 0.8, 0.05), (0.1, 0.7, 0.02, 0.1, 0.9, 0.3), apart(0, 3, 0.15)),
            start=place,
            object=body_position("obj"),
            rotation=geom_rotation("objGeom"),
            hand_start=HAND_START,
        ),
        sawyer_task(
            "reach-wall-v3",
            "sawyer_reach_wall_v3",
            goals=GoalSpace(
                (-0.05, 0.6, 0.015, -0.05, 0.85, 0.05), (0.05, 0.65, 0.015, 0.05, 0.9, 0.3), apart(0, 3, 0.15)
            ),
            start=place,
            object=body_position("obj"),
            rotation=geom_rotation("objGeom"),
            hand_start=HAND_START,
            constants={"reports_distance": 0.0},
        ),
    ),
    judge,
    memory={"reach_margin": 1},
    constants={"reports_distance": 1.0},
)
