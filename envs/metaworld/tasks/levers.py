"""Move something with one finger hooked on it: door-lock, door-unlock, drawer-open, lever-pull."""

import math

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, geom_rotation, joint_position, site_position

from ..goals import GoalSpace
from .family import Family, Frame, Judgement
from .measures import both, distance, near
from .sawyer import FRAME_SKIP, sawyer_task, tcp

HAND_START = np.array([0, 0.6, 0.2], np.float32)
DEEP = (-0.5, 0.40, -0.15)
SHOULDER = (0.0, 0.055, 0.07)
"""From the hand to the part of it that pushes, m."""
DRAWER_TRAVEL = 0.2
LEVER_LENGTH = 0.2


def place_lock(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """An open lock; the target is that of the state before the last physics step, as upstream computes nothing anew."""
    simulation.place_body("door", goals)
    simulation.step(FRAME_SKIP)
    lock = simulation.body("lock_link")
    return {"target": lock + np.array([0.0, -0.04, -0.1]), "object_start": lock}


def place_closed_lock(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A closed lock."""
    shoulder = tcp(simulation) + SHOULDER
    simulation.place_body("door", goals)
    simulation.qpos[:, 9], simulation.qvel[:, 9] = 1.5708, 0
    simulation.forward()
    lock = simulation.body("lock_link")
    return {"target": lock + np.array([0.1, -0.04, 0.0]), "object_start": lock, "lever_hook": shoulder}


def place_drawer(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A closed drawer; nothing is computed anew."""
    simulation.place_body("drawer", goals)
    target = goals + np.array([0.0, -0.16 - DRAWER_TRAVEL, 0.09])
    handle = target + np.array([0.0, DRAWER_TRAVEL, 0.0])
    return {"target": target, "object_start": goals, "lever_hook": tcp(simulation) - handle}


def place_lever(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A lever that points to the front; nothing is computed anew."""
    simulation.place_body("lever", goals)
    tip, target = goals + np.array([0.12, -LEVER_LENGTH, 0.25]), goals + np.array([0.12, 0.0, 0.25 + LEVER_LENGTH])
    return {"target": target, "object_start": goals, "lever_hook": tcp(simulation) + SHOULDER - tip}


def judge(frame: Frame) -> Judgement:
    """The finger at its hold, and how far the thing is on its way."""
    constants = frame.constants
    turns = constants["lever_turns"]
    hook = torch.lerp(frame.hand, frame.view("left_pad"), constants["lever_by_pad"]).add_(constants["lever_shoulder"])
    hook -= frame.object
    hold = torch.linalg.vector_norm(hook * constants["lever_scale"], dim=-1)
    # A quirk: door-unlock's first place of the lock is a view of where the lock is now, and moves with it. Elsewhere,
    # the first place has been subtracted already and the anchor is zero.
    margin = distance(frame.memory("lever_hook"), frame.view("lever_anchor"), constants["lever_scale"])
    # The same quirk in door-lock: the pad's first place is where it is now, so the margin is the distance itself.
    ready = near(hold, constants["lever_hold"], torch.lerp(margin, hold, constants["lever_live"]))
    gap = distance(frame.object, frame.target, constants["lever_axes"])
    moved = near(gap, constants["lever_near"], constants["lever_travel"])
    reward = both(torch.lerp(frame.opening, moved, turns), ready).mul_(constants["lever_product"])
    reward.addcmul_(constants["lever_ready"], ready).addcmul_(constants["lever_moved"], moved)
    # lever-pull succeeds, and reports, by its angle in place of its position.
    error = (frame.view("lever_angle") + math.pi / 2).abs_()
    turned = near(error, math.pi / 48, math.pi / 2 - math.pi / 12)
    reported = torch.linalg.vector_norm(hook.mul_(constants["lever_near_scale"]), dim=-1)
    return Judgement(
        reward=reward,
        success=torch.lerp(gap, error, turns) <= constants["lever_success"],
        near_object=reported <= constants["lever_touches"],
        grasp_success=torch.lerp(frame.opening, ready, turns) > constants["lever_grips"],
        grasp_reward=ready,
        in_place=torch.lerp(moved, turned, turns),
        obj_to_target=torch.lerp(gap, hold, turns),
    )


FAMILY = Family(
    "levers",
    (
        sawyer_task(
            "door-lock-v3",
            "sawyer_door_lock",
            goals=GoalSpace((-0.1, 0.8, 0.15), (0.1, 0.85, 0.15)),
            start=place_lock,
            object=site_position("lockStartLock"),
            rotation=body_quaternion("door_link"),
            hand_low=DEEP,
            hand_start=HAND_START,
            constants={
                "lever_by_pad": (1.0,),
                "lever_live": 1.0,
                "lever_shoulder": (0.0, 0.0, 0.0),
                "lever_hold": 0.01,
                "lever_axes": (0.0, 0.0, 1.0),
                "lever_product": 2.0,
                "lever_ready": 0.0,
            },
        ),
        sawyer_task(
            "door-unlock-v3",
            "sawyer_door_lock",
            goals=GoalSpace((-0.1, 0.8, 0.15), (0.1, 0.85, 0.15)),
            start=place_closed_lock,
            object=site_position("lockStartUnlock"),
            rotation=body_quaternion("door_link"),
            hand_low=DEEP,
            hand_start=HAND_START,
            views={"lever_anchor": body_position("lock_link")},
            constants={"lever_axes": (1.0, 0.0, 0.0)},
        ),
        sawyer_task(
            "drawer-open-v3",
            "sawyer_drawer",
            goals=GoalSpace((-0.1, 0.9, 0.0), (0.1, 0.9, 0.0)),
            start=place_drawer,
            object=body_position("drawer_link"),
            offset=(0.0, -0.16, 0.0),
            rotation=body_quaternion("drawer_link"),
            hand_start=HAND_START,
            constants={
                "lever_shoulder": (0.0, 0.0, 0.0),
                "lever_scale": (3.0, 3.0, 1.0),
                "lever_near_scale": (1.0, 1.0, 1.0),
                "lever_hold": 0.01,
                "lever_near": 0.02,
                "lever_travel": DRAWER_TRAVEL,
                "lever_ready": 5.0,
                "lever_moved": 5.0,
                "lever_success": 0.03,
                "lever_touches": 0.03,
            },
        ),
        sawyer_task(
            "lever-pull-v3",
            "sawyer_lever_pull",
            goals=GoalSpace((-0.1, 0.7, 0.0), (0.1, 0.8, 0.0)),
            start=place_lever,
            object=site_position("leverStart"),
            rotation=geom_rotation("objGeom"),
            hand_low=DEEP,
            hand_start=np.array([0, 0.4, 0.2], np.float32),
            views={"lever_angle": joint_position("LeverAxis")},
            phantoms=("objGeom",),
            constants={
                "lever_turns": 1.0,
                "lever_scale": (4.0, 1.0, 4.0),
                "lever_near_scale": (4.0, 1.0, 4.0),
                "lever_near": 0.04,
                "lever_travel": math.hypot(LEVER_LENGTH, LEVER_LENGTH),
                "lever_product": 10.0,
                "lever_ready": 0.0,
                "lever_moved": 0.0,
                "lever_success": math.pi / 24,
                "lever_touches": math.nextafter(0.03, 0),  # upstream: less than
                "lever_grips": 0.9,
            },
        ),
    ),
    judge,
    views={"lever_anchor": 3, "lever_angle": 1},
    memory={"lever_hook": 3},
    constants={
        "lever_turns": 0.0,
        "lever_by_pad": (0.0,),
        "lever_live": 0.0,
        "lever_shoulder": SHOULDER,
        "lever_scale": (0.25, 1.0, 0.5),
        "lever_near_scale": (0.25, 1.0, 0.5),
        "lever_hold": 0.02,
        "lever_axes": (1.0, 1.0, 1.0),
        "lever_near": 0.005,
        "lever_travel": 0.1,
        "lever_product": 0.0,
        "lever_ready": 2.0,
        "lever_moved": 8.0,
        "lever_success": 0.02,
        "lever_touches": 0.05,
        "lever_grips": 0.0,
    },
)
