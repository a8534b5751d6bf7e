"""Take a puck and carry or drag it to a point, judged by where the pads are now: pick-place, push-back."""

import math

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, geom_position, geom_rotation

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import live_grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

RADIUS = 0.05
"""How near the goal the reward is full, m."""
LIFTED = 0.02
"""How far above its start an object counts as lifted, m."""


def _margin(start: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.linalg.norm(start - target, axis=1, keepdims=True)


def place_to_lift(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck and the point in the air."""
    start, target = goals[:, :3], goals[:, 3:]
    place_object(simulation, start)
    return {"target": target, "object_start": start, "in_place_margin": _margin(start, target)}


def place_to_drag(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck and the point on the table, both at the height to which the puck has settled."""
    height = simulation.geom("objGeom")[:, 2:]
    start, target = np.hstack((goals[:, :2], height)), np.hstack((goals[:, 3:5], height))
    place_object(simulation, start)
    return {"target": target, "object_start": start, "in_place_margin": _margin(start, target)}


def judge(frame: Frame) -> Judgement:
    """The worse of grasp and nearness to the goal, and much more while the puck is held and on its way."""
    constants, margin = frame.constants, frame.memory("in_place_margin")
    gap, reach = distance(frame.object, frame.target), distance(frame.object, frame.tcp)
    height = frame.object[:, 2] - frame.object_start[:, 2]
    in_place = near(gap, RADIUS, margin)
    is_open = frame.opening > 0
    held = (reach < constants["held_within"]) & is_open & (frame.opening < constants["held_opening"])
    held &= torch.where(constants["lifts"] > 0, height, margin - gap) > 0.01
    reward = both(frame.grasp, in_place) + held * (1 + 5 * in_place)
    return Judgement(
        reward=torch.where(gap < RADIUS, 10.0, reward),
        success=gap <= 0.07,
        near_object=reach <= 0.03,
        grasp_success=frame.touching & is_open & (height > LIFTED),
        grasp_reward=frame.grasp,
        in_place=in_place,
        obj_to_target=gap,
    )


FAMILY = Family(
    "pick",
    (
        sawyer_task(
            "pick-place-v3",
            "sawyer_pick_place_v3",
            goals=GoalSpace((-0.1, 0.6, 0.02, -0.1, 0.8, 0.05), (0.1, 0.7, 0.02, 0.1, 0.9, 0.3), apart(0, 3, 0.15)),
            start=place_to_lift,
            object=body_position("obj"),
            rotation=geom_rotation("objGeom"),
            constants=live_grip(0.015, None, 0.005),
            touched="objGeom",
        ),
        sawyer_task(
            "push-back-v3",
            "sawyer_push_back_v3",
            goals=GoalSpace(
                (-0.1, 0.8, 0.02, -0.1, 0.6, 0.0199), (0.1, 0.85, 0.02, 0.1, 0.7, 0.0201), apart(0, 3, 0.15)
            ),
            start=place_to_drag,
            object=geom_position("objGeom"),
            rotation=geom_rotation("objGeom"),
            hand_start=np.array([0, 0.6, 0.2], np.float32),
            constants={**live_grip(0.007, 0.003, 0.01), "held_within": 0.01, "held_opening": 0.55, "lifts": 0.0},
            touched="objGeom",
        ),
    ),
    judge,
    memory={"in_place_margin": 1},
    constants={"held_within": 0.02, "held_opening": math.inf, "lifts": 1.0},
    grip="live pads",
)
