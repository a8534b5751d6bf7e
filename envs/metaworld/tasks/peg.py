"""Put a peg into a hole in the side of a box: peg-insert-side."""

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import site_position, site_rotation

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

RADIUS = 0.07
HOLE = (0.03, 0.0, 0.13)
"""The hole's inner end, from the box, m."""
STRETCH = (1.0, 2.0, 2.0)
"""Across the hole distances count double."""
CORNERS = (
    ("bottom_right_corner_collision_box_1", "top_left_corner_collision_box_1"),
    ("bottom_right_corner_collision_box_2", "top_left_corner_collision_box_2"),
)
"""Two prisms before the box in which the peg's head must not be: where being there is worst, and where it is as good as
outside."""


def place(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The peg and the box with the hole."""
    start, box = goals[:, :3], goals[:, 3:]
    target = box + HOLE
    # Upstream looks at the peg's head before it moves the peg, so this is where the scene has it.
    head = simulation.site("pegHead")
    place_object(simulation, start)
    # The box moves last: what is computed from it, here too, is that of the start's first run.
    simulation.place_body("box", box)
    worst = np.stack([simulation.site(first) for first, _ in CORNERS], axis=1)
    best = np.stack([simulation.site(second) for _, second in CORNERS], axis=1)
    return {
        "target": target,
        "object_start": start,
        "in_place_margin": np.linalg.norm((head - target) * STRETCH, axis=1, keepdims=True),
        "prism_origin": worst.reshape(len(goals), 6),
        "prism_size": (best - worst).reshape(len(goals), 6),
    }


def _clearance(frame: Frame, head: torch.Tensor) -> torch.Tensor:
    """1 where the head is in neither prism, less the deeper it is in one, `[world]`."""
    origin, size = frame.memory("prism_origin").unflatten(1, (2, 3)), frame.memory("prism_size").unflatten(1, (2, 3))
    share = (head.unsqueeze(1) - origin) / size
    inside = ((share >= 0) & (share <= 1)).all(2)
    clear = torch.where(inside, share.prod(2), 1.0)
    return both(clear[:, 0], clear[:, 1])


def judge(frame: Frame) -> Judgement:
    """The worse of grasp and place, and much more for a peg that is lifted and well placed."""
    head, rise = frame.view("peg_head"), frame.object[:, 2] - frame.object_start[:, 2]
    reach = distance(frame.object, frame.tcp)
    gap = distance(head, frame.target, frame.constants["stretch"])
    in_place = both(near(gap, RADIUS, frame.memory("in_place_margin")), _clearance(frame, head))
    lifted = (frame.opening > 0) & (rise > 0.01)
    held = lifted & (reach < 0.08)
    grasp = torch.where(held, 1.0, frame.grasp)
    reward = both(grasp, in_place) + held * (1 + 5 * in_place)
    success = gap <= RADIUS
    return Judgement(
        reward=torch.where(success, 10.0, reward),
        success=success,
        near_object=reach <= 0.03,
        grasp_success=lifted & (reach < 0.02),
        grasp_reward=grasp,
        in_place=in_place,
        obj_to_target=gap,
    )


FAMILY = Family(
    "peg",
    (
        sawyer_task(
            "peg-insert-side-v3",
            "sawyer_peg_insertion_side",
            goals=GoalSpace(
                (0.0, 0.5, 0.02, -0.35, 0.4, -0.001), (0.2, 0.7, 0.02, -0.25, 0.7, 0.001), apart(0, 3, 0.1)
            ),
            start=place,
            object=site_position("pegGrasp"),
            rotation=site_rotation("pegGrasp"),
            views={"peg_head": site_position("pegHead")},
            constants=grip(0.0075, 0.03, 0.005),
        ),
    ),
    judge,
    views={"peg_head": 3},
    memory={"in_place_margin": 1, "prism_origin": 6, "prism_size": 6},
    constants={"stretch": STRETCH},
    grip="caging",
)
