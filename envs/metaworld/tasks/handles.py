"""Take a handle from above and move it: door-open, box-close."""

import math

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, geom_position, geom_rotation, joint_position

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .measures import both, distance, funnel, near
from .sawyer import FRAME_SKIP, sawyer_task

UPRIGHT = (0.707, 0.0, 0.0, 0.707)
"""The lid's orientation: w, x, y, z."""
LID_HEIGHT = float(np.float32(0.02))
"""Where the lid lies, m, in upstream's precision."""


def place_door(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A shut door."""
    simulation.place_body("door", goals)
    simulation.set_joint("doorjoint", 0.0, 0.0)
    simulation.forward()
    return {"target": goals + np.array([-0.3, -0.45, 0.0]), "object_start": goals}


def place_box(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A box, and its lid beside it; five physics steps pass between the two."""
    target = goals[:, 3:]
    lid = goals[:, :3].copy()
    lid[:, 2] = LID_HEIGHT
    simulation.place_body("boxbody", np.hstack((target[:, :2], simulation.body("boxbody")[:, 2:])))
    simulation.step(FRAME_SKIP)
    simulation.qpos[:, 9:12] = lid
    simulation.qvel[:, 9:15] = 0
    simulation.forward()
    return {"target": target, "object_start": lid}


def judge(frame: Frame) -> Judgement:
    """The hand above the handle and then at it, open; and the handle, or the door's angle, at its goal."""
    constants, hand, angle = frame.constants, frame.hand, frame.view("handle_angle")
    grab = (frame.effort.clamp(-1, 1) + 1).div_(2)
    handle = frame.object + constants["handle_offset"]
    offset = hand - handle
    floor = funnel(torch.linalg.vector_norm(offset[:, :2], dim=-1), constants["handle_radius"], 0.04, 0.4)
    above = near(floor - hand[:, 2], 0.01, floor / 2)
    at_handle = torch.linalg.vector_norm(offset.sub_(constants["handle_grip"]), dim=-1)
    ready = both(above, near(at_handle, constants["handle_near"], 0.5))
    # The door is to open by 120 degrees, more than it can: the angle that is left is never below zero.
    error = distance(frame.target, handle, constants["handle_scale"])
    error.add_(constants["handle_turn"]).addcmul_(constants["handle_turns"], angle)
    begun = torch.lerp(handle[:, 2], -angle, constants["handle_turns"]) > constants["handle_begun"]
    done = near(error, constants["handle_bound"], constants["handle_margin"]).mul_(0.8).add_(begun, alpha=0.2)
    reward = both(ready, grab).mul_(2).add_(done, alpha=8)
    gap = distance(frame.object, frame.target, constants["handle_axes"])
    success = gap <= constants["handle_success"]
    # A lid that is tilted earns nothing, wherever it is.
    tilt = distance(frame.quaternion, constants["handle_upright"], constants["handle_upright_scale"])
    return Judgement(
        reward=reward.masked_fill_(success, 10.0).mul_((1 - tilt / 0.2).clamp_(min=0)),
        success=success,
        near_object=ready,
        grasp_success=grab >= 0.5,
        grasp_reward=grab,
        in_place=done,
        obj_to_target=0.0,
    )


FAMILY = Family(
    "handles",
    (
        sawyer_task(
            "door-open-v3",
            "sawyer_door_pull",
            goals=GoalSpace((0.0, 0.85, 0.15), (0.1, 0.95, 0.15)),
            start=place_door,
            object=geom_position("handle"),
            rotation=geom_rotation("handle"),
            hand_start=(0.0, 0.6, 0.2),
            views={"handle_angle": joint_position("doorjoint")},
            phantoms=("handle",),
            constants={
                "handle_offset": (-0.05, 0.0, 0.0),
                "handle_grip": (0.05, 0.03, -0.01),
                "handle_radius": 0.12,
                "handle_near": 0.06,
                "handle_scale": (0.0, 0.0, 0.0),
                "handle_turn": math.pi / 2 + math.pi / 6,
                "handle_turns": 1.0,
                "handle_begun": math.pi / 90,
                "handle_bound": 0.5,
                "handle_margin": math.pi / 3,
                "handle_axes": (1.0, 0.0, 0.0),
                "handle_success": 0.08,
                "handle_upright_scale": (0.0,) * 4,
            },
        ),
        sawyer_task(
            "box-close-v3",
            "sawyer_box",
            goals=GoalSpace(
                (-0.05, 0.5, 0.02, -0.1, 0.7, 0.133), (0.05, 0.55, 0.02, 0.1, 0.8, 0.133), apart(0, 3, 0.25)
            ),
            start=place_box,
            object=body_position("top_link"),
            rotation=body_quaternion("top_link"),
            hand_start=np.array((0, 0.6, 0.2), np.float32),
        ),
    ),
    judge,
    views={"handle_angle": 1},
    constants={
        "handle_offset": (0.0, 0.0, 0.02),
        "handle_grip": (0.0, 0.0, 0.0),
        "handle_radius": 0.02,
        "handle_near": 0.02,
        "handle_scale": (1.0, 1.0, 3.0),
        "handle_turn": 0.0,
        "handle_turns": 0.0,
        "handle_begun": 0.04,
        "handle_bound": 0.05,
        "handle_margin": 0.25,
        "handle_axes": (1.0, 1.0, 1.0),
        "handle_success": math.nextafter(0.08, 0),  # upstream: less than
        "handle_upright": UPRIGHT,
        "handle_upright_scale": (1.0,) * 4,
    },
)
