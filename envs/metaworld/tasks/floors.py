"""Lift an object out of a hole or a bin, high enough on the way: pick-out-of-hole, bin-picking."""

from math import inf, nextafter

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import both, distance, funnel, near
from .sawyer import place_object, sawyer_task

HELD_REACH = 0.04
HELD_RISE = 0.02
FUNNEL_RADIUS = 0.03
"""Within it around a place, the gripper may be at any height, m."""
FLOOR_BOUND = 0.01
RADIUS = 0.05
UNSET = -1.0
"""A margin that is not yet known."""


def place_in_hole(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The block in the hole, and the point above the table where it is to go."""
    start, target = goals[:, :3], goals[:, 3:]
    place_object(simulation, start)
    return {
        "target": target,
        "object_start": start,
        "in_place_margin": np.linalg.norm(start - target, axis=1),
        # There is one funnel only.
        "funnels": np.hstack((start[:, :2], start[:, :2])),
    }


def place_in_bin(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The block in the first bin. A quirk: of the goal, only the block's x and y count."""
    start = np.hstack((goals[:, :2], simulation.body("obj")[:, 2:]))
    place_object(simulation, start)
    target = simulation.body("bin_goal")
    return {
        "target": target,
        "object_start": start,
        # A quirk: the margin is the distance after the first step, not at the start.
        "in_place_margin": np.full(len(goals), UNSET),
        "funnels": np.hstack((start[:, :2], target[:, :2])),
    }


def _above_floor(frame: Frame, point: torch.Tensor) -> torch.Tensor:
    """1 where a point is above the lower of two funnels, `[world]`."""
    constants = frame.constants
    offsets = point[:, None, :2] - frame.memory("funnels").view(-1, 2, 2)
    radii = torch.linalg.vector_norm(offsets, dim=-1)
    floors = funnel(radii, FUNNEL_RADIUS, constants["funnel_slope"][:, None], constants["funnel_height"][:, None])
    return near(floors.amin(1) - point[:, 2], FLOOR_BOUND, constants["floor_margin"])


def judge(frame: Frame) -> Judgement:
    """A good grip on an object near its place, more while it is lifted above the floor, and 10 at the place."""
    constants, margin = frame.constants, frame.memory("in_place_margin")
    point = torch.where(constants["by_hand"][:, None] > 0, frame.hand, frame.tcp)
    gap, reach = distance(frame.object, frame.target), distance(frame.object, point)
    margin.copy_(torch.where(margin < 0, gap, margin))
    in_place = near(gap, constants["in_place_radius"], margin)
    lifted = frame.object[:, 2] - HELD_RISE > frame.object_start[:, 2]
    held = (reach < HELD_REACH) & lifted & (frame.opening >= constants["pinched"])
    bonus = both(_above_floor(frame, point), in_place).mul_(5).add_(1).mul_(held)
    return Judgement(
        reward=torch.where(gap < RADIUS, 10.0, both(frame.grasp, in_place).add_(bonus)),
        success=gap <= constants["success_radius"],
        near_object=reach < constants["near_reach"],
        grasp_success=held,
        grasp_reward=frame.grasp,
        in_place=in_place,
        obj_to_target=gap,
    )


FAMILY = Family(
    "floors",
    (
        sawyer_task(
            "pick-out-of-hole-v3",
            "sawyer_pick_out_of_hole",
            goals=GoalSpace((0.0, 0.75, 0.02, -0.1, 0.5, 0.15), (0.0, 0.75, 0.02, 0.1, 0.6, 0.3), apart(0, 3, 0.15)),
            start=place_in_hole,
            object=body_position("obj"),
            rotation=body_quaternion("obj"),
            hand_low=(-0.5, 0.4, -0.05),
            constants={
                **grip(0.015, 0.02, 0.03, effort=0.1),
                "in_place_radius": 0.02,
                "success_radius": 0.07,
                # The bound counts as near here, but not in bin-picking.
                "near_reach": nextafter(0.03, inf),
                "pinched": 0.33,
                "funnel_slope": 0.015,
                "funnel_height": 0.15,
                "floor_margin": 0.02,
                "by_hand": 0.0,
            },
        ),
        sawyer_task(
            "bin-picking-v3",
            "sawyer_bin_picking",
            goals=GoalSpace((-0.21, 0.65, 0.02, 0.1199, 0.699, -0.001), (-0.03, 0.75, 0.02, 0.1201, 0.701, 0.001)),
            start=place_in_bin,
            object=body_position("obj"),
            rotation=body_quaternion("obj"),
            hand_low=(-0.5, 0.4, 0.07),
            constants=grip(0.015, 0.05, 0.01, effort=0.7),
        ),
    ),
    judge,
    memory={"in_place_margin": 1, "funnels": 4},
    constants={
        "in_place_radius": RADIUS,
        "success_radius": RADIUS,
        "near_reach": HELD_REACH,
        "pinched": 0.43,
        "funnel_slope": 0.02,
        "funnel_height": 0.2,
        "floor_margin": 0.05,
        "by_hand": 1.0,
    },
    grip="caging",
)
