# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Finding views in MuJoCo's arrays."""

from collections.abc import Callable, Mapping

import mujoco
import numpy as np

from mtrl.errors import UserError
from mtrl.scenes.scene import PHANTOM
from mtrl.scenes.task import View

_KINDS = {
    "xpos": mujoco.mjtObj.mjOBJ_BODY,
    "xquat": mujoco.mjtObj.mjOBJ_BODY,
    "xmat": mujoco.mjtObj.mjOBJ_BODY,
    "site_xpos": mujoco.mjtObj.mjOBJ_SITE,
    "site_xmat": mujoco.mjtObj.mjOBJ_SITE,
    "geom_xpos": mujoco.mjtObj.mjOBJ_GEOM,
    "geom_xmat": mujoco.mjtObj.mjOBJ_GEOM,
    "qpos": mujoco.mjtObj.mjOBJ_JOINT,
    "qvel": mujoco.mjtObj.mjOBJ_JOINT,
    "sensordata": mujoco.mjtObj.mjOBJ_SENSOR,
}
_WORDS = {
    mujoco.mjtObj.mjOBJ_BODY: "body",
    mujoco.mjtObj.mjOBJ_SITE: "site",
    mujoco.mjtObj.mjOBJ_GEOM: "geom",
    mujoco.mjtObj.mjOBJ_JOINT: "joint",
    mujoco.mjtObj.mjOBJ_SENSOR: "sensor",
}


def locate(model: mujoco.MjModel, view: View) -> tuple[str, int]:
    """The array of a view, and its first number in a flat row of it.

    A geom that the model lacks may have left a phantom, a site in its place (see `Scene.phantoms`).

    Raises:
        UserError: The model has no such thing, or views cannot read that array.
    """
    if view.field not in _KINDS:
        raise UserError(f"no view can read '{view.field}': use one of {', '.join(_KINDS)}")
    kind = _KINDS[view.field]
    index = mujoco.mj_name2id(model, kind, view.name)
    if index < 0 and kind == mujoco.mjtObj.mjOBJ_GEOM:
        index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, PHANTOM + view.name)
        if index >= 0:
            return view.field.replace("geom", "site"), index * view.width
    if index < 0:
        names = [mujoco.mj_id2name(model, kind, i) for i in range(_count(model, kind))]
        known = ", ".join(name for name in names if name)
        raise UserError(f"the scene has no {_WORDS[kind]} '{view.name}', which a view reads: it has {known}")
    return view.field, _address(model, view, index)


def _count(model: mujoco.MjModel, kind: mujoco.mjtObj) -> int:
    return {"body": model.nbody, "site": model.nsite, "geom": model.ngeom, "joint": model.njnt}.get(
        _WORDS[kind], model.nsensor
    )


def _address(model: mujoco.MjModel, view: View, index: int) -> int:
    if view.field == "qpos":
        start, room = int(model.jnt_qposadr[index]), (7, 4, 1, 1)[model.jnt_type[index]]
    elif view.field == "qvel":
        start, room = int(model.jnt_dofadr[index]), (6, 3, 1, 1)[model.jnt_type[index]]
    elif view.field == "sensordata":
        start, room = int(model.sensor_adr[index]), int(model.sensor_dim[index])
    else:
        return index * view.width
    if view.width > room:
        raise UserError(f"view of '{view.name}' takes {view.width} numbers, but there are {room}: give a smaller width")
    return start


def copies(
    model: mujoco.MjModel,
    views: Mapping[str, View],
    spans: Callable[[str], tuple[int, int]],
    rows_of: Callable[[str], np.ndarray],
    target: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of views into arrays, `(target, source)`: copying each brings the target up to date.

    Args:
        model: The model.
        views: What to read, by name.
        spans: First column of a name in the target, and the one after its last.
        rows_of: The rows of one of MuJoCo's arrays, `[world, ...]`.
        target: `[world, total]`.
    """
    runs: list[list] = []
    for name, view in sorted(views.items(), key=lambda entry: spans(entry[0])):
        array, source = locate(model, view)
        start, stop = spans(name)
        last = runs[-1] if runs else None
        if last and last[0] == array and last[1] + last[3] - last[2] == source and last[3] == start:
            last[3] = stop  # neighbours here and there: one copy for both
        else:
            runs.append([array, source, start, stop])
    pairs = []
    for array, source, start, stop in runs:
        rows = rows_of(array)
        flat = rows.reshape(len(rows), -1)
        pairs.append((target[:, start:stop], flat[:, source : source + stop - start]))
    return pairs


def read(
    model: mujoco.MjModel,
    views: Mapping[str, View],
    spans: Callable[[str], tuple[int, int]],
    rows_of: Callable[[str], np.ndarray],
    target: np.ndarray,
) -> None:
    """Reads views once; the parameters are those of `copies`."""
    for place, source in copies(model, views, spans, rows_of, target):
        np.copyto(place, source)
