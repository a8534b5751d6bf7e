"""Sweep an object over the table, judged by where the pads are now: sweep, sweep-into, soccer."""

import math

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, body_rotation, geom_rotation

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import live_grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

HOLE = (0.0, 0.84, 0.02)
"""Where the hole in the table is, m."""
PUCK_LOW, PUCK_HIGH = (-0.1, 0.6, 0.02), (0.1, 0.7, 0.02)
BALL_HEIGHT = 0.03
GOAL_DEPTH = 0.1
"""How far before the football goal's middle its line is, m."""


def place_beside(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck, which is to leave the table at its side, straight ahead."""
    target = np.tile((0.5, 0.65, 0.01), (len(goals), 1))
    target[:, 1] = goals[:, 1]
    start = np.hstack((goals[:, :2], np.full((len(goals), 1), 0.02)))
    place_object(simulation, start)
    return {"target": target, "object_start": start}


def place_before_hole(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck, at the height to which it has settled; the goal stays where it is, whatever the task's numbers say."""
    start = np.hstack((goals[:, :2], simulation.body("obj")[:, 2:]))
    place_object(simulation, start)
    return {"target": np.tile(HOLE, (len(goals), 1)), "object_start": start}


def place_ball(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The ball and the football goal."""
    target = goals[:, 3:]
    start = np.hstack((goals[:, :2], np.full((len(goals), 1), BALL_HEIGHT)))
    simulation.place_body("goal_whole", target)
    place_object(simulation, start)
    return {"target": target, "object_start": start}


def judge(frame: Frame) -> Judgement:
    """Grasp and nearness to the goal, weighted by task."""
    constants, thing, target, radius = frame.constants, frame.object, frame.target, frame.constants["radius"]
    offset = (thing - target).mul_(constants["seen"])
    seen = torch.linalg.vector_norm(offset, dim=-1)
    gap = torch.linalg.vector_norm(offset * constants["stretch"], dim=-1)
    reach = distance(thing, frame.tcp)
    margin = distance(frame.object_start, torch.lerp(target, thing, constants["follows"]), constants["stretch"])
    in_place = near(gap, radius, margin)
    beyond = thing[:, 1] - target[:, 1] + GOAL_DEPTH
    missed = (beyond > 0) & (offset[:, 0].abs() > constants["half_width"])
    wide = 2 * beyond / (1 + GOAL_DEPTH - target[:, 1])
    in_place = torch.where(missed, (in_place - wide).clamp_(0, 1), in_place)
    held = frame.touching & (frame.opening > 0)
    reward = constants["grasp_weight"] * frame.grasp
    reward += constants["both_weight"] * both(frame.grasp, in_place)
    reward += constants["place_weight"] * in_place
    return Judgement(
        reward=torch.where(gap < radius, 10.0, reward),
        success=seen <= radius,
        near_object=reach <= 0.03,
        grasp_success=held & (thing[:, 2] - frame.object_start[:, 2] > constants["lift"]),
        grasp_reward=frame.grasp,
        in_place=in_place,
        obj_to_target=seen,
    )


FAMILY = Family(
    "sweep",
    (
        sawyer_task(
            "sweep-v3",
            "sawyer_sweep_v3",
            goals=GoalSpace(PUCK_LOW, PUCK_HIGH),
            start=place_beside,
            object=body_position("obj"),
            rotation=body_quaternion("obj"),
            constants=live_grip(0.02, 0.01, 0.005),
            touched="objGeom",
        ),
        sawyer_task(
            "sweep-into-v3",
            "sawyer_table_with_hole",
            goals=GoalSpace(
                (*PUCK_LOW, -0.001, 0.8399, 0.0199),
                (*PUCK_HIGH, 0.001, 0.8401, 0.0201),
                lambda row: bool(np.linalg.norm(row[:2] - HOLE[:2]) >= 0.15),
            ),
            start=place_before_hole,
            object=body_position("obj"),
            rotation=geom_rotation("objGeom"),
            # Upstream puts the goal at the puck's present height, so height does not count, except in the margin,
            # which moves with it.
            constants={**live_grip(0.02, 0.005, 0.01), "seen": (1.0, 1.0, 0.0), "follows": (0.0, 0.0, 1.0)},
            touched="objGeom",
        ),
        sawyer_task(
            "soccer-v3",
            "sawyer_soccer",
            goals=GoalSpace((-0.1, 0.6, 0.03, -0.1, 0.8, 0.0), (0.1, 0.7, 0.03, 0.1, 0.9, 0.0), apart(0, 3, 0.15)),
            start=place_ball,
            object=body_position("soccer_ball"),
            rotation=body_rotation("soccer_ball"),
            # Upstream's margin is how far the ball has come, where the other tasks take the whole way.
            constants={
                **live_grip(0.013, 0.01, 0.005),
                "radius": 0.07,
                "stretch": (3.0, 1.0, 1.0),
                "follows": (1.0, 1.0, 1.0),
                "half_width": 0.1,
                "grasp_weight": 3.0,
                "both_weight": 0.0,
                "place_weight": 6.5,
                "lift": 0.02,
            },
            touched="objGeom",
        ),
    ),
    judge,
    constants={
        "radius": 0.05,
        "seen": (1.0, 1.0, 1.0),
        "stretch": (1.0, 1.0, 1.0),
        "follows": (0.0, 0.0, 0.0),
        "half_width": math.inf,
        "grasp_weight": 2.0,
        "both_weight": 6.0,
        "place_weight": 0.0,
        "lift": -math.inf,
    },
    grip="live pads",
)
