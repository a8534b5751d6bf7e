"""Move a handle along its way: drawer-close, dial-turn, the faucets, handle-press, handle-press-side, the windows."""

import functools

import numpy as np
import torch

from mtrl.scenes.columns import Columns
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, body_quaternion, joint_position, site_position

from ..goals import GoalSpace
from .family import Family, Frame, Judgement, SawyerTask
from .measures import both, distance, near, near_either
from .sawyer import Start, Vector, sawyer_task, tcp

HIGH_HAND = np.array([0, 0.6, 0.2], np.float32)
WINDOW_HAND = np.array([0, 0.4, 0.2], np.float32)
FAUCET_HAND = (0.0, 0.4, 0.2)
DEEP = (-0.5, 0.40, -0.15)
DRAWER_FRONT = (0.0, -0.16, 0.05)
DIAL_RADIUS = 0.05
DIAL_PUSH = (0.05, 0.02, 0.09)
"""From the observed point of the dial to where it is pushed, m."""
FAUCET_RADIUS = 0.07
HANDLE_RADIUS = 0.02
WINDOW_RADIUS = 0.05
SLIDE = 0.2
"""How far a window goes, m."""


def _margins(place_gap: np.ndarray, radius: float, reach_gap: np.ndarray, reach_radius: float) -> dict[str, np.ndarray]:
    """The distances at the start beyond which rewards fall off, from `[n, axes]` m."""
    return {
        "slide_margin": np.abs(np.linalg.norm(place_gap, axis=1) - radius),
        "slide_reach_margin": np.abs(np.linalg.norm(reach_gap, axis=1) - reach_radius),
    }


