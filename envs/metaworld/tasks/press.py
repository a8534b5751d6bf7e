"""Press a button, from above or from the front: the four button-press tasks and coffee-button."""

import functools
from collections.abc import Mapping

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, site_position

from ..goals import GoalSpace
from .family import Family, Frame, Judgement, SawyerTask
from .measures import both, distance, near
from .sawyer import Vector, sawyer_task

HAND_START = np.array([0, 0.4, 0.2], np.float32)
MUG = np.array([0.0, -0.22, 0.0])
"""The mug's place before the coffee machine, m."""
COFFEE_BUTTON = np.array([0.0, -0.22, 0.3])
"""Its button's place, m."""
FROM_ABOVE, FROM_THE_FRONT = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)
TRAVEL = 0.03
"""How far the button of the coffee machine goes, m."""


def place(simulation: Simulation, goals: np.ndarray, *, axis: int, releases: bool) -> dict[str, np.ndarray]:
    """The box with the button.

    Args:
        simulation: The simulation.
        goals: `[n, 3]`, where the box stands.
        axis: Along which the button moves.
        releases: Whether the button is put back to where it is out; from above, it stays where gravity took it.
    """
    simulation.place_body("box", goals)
    if releases:
        simulation.set_joint("btnbox_joint", 0.0, 0.0)
    simulation.forward()
    hole = simulation.site("hole")
    travel = np.abs(hole[:, axis] - simulation.site("buttonStart")[:, axis])
    return {"target": hole, "object_start": goals, "press_travel": travel}


def place_coffee_machine(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The coffee machine, and the mug before it."""
    simulation.place_body("coffee_machine", goals)
    simulation.qpos[:, :3] = goals + MUG
    # Upstream means the mug's velocity; in this scene these are joints of the arm.
    simulation.qvel[:, 9:15] = 0
    simulation.forward()
    return {
        "target": goals + COFFEE_BUTTON + (0.0, TRAVEL, 0.0),
        "object_start": goals,
        "press_travel": np.full(len(goals), TRAVEL),
    }


def judge(frame: Frame) -> Judgement:
    """Up to half for fingers at the button, opened or closed as the task likes; the rest for how far it is pressed."""
    constants, opening = frame.constants, frame.opening
    reach, gap = distance(frame.object, frame.tcp), distance(frame.object, frame.target, constants["press_axis"])
    # The margin moves with the button: upstream measures from where it is now to where the fingers were.
    close = near(reach, constants["press_near"], distance(frame.object, frame.tcp_start))
    pressed = near(gap, 0.005, frame.memory("press_travel"))
    shape = torch.addcmul(constants["press_shape"], constants["press_opens"], opening)
    reward = both(shape, close).mul_(constants["press_approach"])
    bonus = pressed.pow(constants["press_power"]).mul_(constants["press_bonus"]).add_(constants["press_arrival"])
    bonus.addcmul_(constants["press_opening_bonus"], opening).addcmul_(constants["press_keeps"], reward)
    return Judgement(
        reward=torch.where(reach <= constants["press_reach"], bonus, reward),
        success=gap <= constants["press_success"],
        near_object=reach <= 0.05,
        grasp_success=opening > 0,
        grasp_reward=close,
        in_place=pressed,
        obj_to_target=gap,
    )


OPEN_FROM_ABOVE = {
    "press_axis": FROM_ABOVE,
    "press_near": 0.01,
    "press_reach": 0.03,
    "press_success": 0.024,
    "press_approach": 5.0,
    "press_bonus": 5.0,
}
BEHIND_WALL = {
    "press_near": 0.01,
    "press_shape": 0.5,
    "press_opens": -0.5,
    "press_reach": 0.07,
    "press_success": 0.03,
    # At the button, the bonus replaces the reward for approaching it.
    "press_keeps": 0.0,
    "press_arrival": 4.0,
    "press_opening_bonus": 2.0,
    "press_bonus": 4.0,
    "press_power": 2.0,
}


def _button_task(
    name: str, low: Vector, high: Vector, axis: int, constants: Mapping[str, float | Vector]
) -> SawyerTask:
    return sawyer_task(
        f"{name}-v3",
        f"sawyer_{name.replace('-', '_')}",
        goals=GoalSpace(low, high),
        start=functools.partial(place, axis=axis, releases=axis == 1),
        object=body_position("button"),
        rotation=body_quaternion("button"),
        offset=(0.0, 0.0, 0.193) if axis == 2 else (0.0, -0.193, 0.0),
        hand_start=HAND_START,
        constants=constants,
    )


FAMILY = Family(
    "press",
    (
        _button_task(
            "button-press-topdown",
            (-0.1, 0.8, 0.115),
            (0.1, 0.9, 0.115),
            2,
            # A quirk that upstream has mended behind the wall only: here closed fingers count, not opened ones.
            {**OPEN_FROM_ABOVE, "press_shape": 1.0, "press_opens": -1.0},
        ),
        _button_task("button-press-topdown-wall", (-0.1, 0.8, 0.115), (0.1, 0.9, 0.115), 2, OPEN_FROM_ABOVE),
        _button_task("button-press", (-0.1, 0.85, 0.115), (0.1, 0.9, 0.115), 1, {}),
        _button_task("button-press-wall", (-0.05, 0.85, 0.1149), (0.05, 0.9, 0.1151), 1, BEHIND_WALL),
        sawyer_task(
            "coffee-button-v3",
            "sawyer_coffee",
            goals=GoalSpace((-0.1, 0.8, -0.001), (0.1, 0.9, 0.001)),
            start=place_coffee_machine,
            object=site_position("buttonStart"),
            quaternion=(1.0, 0.0, 0.0, 0.0),
            hand_start=(0.0, 0.4, 0.2),
        ),
    ),
    judge,
    memory={"press_travel": 1},
    constants={
        "press_axis": FROM_THE_FRONT,
        "press_near": 0.05,
        "press_shape": 0.0,
        "press_opens": 1.0,
        "press_approach": 2.0,
        "press_reach": 0.05,
        "press_keeps": 1.0,
        "press_arrival": 0.0,
        "press_opening_bonus": 0.0,
        "press_bonus": 8.0,
        "press_power": 1.0,
        "press_success": 0.02,
    },
)
