# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""The reset bank: starts of every task and goal, made once and kept on disk."""

import hashlib
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import mujoco
import numpy as np
from tqdm import tqdm

from mtrl.plain_types import GoalRows
from mtrl.scenes import columns, reading, scene, simulation, snapshots
from mtrl.scenes import task as declarations
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.snapshots import Snapshots, make_snapshots
from mtrl.scenes.task import SceneTask

FORMAT = "1"
MANY = 5
"""Parts whose preparation takes long enough to say so where no progress bar can be drawn."""
_MACHINERY = (columns, reading, scene, simulation, snapshots, declarations)


def cache_folder() -> Path:
    """Where starts are kept: `$MTRL_CACHE`, else `mtrl` in the user's cache folder."""
    chosen = os.environ.get("MTRL_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mtrl"


def load_snapshots(tasks: Sequence[SceneTask], goals: Sequence[GoalRows], threads: int = 1) -> list[Snapshots]:
    """The starts of some tasks: from the cache where they are there, else made and put there.

    What is made depends on MuJoCo's version, the machine's kind, the compiled scene, the task's code and constants and
    the goals; the name of the file is a hash of all that. A damaged file is made anew, with a warning.

    Args:
        tasks: Tasks.
        goals: A table of goals for each, `[goal_index, goal]`.
        threads: Threads that make what is missing.
    """
    paths = [_path(task, rows) for task, rows in zip(tasks, goals, strict=True)]
    found = [path and _read(path, len(rows)) for path, rows in zip(paths, goals, strict=True)]
    missing = [number for number, starts in enumerate(found) if starts is None]
    if not missing:
        return found  # pyright: ignore[reportReturnType] - none is None
    title = f"Preparing the starts of {len(missing)} task{'s' * (len(missing) > 1)}"
    if len(missing) >= MANY and not sys.stderr.isatty():
        print(f"{title} ...", file=sys.stderr)
    for number in tqdm(missing, desc=title, unit="task", file=sys.stderr, disable=None, leave=False):
        starts = found[number] = make_snapshots(tasks[number], goals[number], threads)
        if (path := paths[number]) is not None:
            _write(path, starts)
    return found  # pyright: ignore[reportReturnType] - none is None any more


def _path(task: SceneTask, goals: GoalRows) -> Path | None:
    """Where a task's starts are kept; None where they are not. The name is a hash of everything they depend on."""
    sources = task.rules.sources()
    if sources is None:
        return None
    digest = hashlib.sha256()
    words = (FORMAT, mujoco.__version__, platform.machine(), task.name, task.frame_skip, sorted(task.constants.items()))
    digest.update(repr((*words, sorted(task.views.items()), sorted(task.rules.memory.items()))).encode())
    machinery = [Path(module.__file__) for module in _MACHINERY if module.__file__]
    for path in sorted({*machinery, *sources}):
        digest.update(path.read_bytes())
    digest.update(_model_bytes(stripped_model(task.scene)).tobytes())
    digest.update(np.ascontiguousarray(goals).tobytes())
    return cache_folder() / f"{task.name.replace('/', '-')}-{digest.hexdigest()[:24]}.npz"


def _model_bytes(model: mujoco.MjModel) -> np.ndarray:
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer


def _checksum(arrays: dict[str, np.ndarray]) -> np.ndarray:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _read(path: Path, count: int) -> Snapshots | None:
    """What a file of the cache holds; None where there is none, or a damaged one."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {field.name: stored[field.name] for field in fields(Snapshots)}
            intact = np.array_equal(stored["checksum"], _checksum(arrays)) and len(arrays["state"]) == count
    except Exception:  # noqa: BLE001 - a damaged archive fails in many ways
        intact, arrays = False, {}
    if not intact:
        warnings.warn(f"the cached starts in {path} are damaged and are made anew", stacklevel=2)
        return None
    return Snapshots(**arrays)


def _write(path: Path, starts: Snapshots) -> None:
    """Puts starts into the cache, whole or not at all; a folder that cannot be written to costs time, nothing else."""
    arrays = {field.name: getattr(starts, field.name) for field in fields(Snapshots)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: runs that are started together make the same starts.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
            whole = Path(folder) / path.name
            np.savez(whole, **arrays, checksum=_checksum(arrays))
            os.replace(whole, path)
    except OSError as error:
        warnings.warn(f"cannot keep starts in {path.parent} ({error}): set MTRL_CACHE to another folder", stacklevel=2)
