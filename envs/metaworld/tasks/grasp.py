"""Rewards for a grasp: the shared one of upstream's base class, and that of the tasks which look at the live pads."""

from collections.abc import Mapping

import torch

from mtrl.scenes.columns import Columns
from mtrl.scenes.task import Layout

from .measures import both, near

CAGED = 0.97
"""How well an object must be caged before closing the gripper counts."""
CAGED_BY_PADS = 0.95
"""How well before the nearness of the pads counts."""
DENSITIES = {"none": (1.0, 0.0, 0.0), "high": (0.5, 0.5, 0.0), "medium": (0.5, 0.0, 0.5)}
"""Weights of grip, cage and reach: upstream's `high_density` and `medium_density`."""
PAD_BOUND = 0.05
"""Greatest distance of a pad that counts as caging, in the tasks with live pads, m."""


def grip(
    radius: float,
    pad: float,
    xz: float,
    *,
    reach: float = 0.01,
    effort: float = 1.0,
    density: str = "high",
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0),
    handle_half: float = 0.0,
) -> dict[str, float | tuple[float, ...]]:
    """Constants of a task whose family has the grip `caging`.

    Args:
        radius: Upstream's `obj_radius`, m.
        pad: `pad_success_thresh`, m.
        xz: `xz_thresh`, m.
        reach: `object_reach_radius`, m.
        effort: `desired_gripper_effort`.
        density: `high`, `medium` or `none`.
        offset: From the observed object to the point that is gripped, m.
        handle_half: Half the length of a handle along x: within it, the hand may grip anywhere, m.
    """
    return {
        "grip_radius": radius,
        "grip_pad": pad,
        "grip_xz": xz,
        "grip_reach": reach,
        "grip_effort": effort,
        "grip_density": DENSITIES[density],
        "grip_offset": offset,
        "handle_half": handle_half,
    }


def live_grip(radius: float, margin: float | None, xz: float) -> dict[str, float | tuple[float, ...]]:
    """Constants of a task whose family has the grip `live pads`.

    Args:
        radius: Upstream's `obj_radius`, m.
        margin: By how much a pad may be farther and still grip, m; None where the effort of closing the gripper counts
            instead.
        xz: `x_z_success_margin`, m.
    """
    return {
        "grip_radius": radius,
        "grip_bounds": (PAD_BOUND, radius + (margin or 0.0)),
        "grip_by_effort": float(margin is None),
        "grip_caged": CAGED if margin is None else CAGED_BY_PADS,
        "grip_xz": xz,
    }


def caging_constants(layout: Layout) -> dict[str, torch.Tensor]:
    """Constants of both kinds of grip, for worlds of any family.

    `grip_lower` and `grip_upper` bound what `caging` measures: the distances of the left and the right pad along y, of
    the fingers in x and z, and of the fingers. `grip_axes` are the axes of the last two.
    """
    defaults = {**grip(0.015, 0.05, 0.005), **live_grip(0.015, None, 0.005)}
    table = {name: layout.constant(name, value) for name, value in defaults.items()}
    radius, pad, zero = table["grip_radius"], table["grip_pad"], torch.zeros_like(table["grip_pad"])
    table["grip_lower"] = torch.stack((radius, radius, zero, zero), dim=1)
    table["grip_upper"] = torch.stack((pad, pad, table["grip_xz"], table["grip_reach"]), dim=1)
    table["grip_axes"] = layout.constant("grip_axes", (1.0, 0.0, 1.0, 1.0, 1.0, 1.0)).view(-1, 2, 3)
    return table


def remember(memory: Columns, constants: Mapping[str, torch.Tensor]) -> None:
    """Computes what the grasp rewards need of the start, once an episode: `grip_margins`, in x and z, and of reach."""
    gaps = _gaps(memory["grip_start"], memory["tcp_start"], constants)
    margins = torch.sub(gaps, constants["grip_upper"][:, 2:], out=memory["grip_margins"])
    margins[:, 1].abs_()


def _gaps(a: torch.Tensor, b: torch.Tensor, constants: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """How far two points are apart in x and z, and altogether, `[world, 2]`."""
    return torch.linalg.vector_norm((a - b).unsqueeze(1) * constants["grip_axes"], dim=-1)


def _pads(views: Columns) -> torch.Tensor:
    """Where the left and the right pad are along y, `[world, 2]`."""
    return torch.stack((views["left_pad"][:, 1], views["right_pad"][:, 1]), dim=1)


def _caged_xz(
    tcp: torch.Tensor, point: torch.Tensor, memory: Columns, constants: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    gap = torch.linalg.vector_norm(tcp[:, ::2] - point[:, ::2], dim=-1)
    return near(gap, constants["grip_xz"], memory["grip_margins"][:, 0])


def caging(views: Columns, memory: Columns, work: Columns, constants: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Upstream's `_gripper_caging_reward`, `[world]`."""
    hand, point = work["hand"], work["object"] + constants["grip_offset"]
    on_handle = (point[:, 0] - hand[:, 0]).abs_() < constants["handle_half"]
    point[:, 0] = torch.where(on_handle, hand[:, 0], point[:, 0])
    pads, upper = _pads(views), constants["grip_upper"]
    # A pad's margin moves with it and with the object's start: far from its start an object is caged more easily.
    margins = ((pads - memory["grip_start"][:, 1:2]).abs_() - upper[:, :2]).abs_()
    nearness = near(
        torch.cat(((pads - point[:, 1:2]).abs_(), _gaps(point, work["tcp"], constants)), dim=1),
        upper,
        torch.cat((margins, memory["grip_margins"]), dim=1),
        lower=constants["grip_lower"],
    )
    left, right, level, reach = nearness.unbind(1)
    cage = both(both(left, right), level)
    closed = torch.minimum(work["effort"].clamp(min=0), constants["grip_effort"]).div_(constants["grip_effort"])
    held = both(cage, torch.where(cage > CAGED, closed, 0.0))
    return (torch.stack((held, cage, reach), dim=1) * constants["grip_density"]).sum(1)


def live_caging(views: Columns, memory: Columns, work: Columns, constants: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The form of pick-place, push-back, soccer, sweep and sweep-into, `[world]`.

    Upstream means to compare with the pads' first positions, but keeps views of MuJoCo's arrays: so it compares with
    the current ones, and so does this.
    """
    point, effort = work["object"], work["effort"].clamp(0, 1)
    offsets = _pads(views) - point[:, 1:2]
    margin = (offsets.abs() - PAD_BOUND).abs_()
    offsets[:, 1].neg_()  # how far each pad is on its own side of the object
    # `[world, bound, side]`: near enough to cage, and to grip.
    sides = near(
        offsets.unsqueeze(1),
        constants["grip_bounds"].unsqueeze(2),
        margin.unsqueeze(1),
        lower=constants["grip_radius"].view(-1, 1, 1),
    )
    caged, gripped = both(sides[:, :, 0], sides[:, :, 1]).unbind(1)
    cage = both(caged, _caged_xz(work["tcp"], point, memory, constants))
    gripped = torch.where(constants["grip_by_effort"] > 0, both(cage, effort), gripped)
    return torch.where(cage > constants["grip_caged"], gripped, 0.0).add_(cage).div_(2)
