# pyright: reportGeneralTypeIssues=false, reportInvalidTypeForm=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportOperatorIssue=false, reportAttributeAccessIssue=false
# ruff: noqa: ANN201, RUF046, UP018
# Warp compiles these functions; their annotations are its own.
"""Mends collisions of mujoco_warp 4.0.0 that fail in single precision, which MuJoCo's double precision does not know.

Both befall a cylinder that stands on a table. The search for a point in both geoms ends undecided, and the contact is
missing: one of fifteen where the cylinder leans by 3 mrad. And as the direction of a shallow contact is mostly noise,
the table's side may be taken for the face that the cylinder stands on: once in 20,000 contacts of less than 0.1 mm one
is 0.3 to 0.8 m deep, and the cylinder flies off.
"""

import functools
import inspect

import warp
from mujoco_warp._src import collision_convex, collision_gjk
from mujoco_warp._src.collision_primitive import Geom
from mujoco_warp._src.types import GeomType

from mtrl.logger.console import warn

wp = warp
TOUCHING = 1e-7
"""Taken from the margin of every geom, m. What touches exactly, like a plate that slides on a table and cannot be
lifted, does not collide in MuJoCo; rounded to single precision it overlaps by some 1e-8 m, and friction brakes it."""
ATTEMPTS = 7
"""Starts of the search for a common point: as mujoco_warp does, then from six sides."""
UNDECIDED = wp.constant(1e-3)
"""Distance, m, below which a search that proves neither a gap nor an overlap is repeated; it is off by 2e-4 at most."""
NEAR = wp.constant(3.0)
"""What counts as near to a cylinder, in proportion to the radius around it."""
DEEPER = wp.constant(5e-3)
"""Contacts of a patch that are deeper than the deepest point by more than this, m, are of wrong faces."""

_search = collision_gjk.gjk_phase
_patch = collision_gjk.multicontact
_PARAMETERS = {
    "gjk_phase": "tolerance cutoff gjk_iterations geom1 geom2 geomtype1 geomtype2 x_1 x_2",
    "multicontact": "polygon clipped plane_normal plane_dist idx1 idx2 n1 n2 endvert face1 face2 epa_vert "
    "epa_vert_index epa_face x1 x2 geom1 geom2 geomtype1 geomtype2",
}
"""What the functions that are replaced take."""


@functools.cache
def mend() -> bool:
    """Replaces functions of mujoco_warp, for models that are made from now on; returns whether it could.

    Another version may have other functions; it is left as it is, with a warning.
    """
    for name, expected in _PARAMETERS.items():
        function = getattr(collision_gjk, name, None)
        if function is None or list(inspect.signature(function.func).parameters) != expected.split():
            warn("collisions are mended for mujoco-warp 4.0.0 alone: install that, or mistrust those of cylinders")
            return False
    collision_convex.gjk_phase = find_overlap
    collision_convex.multicontact = find_patch
    return True


@wp.func
def side(number: int, frame: wp.mat33):
    """One of the six axes of a frame."""
    axis = frame[:, number % 3]
    if number > 2:
        axis = -axis
    return axis


@wp.func
def near_part(box: Geom, center: wp.vec3, reach: float):
    """The part of a box that is within `reach` of a point along each of its axes; there must be some."""
    local = wp.transpose(box.rot) @ (center - box.pos)
    middle = wp.vec3()
    half = wp.vec3()
    for axis in range(3):
        low = wp.max(-box.size[axis], local[axis] - reach)
        high = wp.min(box.size[axis], local[axis] + reach)
        middle[axis] = 0.5 * (low + high)
        half[axis] = 0.5 * (high - low)
    box.pos = box.pos + box.rot @ middle
    box.size = half
    return box


@wp.func
def find_overlap(
    tolerance: float,
    cutoff: float,
    gjk_iterations: int,
    geom1: Geom,
    geom2: Geom,
    geomtype1: int,
    geomtype2: int,
    x_1: wp.vec3,
    x_2: wp.vec3,
):
    """mujoco_warp's `gjk_phase`, begun anew from other sides while it ends undecided.

    What is far away is rounded most: beside a cylinder, a box is then cut down to what is near.
    """
    overlap = bool(False)
    dist = float(0.0)
    count = int(0)
    witness1 = wp.vec3()
    witness2 = wp.vec3()
    result = collision_gjk.GJKResult()
    start = x_1
    end = x_2
    attempt = int(0)
    unfinished = bool(True)
    while unfinished:
        overlap, dist, count, witness1, witness2, result, geom1, geom2 = _search(
            tolerance, cutoff, gjk_iterations, geom1, geom2, geomtype1, geomtype2, start, end
        )
        attempt += 1
        # With a margin, what is close is a contact all the same.
        unfinished = (
            attempt < wp.static(ATTEMPTS) and not overlap and dist >= 0.0 and dist < UNDECIDED and geom1.margin <= 0.0
        )
        if unfinished:
            start = side(attempt - 1, geom2.rot)
            end = wp.vec3()
            if attempt == 1 and geomtype1 == int(GeomType.CYLINDER) and geomtype2 == int(GeomType.BOX):
                geom2 = near_part(geom2, geom1.pos, NEAR * wp.length(geom1.size))
    return overlap, dist, count, witness1, witness2, result, geom1, geom2


@wp.func
def find_patch(
    polygon: wp.array(dtype=wp.vec3),
    clipped: wp.array(dtype=wp.vec3),
    plane_normal: wp.array(dtype=wp.vec3),
    plane_dist: wp.array(dtype=float),
    idx1: wp.array(dtype=int),
    idx2: wp.array(dtype=int),
    n1: wp.array(dtype=wp.vec3),
    n2: wp.array(dtype=wp.vec3),
    endvert: wp.array(dtype=wp.vec3),
    face1: wp.array(dtype=wp.vec3),
    face2: wp.array(dtype=wp.vec3),
    epa_vert: wp.array(dtype=wp.vec3),
    epa_vert_index: wp.array(dtype=int),
    epa_face: int,
    x1: wp.vec3,
    x2: wp.vec3,
    geom1: Geom,
    geom2: Geom,
    geomtype1: int,
    geomtype2: int,
):
    """mujoco_warp's `multicontact`; a patch that is far deeper than its deepest point gives way to that point."""
    count, witness1, witness2, dists = _patch(
        polygon,
        clipped,
        plane_normal,
        plane_dist,
        idx1,
        idx2,
        n1,
        n2,
        endvert,
        face1,
        face2,
        epa_vert,
        epa_vert_index,
        epa_face,
        x1,
        x2,
        geom1,
        geom2,
        geomtype1,
        geomtype2,
    )
    if wp.min(dists) < -wp.length(x2 - x1) - DEEPER:
        count = 1
        witness1[0] = x1
        witness2[0] = x2
    return count, witness1, witness2, dists
