"""Slide a puck into a net or out of it: the four plate-slide tasks."""

import functools
from collections.abc import Mapping

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import geom_position, geom_rotation

from ..goals import GoalSpace
from .family import Family, Frame, Judgement, SawyerTask
from .measures import both, distance, near
from .sawyer import sawyer_task, tcp

HAND_START = np.array((0, 0.6, 0.2), np.float32)
RADIUS = 0.05


def place(
    simulation: Simulation, goals: np.ndarray, *, puck: tuple[float, float], net: slice | None, slack: float
) -> dict[str, np.ndarray]:
    """The puck, and the net in some tasks.

    Args:
        simulation: The simulation.
        goals: `[n, 6]`, the puck's start and its goal.
        puck: How far the puck is moved along x and y, m.
        net: The part of the goal at which the net is put. None: it stays where the scene has it, since upstream writes
            its computed position in place of the model's. One task puts it where the puck starts.
        slack: By how much the margins are narrowed, m.
    """
    start, target = goals[:, :3], goals[:, 3:]
    fingers = tcp(simulation)
    if net is not None:
        simulation.place_body("puck_goal", goals[:, net])
    simulation.qpos[:, 9:11] = puck  # at its velocity, which upstream keeps
    simulation.forward()
    return {
        "target": target,
        "object_start": start,
        "plate_margin": np.linalg.norm(start - target, axis=1) - slack,
        "plate_reach_margin": np.linalg.norm(fingers - start, axis=1) - slack,
    }


def judge(frame: Frame) -> Judgement:
    """Fingers at the puck, then the puck at its goal."""
    constants = frame.constants
    gap, reach = distance(frame.object, frame.target), distance(frame.object, frame.tcp)
    in_place = near(gap, RADIUS, frame.memory("plate_margin"))
    grasped = near(reach, RADIUS, frame.memory("plate_reach_margin"))
    reward = both(grasped, in_place).mul_(constants["plate_product"]).addcmul_(constants["plate_approach"], grasped)
    pushes = (frame.tcp[:, 2] <= constants["plate_height"]).logical_and_(reach < 0.07)
    reward = torch.where(pushes, 2 + 7 * in_place, reward)
    return Judgement(
        reward=torch.where(gap < RADIUS, 10.0, reward),
        success=gap <= 0.07,
        near_object=reach <= 0.03,
        grasp_success=0.0,
        grasp_reward=grasped,
        in_place=in_place,
        obj_to_target=gap,
    )


def _plate(
    name: str,
    xml: str,
    goals: GoalSpace,
    puck: tuple[float, float],
    *,
    net: slice | None = None,
    slack: float = RADIUS,
    constants: Mapping[str, float] | None = None,
) -> SawyerTask:
    return sawyer_task(
        name,
        xml,
        goals=goals,
        start=functools.partial(place, puck=puck, net=net, slack=slack),
        object=geom_position("puck"),
        rotation=geom_rotation("puck"),
        hand_start=HAND_START,
        constants=constants,
    )


FAMILY = Family(
    "plates",
    (
        _plate(
            "plate-slide-v3",
            "sawyer_plate_slide",
            GoalSpace((0.0, 0.6, 0.0, -0.1, 0.85, 0.0), (0.0, 0.6, 0.0, 0.1, 0.9, 0.0)),
            (0.0, 0.0),
            net=slice(3, 6),
            slack=0.0,
            # No height counts as low: this task alone rewards the product all the way.
            constants={"plate_product": 8.0, "plate_approach": 0.0, "plate_height": float("-inf")},
        ),
        _plate(
            "plate-slide-side-v3",
            "sawyer_plate_slide_sideway",
            GoalSpace((0.0, 0.6, 0.0, -0.3, 0.54, 0.0), (0.0, 0.6, 0.0, -0.25, 0.66, 0.0)),
            (0.0, 0.0),
        ),
        _plate(
            "plate-slide-back-v3",
            "sawyer_plate_slide",
            GoalSpace((0.0, 0.85, 0.0, -0.1, 0.6, 0.015), (0.0, 0.85, 0.0, 0.1, 0.6, 0.015)),
            (0.0, 0.15),
        ),
        _plate(
            "plate-slide-back-side-v3",
            "sawyer_plate_slide_sideway",
            GoalSpace((-0.25, 0.6, 0.0, -0.05, 0.6, 0.015), (-0.25, 0.6, 0.0, 0.15, 0.6, 0.015)),
            (-0.15, 0.0),
            net=slice(0, 3),
        ),
    ),
    judge,
    memory={"plate_margin": 1, "plate_reach_margin": 1},
    constants={"plate_product": 0.0, "plate_approach": 1.5, "plate_height": 0.03},
)
