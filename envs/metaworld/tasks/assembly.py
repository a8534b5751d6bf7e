"""Grip a nut by its wrench and put it over a peg: assembly."""

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_quaternion, site_position

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .measures import funnel, near
from .sawyer import place_object, sawyer_task
from .tools import LIFTED, NEARNESS, NUT_QUATERNION, UP, nut_grip, uprightness

OVER_PEG = 0.02
"""How far from the peg's axis the nut still fits over it, m."""
BESIDE_PEG = 0.01
"""From where the nut is to be held higher the farther it is from the peg, m."""


def place(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The nut and the peg, whose top is the goal."""
    start, target = goals[:, :3], goals[:, 3:]
    place_object(simulation, start)
    # The peg moves last: what is computed from it is still that of the start's first run.
    simulation.place_body("peg", target - 0.05 * UP)
    return {"target": target, "object_start": start}


def judge(frame: Frame) -> Judgement:
    """Two parts grip, six parts place along a funnel above the peg, as far as the nut is upright."""
    nut = frame.view("nut")
    error = frame.target - nut
    radius = torch.linalg.vector_norm(error[:, :2], dim=-1)
    success = (radius < OVER_PEG) & (error[:, 2] > 0)
    # On the peg there is no funnel: upstream widens its threshold to the radius that success asks for.
    height = torch.where(success, 0.0, funnel(radius, BESIDE_PEG, 0.02, 0.2))
    lifted = (nut[:, 2] > LIFTED) | success | (radius < BESIDE_PEG)
    error[:, 2] = (height - nut[:, 2]).mul_(3)
    in_place = near(torch.linalg.vector_norm(error, dim=-1), NEARNESS, 0.4).mul_(0.9).add_(lifted, alpha=0.1)
    upright = uprightness(frame)
    reward = (2 * frame.grasp + 6 * in_place) * upright
    return Judgement(
        reward=torch.where(success, 10.0, reward),
        success=success,
        near_object=upright,
        grasp_success=frame.grasp >= 0.5,
        grasp_reward=frame.grasp,
        in_place=in_place,
        obj_to_target=0.0,
    )


FAMILY = Family(
    "assembly",
    (
        sawyer_task(
            "assembly-v3",
            "sawyer_assembly_peg",
            goals=GoalSpace((0.0, 0.6, 0.02, -0.1, 0.75, 0.1), (0.0, 0.6, 0.02, 0.1, 0.85, 0.1), apart(0, 3, 0.1)),
            start=place,
            object=site_position("RoundNut-8"),
            rotation=body_quaternion("RoundNut"),
            hand_start=np.array([0, 0.6, 0.2], np.float32),
            views={"nut": site_position("RoundNut")},
            constants=nut_grip(density="medium"),
        ),
    ),
    judge,
    views={"nut": 3},
    constants={"upright": NUT_QUATERNION},
    grip="caging",
)
