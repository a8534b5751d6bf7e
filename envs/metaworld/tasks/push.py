"""Move an object to a point while holding it: push, push-wall, pick-place-wall, peg-unplug-side."""

from math import inf, nextafter

import numpy as np
import torch

from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, geom_position, geom_rotation, site_position

from ..goals import GoalSpace, apart
from .family import Family, Frame, Judgement
from .grasp import grip
from .measures import both, distance, near
from .sawyer import place_object, sawyer_task

RADIUS = 0.05
"""How near the goal counts as there, m."""
NEAR_REACH = 0.03
WALL = 0.75
"""Beyond this y an object has passed the wall, m."""
UP = (0.0, 0.0, 1.0)
RIGHT = (1.0, 0.0, 0.0)
PAST_WALL = (-0.05, 0.77, 0.0)
"""Where push-wall leads the object past the wall, at whatever height it is, m."""
PAST_WALL_AXES = (3.0, 1.0, 0.0)
OVER_WALL_AXES = (1.0, 1.0, 3.0)
PLUG_OFFSET = (0.044, 0.0, 0.131)
"""From the box to the plug in it, m."""
PULL = (0.15, 0.0, 0.0)
"""From the plug to where it is to be pulled, m."""


def _memory(start: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "target": target,
        "object_start": start,
        "in_place_margin": np.linalg.norm(start - target, axis=1),
        "advance_start": start[:, 2],
    }


