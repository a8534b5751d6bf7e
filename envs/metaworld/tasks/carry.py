"""Hold an object while it gets to its place: hand-insert, basketball, coffee-pull, coffee-push, handle-pull(-side)."""

from math import inf

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, geom_rotation, site_position

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

ALL_AXES = (1.0, 1.0, 1.0)
BALL_AXES = (1.0, 1.0, 2.0)
MUG_AXES = (2.0, 2.0, 1.0)
HEIGHT_ONLY = (0.0, 0.0, 1.0)
BALL_START_HEIGHT = float(np.float32(0.03))
"""In upstream's single precision, m."""
HOOP_HEIGHT = 0.3
"""Where the reward of basketball wants the ball, m."""
HAND_START = np.array((0.0, 0.6, 0.2), np.float32)
"""Of the tasks whose start upstream keeps in single precision, m."""
MACHINE_OFFSET = (0.0, 0.22, 0.0)
"""From the mug's place to the coffee machine, m."""


def _memory(
    start: np.ndarray, target: np.ndarray, axes: tuple[float, ...], place: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """What is remembered of a start; `place` is where the reward wants the object, the target where it is None."""
    place = target if place is None else place
    margin = np.linalg.norm((start - place) * axes, axis=1)
    return {"target": target, "object_start": start, "wanted_place": place, "in_place_margin": margin}


def place_block(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The block beside the hole of hand-insert; whatever height the goal says, it is put at 0.05 m."""
    start = goals[:, :3].copy()
    start[:, 2] = 0.05
    place_object(simulation, start)
    return _memory(start, goals[:, 3:], ALL_AXES)


def place_ball(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The ball, and the basket with its hoop."""
    start = goals[:, :3].copy()
    start[:, 2] = BALL_START_HEIGHT
    simulation.place_body("basket_goal", goals[:, 3:])
    place_object(simulation, start)
    target = simulation.site("goal")
    wanted = target.copy()
    wanted[:, 2] = HOOP_HEIGHT
    return _memory(start, target, BALL_AXES, wanted)


def _place_mug(simulation: Simulation, goals: np.ndarray, beside: np.ndarray) -> dict[str, np.ndarray]:
    simulation.qpos[:, :3] = goals[:, :3]
    # A quirk: the mug's joint comes before the arm's here, so that this stops the arm and not the mug.
    simulation.qvel[:, 9:15] = 0
    simulation.forward()
    simulation.place_body("coffee_machine", beside + MACHINE_OFFSET)
    return _memory(goals[:, :3], goals[:, 3:], MUG_AXES)


def place_full_mug(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The mug in front of the machine, for coffee-pull."""
    return _place_mug(simulation, goals, goals[:, :3])


def place_empty_mug(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The mug apart from the machine, for coffee-push."""
    return _place_mug(simulation, goals, goals[:, 3:])


def _place_handle(simulation: Simulation, goals: np.ndarray) -> np.ndarray:
    """The box, its handle pressed down; returns where the handle is to go."""
    simulation.place_body("box", goals)
    simulation.qpos[:, 9] = -0.1
    simulation.qvel[:, 9] = 0
    simulation.forward()
    return simulation.site("goalPull")


def place_handle(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The box of handle-pull; a quirk: the box's place counts as the start of the handle."""
    return _memory(goals, _place_handle(simulation, goals), HEIGHT_ONLY)


def place_side_handle(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The box of handle-pull-side."""
    target = _place_handle(simulation, goals)
    return _memory(simulation.site("handleCenter"), target, ALL_AXES)


def judge(frame: Frame) -> Judgement:
    """A good grip on an object near its place, more while it is held, and 10 at the place."""
    constants, opened = frame.constants, frame.opening > 0
    difference = (frame.object - frame.memory("wanted_place")).unsqueeze(1)
    gaps = torch.linalg.vector_norm(difference * constants["axes"].view(-1, 2, 3), dim=-1)
    gap, reported = gaps.unbind(1)
    in_place = near(gap, constants["radius"], frame.memory("in_place_margin"))
    reach = distance(frame.object, frame.tcp)
    height, start = frame.object[:, 2], frame.object_start[:, 2]
    held = (reach < constants["held_reach"]) & opened & (height - constants["held_rise"] > start)
    grasp = torch.maximum(frame.grasp, held * constants["held_grasp"])
    reward = both(grasp, in_place).add_(held * (in_place * constants["bonus"]).add_(1))
    touched = frame.touching | (constants["by_touch"] == 0)
    return Judgement(
        reward=torch.where(gap < constants["radius"], 10.0, reward),
        success=reported <= constants["success_radius"],
        near_object=reach <= constants["near_reach"],
        grasp_success=touched & opened & (height - constants["grasp_rise"] > start),
        grasp_reward=grasp,
        in_place=in_place,
        obj_to_target=reported,
    )


_MUG = {
    **grip(0.02, 0.05, 0.05, reach=0.04, effort=0.7, density="medium"),
    # A quirk: success and `obj_to_target` do not scale the axes, the reward does.
    "axes": MUG_AXES + ALL_AXES,
    "held_reach": 0.04,
    "held_rise": -inf,
    "grasp_rise": -inf,
    "success_radius": 0.07,
    "near_reach": 0.03,
    # A quirk: upstream asks for contacts of a geom that only looks, so a grasp is never reported. No force is read.
    "by_touch": 1.0,
}

FAMILY = Family(
    "carry",
    (
        sawyer_task(
            "hand-insert-v3",
            "sawyer_table_with_hole",
            goals=GoalSpace(
                (-0.1, 0.6, 0.05, -0.04, 0.8, -0.0201), (0.1, 0.7, 0.05, 0.04, 0.88, -0.0199), apart(0, 3, 0.15)
            ),
            start=place_block,
            object=body_position("obj"),
            rotation=body_quaternion("obj"),
            hand_low=(-0.5, 0.4, -0.15),
            hand_start=HAND_START,
            touched="objGeom",
            constants={
                **grip(0.015, 0.05, 0.005),
                "held_reach": 0.02,
                "held_rise": -inf,
                "grasp_rise": 0.02,
                "bonus": 7.0,
                "near_reach": 0.03,
                "by_touch": 1.0,
            },
        ),
        sawyer_task(
            "basketball-v3",
            "sawyer_basketball",
            goals=GoalSpace(
                (-0.1, 0.6, 0.0299, -0.1, 0.85, 0.0), (0.1, 0.7, 0.0301, 0.1, 0.9 + 1e-7, 0.0), apart(0, 3, 0.15)
            ),
            start=place_ball,
            object=body_position("bsktball"),
            rotation=body_quaternion("bsktball"),
            hand_start=HAND_START,
            constants={
                **grip(0.025, 0.06, 0.005),
                "axes": BALL_AXES * 2,
                "radius": 0.08,
                "success_radius": 0.08,
                "held_grasp": 1.0,
            },
        ),
        sawyer_task(
            "coffee-pull-v3",
            "sawyer_coffee",
            goals=GoalSpace(
                (-0.05, 0.7, -0.001, -0.1, 0.55, -0.001), (0.05, 0.75, 0.001, 0.1, 0.65, 0.001), apart(0, 3, 0.15)
            ),
            start=place_full_mug,
            object=body_position("obj"),
            rotation=geom_rotation("mug"),
            hand_start=(0.0, 0.4, 0.2),
            phantoms=("mug",),
            constants=_MUG,
        ),
        sawyer_task(
            "coffee-push-v3",
            "sawyer_coffee",
            goals=GoalSpace(
                (-0.1, 0.55, -0.001, -0.05, 0.7, -0.001), (0.1, 0.65, 0.001, 0.05, 0.75, 0.001), apart(0, 3, 0.15)
            ),
            start=place_empty_mug,
            object=body_position("obj"),
            rotation=geom_rotation("mug"),
            hand_start=(0.0, 0.4, 0.2),
            phantoms=("mug",),
            constants=_MUG,
        ),
        sawyer_task(
            "handle-pull-v3",
            "sawyer_handle_press",
            goals=GoalSpace((-0.1, 0.8, -0.001), (0.1, 0.9, 0.001)),
            start=place_handle,
            object=site_position("handleRight"),
            constants={
                **grip(0.022, 0.05, 0.01),
                "axes": HEIGHT_ONLY * 2,
                # A quirk: upstream compares the handle's y with the height of its start, which it always exceeds.
                "held_rise": -inf,
            },
        ),
        sawyer_task(
            "handle-pull-side-v3",
            "sawyer_handle_press_sideways",
            goals=GoalSpace((-0.35, 0.65, 0.0), (-0.25, 0.75, 0.0)),
            start=place_side_handle,
            object=site_position("handleCenter"),
            constants={**grip(0.032, 0.06, 0.01), "success_radius": 0.08},
        ),
    ),
    judge,
    memory={"wanted_place": 3, "in_place_margin": 1},
    constants={
        "axes": ALL_AXES * 2,
        "radius": 0.05,
        "success_radius": 0.05,
        "held_reach": 0.035,
        "held_rise": 0.01,
        "held_grasp": 0.0,
        "grasp_rise": 0.03,
        "bonus": 5.0,
        "near_reach": 0.05,
        "by_touch": 0.0,
    },
    grip="caging",
)