def place_drawer(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A drawer, 15 cm open."""
    fingers = tcp(simulation)
    simulation.place_body("drawer", goals)
    simulation.set_joint("goal_slidey", -0.15)
    simulation.forward()
    handle = simulation.body("drawer_link") + DRAWER_FRONT
    target = goals + np.array([0.0, -0.16, 0.09])
    return {"target": target, "object_start": handle, **_margins(handle - target, 0.05, handle - fingers, 0.005)}


def place_dial(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A dial, turned as the hand's way to its start has left it; nothing is computed anew."""
    angle = simulation.qpos[:, simulation.model.joint("knob_Joint_1").qposadr[0]]
    marker = DIAL_RADIUS * np.stack((np.sin(angle), -np.cos(angle), np.zeros_like(angle)), axis=1)
    simulation.place_body("dial", goals)
    push = simulation.body("dial") + marker + DIAL_PUSH
    target = goals + np.array([0.0, 0.03, 0.03])
    margins = _margins(push - target, 0.07, push - tcp(simulation), 0.005)
    return {"target": target, "object_start": goals, **margins}


def place_faucet(simulation: Simulation, goals: np.ndarray, *, reach: float, computes: bool) -> dict[str, np.ndarray]:
    """A faucet.

    Args:
        simulation: The simulation.
        goals: `[n, 3]`, where it stands.
        reach: Where its handle shall point along x, m.
        computes: Whether positions are computed anew, which upstream does for faucet-close alone.
    """
    fingers = tcp(simulation)
    simulation.place_body("faucetBase", goals)
    if computes:
        simulation.forward()
    target = goals + np.array([reach, 0.0, 0.125])
    # Upstream measures from the faucet's foot, not from its handle.
    return {"target": target, "object_start": goals, **_margins(goals - target, FAUCET_RADIUS, goals - fingers, 0.01)}


def place_handle(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """A box with a handle that goes down."""
    fingers = tcp(simulation)
    simulation.place_body("box", goals)
    simulation.qpos[:, 9], simulation.qvel[:, 9] = -0.001, 0
    simulation.forward()
    handle, target = simulation.site("handleStart"), simulation.site("goalPress")
    margins = _margins((handle - target)[:, 2:], HANDLE_RADIUS, handle - fingers, 0.02)
    return {"target": target, "object_start": goals, **margins}


def place_window(simulation: Simulation, goals: np.ndarray, *, opens: bool) -> dict[str, np.ndarray]:
    """A window, closed or open. Nothing is computed anew: the first observation shows it as it was before."""
    simulation.place_body("window", goals)
    handle = simulation.site("handleOpenStart" if opens else "handleCloseStart")
    handle[:, 0] += 0.0 if opens else SLIDE
    simulation.set_joint("window_slide", 0.0 if opens else SLIDE)
    target = goals + np.array([SLIDE if opens else 0.0, 0.0, 0.0])
    begun = goals if opens else handle  # a quirk: the two measure from different points
    margins = _margins((begun - target)[:, :1], WINDOW_RADIUS, handle - tcp(simulation), 0.02)
    return {"target": target, "object_start": goals, **margins}


def displacement(views: Columns) -> torch.Tensor:
    """How far the point on the dial's rim has turned; zero for everything that is no dial."""
    angle = views["dial_angle"]
    return torch.stack((angle.sin(), 1 - angle.cos(), torch.zeros_like(angle)), dim=1).mul_(DIAL_RADIUS)


def judge(frame: Frame) -> Judgement:
    """Fingers at the handle and the handle at its goal."""
    constants = frame.constants
    handle = frame.object + constants["slide_shift"]
    gap = distance(handle, frame.target, constants["slide_axes"])
    in_place = near(gap, constants["slide_radius"], frame.memory("slide_margin"))
    to_handle = distance(handle.add_(constants["slide_touch"]), frame.tcp)
    reach = near_either(
        to_handle, constants["slide_reach"], frame.memory("slide_reach_margin"), constants["slide_gaussian"] > 0
    )
    # Some tasks want the fingers closed meanwhile; for the others they count as closed.
    closed = torch.maximum(frame.effort, constants["slide_any_effort"]).clamp_(0, 1)
    reach = both(reach, closed)
    reward = both(reach, in_place).mul_(constants["slide_product"])
    reward.addcmul_(constants["slide_approach"], reach).addcmul_(constants["slide_progress"], in_place)
    return Judgement(
        reward=torch.where(gap <= constants["slide_full"], 10.0, reward),
        success=gap <= constants["slide_success"],
        near_object=to_handle <= constants["slide_touches"],
        grasp_success=1.0,
        grasp_reward=reach,
        in_place=in_place,
        obj_to_target=gap,
    )


def _faucet(name: str, low: Vector, high: Vector, reach: float, site: str, shift: Vector) -> SawyerTask:
    return sawyer_task(
        name,
        "sawyer_faucet",
        goals=GoalSpace(low, high),
        start=functools.partial(place_faucet, reach=reach, computes=name == "faucet-close-v3"),
        object=site_position(site),
        offset=(0.0, 0.0, -0.01),
        rotation=body_quaternion("faucetBase"),
        hand_low=DEEP,
        hand_start=FAUCET_HAND,
        constants={
            "slide_shift": shift,
            "slide_radius": FAUCET_RADIUS,
            "slide_success": FAUCET_RADIUS,
            "slide_full": FAUCET_RADIUS,
            "slide_reach": 0.01,
            "slide_touches": 0.01,
            "slide_product": 0.0,
            "slide_approach": 4.0,
            "slide_progress": 6.0,
        },
    )


def _along(
    name: str,
    xml: str,
    low: Vector,
    high: Vector,
    start: Start,
    site: str,
    hand: np.ndarray,
    axes: Vector,
    **slide: float,
) -> SawyerTask:
    """A task whose handle moves along one axis, without an observed orientation."""
    constants = {f"slide_{key}": value for key, value in slide.items()}
    return sawyer_task(
        name,
        xml,
        goals=GoalSpace(low, high),
        start=start,
        object=site_position(site),
        hand_start=hand,
        constants={"slide_axes": axes, "slide_success": slide["radius"], **constants},
    )


_handle = functools.partial(
    _along,
    start=place_handle,
    site="handleStart",
    hand=np.array([0, 0.6, 0.2]),
    axes=(0.0, 0.0, 1.0),
    radius=HANDLE_RADIUS,
    full=HANDLE_RADIUS,
    gaussian=0.0,
)
_window = functools.partial(
    _along, xml="sawyer_window_horizontal", hand=WINDOW_HAND, axes=(1.0, 0.0, 0.0), radius=WINDOW_RADIUS
)

FAMILY = Family(
    "slides",
    (
        sawyer_task(
            "drawer-close-v3",
            "sawyer_drawer",
            goals=GoalSpace((-0.1, 0.9, 0.0), (0.1, 0.9, 0.0)),
            start=place_drawer,
            object=body_position("drawer_link"),
            offset=DRAWER_FRONT,
            hand_start=HIGH_HAND,
            constants={
                "slide_radius": 0.05,
                "slide_success": 0.05 + 0.015,
                "slide_full": 0.05 + 0.015,
                "slide_reach": 0.005,
                "slide_touches": 0.01,
                "slide_any_effort": 0.0,
            },
        ),
        sawyer_task(
            "dial-turn-v3",
            "sawyer_dial",
            goals=GoalSpace((-0.1, 0.7, 0.0), (0.1, 0.8, 0.0)),
            start=place_dial,
            object=body_position("dial"),
            offset=(0.0, -DIAL_RADIUS, 0.0),
            rotation=body_quaternion("dial"),
            hand_start=HIGH_HAND,
            views={"dial_angle": joint_position("knob_Joint_1")},
            constants={
                "slide_touch": DIAL_PUSH,
                "slide_radius": 0.07,
                "slide_success": 0.07,
                "slide_reach": 0.005,
                "slide_touches": 0.01,
                "slide_any_effort": 0.0,
            },
        ),
        # A quirk: only faucet-open aims at a point beside the observed one.
        _faucet("faucet-open-v3", (-0.05, 0.8, 0.0), (0.05, 0.85, 0.0), 0.175, "handleStartOpen", (-0.04, 0.0, 0.03)),
        _faucet("faucet-close-v3", (-0.1, 0.8, 0.0), (0.1, 0.85, 0.0), -0.175, "handleStartClose", (0.0, 0.0, 0.0)),
        _handle("handle-press-v3", "sawyer_handle_press", (-0.1, 0.8, -0.001), (0.1, 0.9, 0.001)),
        _handle("handle-press-side-v3", "sawyer_handle_press_sideways", (-0.35, 0.65, -0.001), (-0.25, 0.75, 0.001)),
        _window(
            "window-open-v3",
            low=(-0.1, 0.7, 0.16),
            high=(0.1, 0.9, 0.16),
            start=functools.partial(place_window, opens=True),
            site="handleOpenStart",
            gaussian=0.0,
        ),
        _window(
            "window-close-v3",
            low=(0.0, 0.75, 0.2),
            high=(0.0, 0.9, 0.2),
            start=functools.partial(place_window, opens=False),
            site="handleCloseStart",
        ),
    ),
    judge,
    views={"dial_angle": 1},
    memory={"slide_margin": 1, "slide_reach_margin": 1},
    constants={
        "slide_shift": (0.0, 0.0, 0.0),
        "slide_touch": (0.0, 0.0, 0.0),
        "slide_axes": (1.0, 1.0, 1.0),
        "slide_radius": 0.05,
        "slide_success": 0.05,
        "slide_full": -1.0,
        "slide_reach": 0.02,
        "slide_touches": 0.05,
        "slide_gaussian": 1.0,
        "slide_any_effort": 1.0,
        "slide_product": 10.0,
        "slide_approach": 0.0,
        "slide_progress": 0.0,
    },
    displace=displacement,
)
