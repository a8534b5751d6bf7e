"""Grip a tool along its handle and bring it where it works: disassemble, hammer."""

import functools
import math

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, joint_position, site_position

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import distance, near
from .sawyer import place_object, sawyer_task

NUT_QUATERNION = (0.707, 0.0, 0.0, 0.707)
"""How the nut is held, w, x, y, z; not of unit length, as upstream writes it."""
TILT = 0.4
"""Distance of quaternions at which the reward is zero."""
NEARNESS = 0.02
"""How near its place the reward of a tool is full, m."""
LIFTED = 0.02
"""Height above which a tool counts as lifted, m."""
UP = np.array([0.0, 0.0, 1.0])
nut_grip = functools.partial(grip, 0.015, 0.02, 0.01, handle_half=0.01)
"""The grip on the nut's wrench; `density` is left to the task."""


def uprightness(frame: Frame) -> torch.Tensor:
    """1 for a tool that is turned as it should be, 0 for one that is tilted too far, `[world]`."""
    return (1 - distance(frame.quaternion, frame.constants["upright"]) / TILT).clamp_(min=0)


def place_nut_on_peg(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The peg and the nut on it; the goal is above, and does not depend on the task's other numbers."""
    start = goals[:, :3]
    simulation.place_body("peg", start + 0.03 * UP)
    simulation.forward()
    place_object(simulation, start)
    target = start + 0.15 * UP
    # The reward's goal is higher still than the one that is observed and decides on success.
    return {"target": target, "object_start": start, "aim": target + 0.1 * UP}


def place_hammer(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The hammer; the nail's box stays where the scene has it."""
    target = simulation.site("goal")
    place_object(simulation, goals)
    return {"target": target, "object_start": goals, "aim": target}


def judge(frame: Frame) -> Judgement:
    """Two parts grip, six parts place, as far as the tool is upright."""
    constants = frame.constants
    point = frame.view("tool_point") + constants["tool_offset"]
    in_place = near(distance(frame.memory("aim"), point), NEARNESS, 0.2).mul_(0.9)
    in_place.add_(point[:, 2] > LIFTED, alpha=0.1)
    upright = uprightness(frame)
    reward = (2 * frame.grasp + 6 * in_place) * upright
    # Each task has one of the two; the other one's threshold is out of reach.
    raised = frame.object[:, 2] - frame.target[:, 2] > constants["success_height"]
    success = raised | (frame.view("nail_depth") > constants["success_depth"])
    return Judgement(
        reward=torch.where(success & (reward > constants["success_reward"]), 10.0, reward),
        success=success,
        near_object=upright,
        grasp_success=frame.grasp >= 0.5,
        grasp_reward=frame.grasp,
        in_place=in_place,
        obj_to_target=0.0,
    )


FAMILY = Family(
    "tools",
    (
        sawyer_task(
            "disassemble-v3",
            "sawyer_assembly_peg",
            goals=GoalSpace(
                (0.0, 0.6, 0.025, -0.1, 0.6, 0.1699), (0.1, 0.75, 0.02501, 0.1, 0.75, 0.1701), apart(0, 3, 0.1)
            ),
            start=place_nut_on_peg,
            object=site_position("RoundNut-8"),
            rotation=body_quaternion("RoundNut"),
            hand_start=np.array([0, 0.4, 0.2], np.float32),
            views={"tool_point": site_position("RoundNut")},
            constants={**nut_grip(), "upright": NUT_QUATERNION, "success_height": 0.0},
        ),
        sawyer_task(
            "hammer-v3",
            "sawyer_hammer",
            goals=GoalSpace((-0.1, 0.4, 0.0), (0.1, 0.5, 0.0)),
            start=place_hammer,
            object=body_position("hammer"),
            rotation=body_quaternion("hammer"),
            hand_start=(0.0, 0.4, 0.2),
            views={
                "second": body_position("nail_link"),
                "second_quaternion": body_quaternion("nail_link"),
                "tool_point": body_position("hammer"),
                "nail_depth": joint_position("NailSlideJoint"),
            },
            constants={
                **grip(0.015, 0.02, 0.01, handle_half=0.07),
                "tool_offset": (0.16, 0.06, 0.0),
                "success_depth": 0.09,
                "success_reward": 5.0,
            },
        ),
    ),
    judge,
    views={"tool_point": 3, "nail_depth": 1},
    memory={"aim": 3},
    constants={
        "upright": (1.0, 0.0, 0.0, 0.0),
        "tool_offset": (0.0, 0.0, 0.0),
        "success_height": math.inf,
        "success_depth": math.inf,
        "success_reward": -math.inf,
    },
    grip="caging",
)