def _on_table(goals: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and target of a goal, at a height that replaces the goal's own."""
    height = height.reshape(-1, 1)
    return np.hstack((goals[:, :2], height)), np.hstack((goals[:, 3:5], height))


def place_puck(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck of push."""
    start, target = _on_table(goals, simulation.body("obj")[:, 2])
    place_object(simulation, start)
    return _memory(start, target)


def place_before_wall(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck of push-wall."""
    start, target = _on_table(goals, simulation.geom("objGeom")[:, 2])
    place_object(simulation, start)
    waypoint = np.tile(PAST_WALL, (len(goals), 1))
    margin = np.linalg.norm((start - waypoint) * PAST_WALL_AXES, axis=1)
    return {**_memory(start, target), "waypoint": waypoint, "waypoint_margin": margin}


def place_behind_wall(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The puck of pick-place-wall."""
    start, target = goals[:, :3], goals[:, 3:]
    place_object(simulation, start)
    waypoint = target.copy()
    waypoint[:, 1:] = (0.77, 0.25)
    margin = np.linalg.norm((start - waypoint) * OVER_WALL_AXES, axis=1)
    return {**_memory(start, target), "waypoint": waypoint, "waypoint_margin": margin}


def place_plug(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The box with the plug in it."""
    plug = goals + PLUG_OFFSET
    simulation.place_body("box", goals)
    simulation.qpos[:, 9:12] = plug
    simulation.qpos[:, 12:16] = (1, 0, 0, 0)
    # A quirk: the plug keeps the spin that it had until now.
    simulation.qvel[:, 9:12] = 0
    simulation.forward()
    start = simulation.site("pegEnd")
    return {**_memory(start, plug + PULL), "advance_start": start[:, 0]}


def judge(frame: Frame) -> Judgement:
    """A grip, more for the way to the goal while the object is held, first past the wall if there is one, then 10."""
    constants, grasp, height = frame.constants, frame.grasp, frame.object[:, 2]
    gap = distance(frame.object, frame.target)
    in_place = near(gap, RADIUS, frame.memory("in_place_margin"))
    # A quirk: push-wall measures the start's way to the waypoint from the height at which the object is now.
    rise = (height - frame.object_start[:, 2]).mul_(constants["level_waypoint"])
    margin = torch.hypot(frame.memory("waypoint_margin"), rise)
    passing = near(distance(frame.object, frame.memory("waypoint"), constants["waypoint_axes"]), RADIUS, margin)
    reach, opened = distance(frame.object, frame.tcp), frame.opening > constants["opened"]
    advance = (frame.object * constants["direction"]).sum(1)
    advance_start = frame.memory("advance_start")
    held = (reach < constants["held_reach"]) & opened & (advance - constants["held_advance"] > advance_start)
    to_goal = in_place * constants["goal_bonus"] + constants["passed_bonus"]
    bonus = torch.where(frame.object[:, 1] > constants["wall"], to_goal, passing * 4 + 1)
    bonus.add_(grasp * constants["held_grip"]).mul_(held)
    start = torch.where(constants["grip_alone"] > 0, 2 * grasp, both(grasp, passing))
    touched = frame.touching | (constants["by_touch"] == 0)
    return Judgement(
        reward=torch.where(gap < constants["radius"], 10.0, start.add_(bonus)),
        success=gap <= constants["success_radius"],
        near_object=reach <= NEAR_REACH,
        grasp_success=touched & opened & (advance - constants["grasp_advance"] > advance_start),
        grasp_reward=grasp,
        in_place=in_place,
        obj_to_target=gap,
    )


FAMILY = Family(
    "push",
    (
        sawyer_task(
            "push-v3",
            "sawyer_push_v3",
            goals=GoalSpace((-0.1, 0.6, 0.02, -0.1, 0.8, 0.01), (0.1, 0.7, 0.02, 0.1, 0.9, 0.02), apart(0, 3, 0.15)),
            start=place_puck,
            object=body_position("obj"),
            rotation=geom_rotation("objGeom"),
            touched="objGeom",
            # A quirk: upstream adds the reward for the grip a second time while the object is held.
            constants={**grip(0.015, 0.05, 0.005), "held_grip": 2.0, "success_radius": RADIUS},
        ),
        sawyer_task(
            "push-wall-v3",
            "sawyer_push_wall_v3",
            goals=GoalSpace(
                (-0.05, 0.6, 0.015, -0.05, 0.85, 0.01), (0.05, 0.65, 0.015, 0.05, 0.9, 0.02), apart(0, 3, 0.15)
            ),
            start=place_before_wall,
            object=geom_position("objGeom"),
            rotation=geom_rotation("objGeom"),
            touched="objGeom",
            constants={
                **grip(0.015, 0.05, 0.005),
                "waypoint_axes": PAST_WALL_AXES,
                "level_waypoint": 1.0,
                "wall": WALL,
                "passed_bonus": 5.0,
                "goal_bonus": 3.0,
            },
        ),
        sawyer_task(
            "pick-place-wall-v3",
            "sawyer_pick_place_wall_v3",
            goals=GoalSpace(
                (-0.05, 0.6, 0.015, -0.05, 0.85, 0.05), (0.05, 0.65, 0.015, 0.05, 0.9, 0.3), apart(0, 3, 0.15)
            ),
            start=place_behind_wall,
            object=geom_position("objGeom"),
            rotation=geom_rotation("objGeom"),
            touched="objGeom",
            constants={
                **grip(0.015, 0.05, 0.005, density="none"),
                "waypoint_axes": OVER_WALL_AXES,
                "wall": WALL,
                "passed_bonus": 5.0,
                "goal_bonus": 3.0,
                "held_advance": 0.015,
                "grip_alone": 0.0,
            },
        ),
        sawyer_task(
            "peg-unplug-side-v3",
            "sawyer_peg_unplug_side",
            goals=GoalSpace((-0.25, 0.6, -0.001), (-0.15, 0.8, 0.001)),
            start=place_plug,
            object=site_position("pegEnd"),
            rotation=body_quaternion("plug1"),
            constants={
                **grip(0.025, 0.05, 0.005, effort=0.8),
                # Upstream includes the bound here, and only here.
                "radius": nextafter(RADIUS, 1),
                "direction": RIGHT,
                "opened": 0.5,
                "held_reach": 0.035,
                "held_advance": 0.015,
                "grasp_advance": 0.015,
                "by_touch": 0.0,
            },
        ),
    ),
    judge,
    memory={"in_place_margin": 1, "waypoint": 3, "waypoint_margin": 1, "advance_start": 1},
    constants={
        "radius": RADIUS,
        "success_radius": 0.07,
        "waypoint_axes": OVER_WALL_AXES,
        "level_waypoint": 0.0,
        "wall": -inf,
        "direction": UP,
        "opened": 0.0,
        "held_reach": 0.02,
        "held_advance": -inf,
        "grasp_advance": 0.02,
        "passed_bonus": 1.0,
        "goal_bonus": 5.0,
        "held_grip": 0.0,
        "grip_alone": 1.0,
        "by_touch": 1.0,
    },
    grip="caging",
)
