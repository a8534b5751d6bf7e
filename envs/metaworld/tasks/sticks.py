"""Take a stick and move a thermos with it: stick-push, stick-pull."""

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_rotation, site_position

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

SCENE = "sawyer_stick_obj"
STICK_HEIGHT = 0.02
"""Height at which the stick is put down, m."""
ARRIVED = 0.12
"""How near its goal the thermos has arrived, m."""
FULL = 0.05
"""How near its place the reward of a pulling stick is full, m."""
BEHIND_HANDLE = (0.05, 0.0, 0.0)
"""From the thermos's handle to where a pulling stick is to be, m."""


def _place(simulation: Simulation, stick: np.ndarray, slide: float) -> np.ndarray:
    """Puts stick and thermos down, in two steps as upstream; returns where the thermos is."""
    place_object(simulation, stick)
    # Upstream counts velocities as if they were positions: the thermos keeps its velocity along x.
    simulation.set_joint("obj_slidex", 0.0)
    simulation.set_joint("obj_slidey", slide, velocity=0.0)
    simulation.forward()
    return simulation.body("object")


def _on_table(goals: np.ndarray) -> np.ndarray:
    return np.hstack((goals[:, :2], np.full((len(goals), 1), STICK_HEIGHT)))


def place_to_push(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """Stick, thermos and goal, which is as high as the thermos's opening."""
    stick = _on_table(goals)
    target = np.hstack((goals[:, 3:5], simulation.site("insertion")[:, 2:]))
    thermos = _place(simulation, stick, 0.0)
    margins = np.linalg.norm(np.stack((stick, thermos), axis=1) - target[:, None], axis=2) - ARRIVED
    # The shared grasp reward looks at the stick's start here, in stick-pull at the thermos's.
    return {"target": target, "object_start": thermos, "grip_start": stick, "push_margins": margins}


def place_to_pull(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """Stick, thermos and goal on the table."""
    stick, target = _on_table(goals), _on_table(goals[:, 3:])
    thermos = _place(simulation, stick, 0.09)
    ways = np.stack((stick - (thermos + BEHIND_HANDLE), stick - target, thermos - target), axis=1)
    ways[:, 0, 2] *= 2
    return {"target": target, "object_start": thermos, "pull_margins": np.linalg.norm(ways, axis=2)}


def judge_push(frame: Frame) -> Judgement:
    """The grasp; once the stick is held, how near stick and thermos are to the goal."""
    stick = frame.object + frame.constants["grip_offset"]
    reach = distance(stick, frame.tcp)
    gaps = torch.linalg.vector_norm(torch.stack((stick, frame.second), dim=1) - frame.target.unsqueeze(1), dim=-1)
    in_place, moved = near(gaps, ARRIVED, frame.memory("push_margins")).unbind(1)
    gap = gaps[:, 1]
    arrived = gap <= ARRIVED
    lifted = (frame.opening > 0) & (stick[:, 2] > STICK_HEIGHT + 0.01)
    held = lifted & (reach < 0.02)
    carried = 2 + 5 * in_place + 3 * moved
    grasp_success = lifted & frame.touching
    return Judgement(
        reward=torch.where(held, torch.where(arrived, 10.0, carried), frame.grasp),
        success=arrived & grasp_success,
        near_object=reach <= 0.03,
        grasp_success=grasp_success,
        grasp_reward=torch.where(held, 1.0, frame.grasp),
        in_place=in_place,
        obj_to_target=gap,
    )


def _inserted(end: torch.Tensor, handle: torch.Tensor) -> torch.Tensor:
    """Whether the stick's end is past the handle, `[world]`."""
    offset = end - handle
    aside = offset[:, 1:].abs()
    return (offset[:, 0] >= 0) & (aside[:, 0] <= 0.04) & (aside[:, 1] <= 0.06)


def judge_pull(frame: Frame) -> Judgement:
    """The worse of grasp and place; more once the stick is held, and still more once it is behind the handle."""
    stick, handle, target = frame.object, frame.second, frame.target
    inside = handle + frame.constants["behind_handle"]
    reach = distance(stick, frame.tcp)
    ways = torch.stack((stick - inside, stick - target, inside - target, handle - target), dim=1)
    ways[:, 0, 2] *= 2
    gaps = torch.linalg.vector_norm(ways, dim=-1)
    # The last of the margins is the thermos's way without the 5 cm by which its present place is moved: so upstream.
    in_place, stick_home, moved = near(gaps[:, :3], FULL, frame.memory("pull_margins")).unbind(1)
    gap, height, is_open = gaps[:, 3], stick[:, 2], frame.opening > 0
    arrived = gap <= ARRIVED
    held = is_open & (reach < 0.02) & (height > STICK_HEIGHT + 0.01)
    inserted = _inserted(frame.view("stick_end"), handle)
    grasp = torch.where(held, 1.0, frame.grasp)
    reward = both(grasp, in_place)
    pulled = torch.where(arrived, 10.0, reward + 6 + 2 * stick_home + moved)
    carried = torch.where(inserted, pulled, reward + 1 + 5 * in_place)
    return Judgement(
        reward=torch.where(held, carried, reward),
        success=arrived & inserted,
        near_object=reach <= 0.03,
        grasp_success=frame.touching & is_open & (height - frame.object_start[:, 2] > 0.02),
        grasp_reward=grasp,
        in_place=in_place,
        obj_to_target=gap,
    )


PUSH = Family(
    "stick push",
    (
        sawyer_task(
            "stick-push-v3",
            SCENE,
            goals=GoalSpace(
                (-0.08, 0.58, 0.0, 0.399, 0.55, 0.1319), (-0.03, 0.62, 0.001, 0.401, 0.6, 0.1321), apart(0, 3, 0.1)
            ),
            start=place_to_push,
            object=body_position("stick"),
            rotation=body_rotation("stick"),
            views={"second": site_position("insertion")},
            constants={**grip(0.04, 0.05, 0.01, offset=(0.015, 0.0, 0.0)), "second_offset": (0.0, 0.09, 0.0)},
            touched="objGeom",
        ),
    ),
    judge_push,
    memory={"push_margins": 2},
    constants={"grip_offset": (0.0, 0.0, 0.0)},
    grip="caging",
)

PULL = Family(
    "stick pull",
    (
        sawyer_task(
            "stick-pull-v3",
            SCENE,
            goals=GoalSpace(
                (-0.1, 0.55, 0.0, 0.35, 0.45, 0.0199), (0.0, 0.65, 0.001, 0.45, 0.55, 0.0201), apart(0, 3, 0.1)
            ),
            start=place_to_pull,
            object=body_position("stick"),
            rotation=body_rotation("stick"),
            hand_low=(-0.5, 0.35, 0.05),
            views={"second": site_position("insertion"), "stick_end": site_position("stick_end")},
            constants=grip(0.014, 0.05, 0.01),
            touched="objGeom",
        ),
    ),
    judge_pull,
    views={"stick_end": 3},
    memory={"pull_margins": 3},
    constants={"behind_handle": BEHIND_HANDLE},
    grip="caging",
)
