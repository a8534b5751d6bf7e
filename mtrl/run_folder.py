"""Run folders: what a run leaves on disk, written so that a kill or a full disk at any moment harms nothing."""

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtrl.config import RunConfig
from mtrl.errors import UserError
from mtrl.goals import GoalSet
from mtrl.suites import Suite

LONGEST_NAME = 80


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk; what a failure leaves behind is removed.

    Raises:
        OSError: The disk is full, or the like.
    """
    try:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file as a whole: whoever reads it sees the old content or the new, never a part.

    Raises:
        OSError: The disk is full, or the like; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    write_durably(temporary, data)
    try:
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Waits until renames within a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """JSON of plain data; numbers that JSON does not know (NaN, infinities) become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run folder.

    Raises:
        UserError: It is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or train into another --run-folder") from error


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a jsonl file, oldest first; a last line that a kill cut short is left out.

    Raises:
        UserError: Another line is no JSON object.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line) if line.strip() else None)
        except ValueError as error:
            if number == len(lines):
                break
            raise UserError(f"{path} line {number} is damaged ({error}): remove that line") from error
    return [record for record in records if isinstance(record, dict)]


def default_run_folder(suite: str, agent: str, seed: int) -> Path:
    """`runs/SUITE/AGENT/seed-SEED`, with the suite's name made fit for a file name, the agent's without its module."""
    name = suite.replace(":", "-").replace(",", "+").replace("/", "-")
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(suite.encode()).hexdigest()[:8]}"
    return Path("runs") / name / agent.rpartition(":")[2] / f"seed-{seed}"


@dataclass(frozen=True)
class RunFolder:
    """Names of everything in a run folder; docs/run-folder.md says what each holds."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration and what the run ran on."""
        return self.path / "config.json"

    @property
    def goals(self) -> Path:
        """Goal tables."""
        return self.path / "goals.json"

    @property
    def metrics(self) -> Path:
        """Training metrics, one line an interval."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """Evaluations, one line each."""
        return self.path / "eval.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def replay(self) -> Path:
        """Folder of replay segments."""
        return self.path / "replay"

    @property
    def videos(self) -> Path:
        """Folder of videos."""
        return self.path / "videos"

    @property
    def done(self) -> Path:
        """There when the run has ended as planned."""
        return self.path / "DONE"

    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return self.config.exists()

    def is_finished(self) -> bool:
        """Whether the run has ended as planned."""
        return self.done.exists()

    def check_usable(self) -> None:
        """Makes sure that a new run can begin here.

        Raises:
            UserError: The path is a file, cannot be written, or holds something that is not a run.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            entries = [entry.name for entry in self.path.iterdir()]
        except OSError as error:
            reason = f"cannot use run folder {self.path}: {error.strerror}"
            raise UserError(f"{reason}; choose another --run-folder") from error
        strange = [name for name in entries if name != "run.lock" and not name.endswith(".tmp")]
        if strange and not self.is_run():
            reason = f"{self.path} is not empty and holds no run ({min(strange)} is there)"
            raise UserError(f"{reason}: choose another --run-folder")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for this process; the kernel lets go of it however the process ends.

        Raises:
            UserError: A live process holds it.
        """
        try:
            descriptor = os.open(self.path / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"cannot write into run folder {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise UserError(
                f"run folder {self.path} is in use by process {holder}: wait for it or end it, "
                "or choose another --run-folder"
            ) from error
        except OSError:
            pass  # a file system without locks: nothing can guard the folder there
        try:
            with suppress(OSError):  # the number is there to be read by people, and a full disk may refuse it
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def write_goals(self, goal_seed: int, tables: dict[str, dict[str, np.ndarray]]) -> None:
        """Writes goal tables: split, task, rows."""
        plain = {split: {task: rows.tolist() for task, rows in tasks.items()} for split, tasks in tables.items()}
        write_atomically(self.goals, to_json({"goal_seed": goal_seed, **plain}))

    def read_goals(self, split: str, task_names: tuple[str, ...]) -> GoalSet:
        """The goals that the run was begun with.

        Raises:
            UserError: They are missing or damaged.
        """
        document = read_json(self.goals)
        try:
            rows = tuple(np.array(document[split][task], dtype=np.float64) for task in task_names)
            if not all(table.ndim == 2 and len(table) for table in rows):
                raise ValueError("a table is empty")
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.goals} is damaged ({error!r}): restore it, or train into another folder") from error
        return GoalSet(split, rows)


def run_folder_of(config: RunConfig, suite: Suite, agent: str) -> RunFolder:
    """The folder that a configuration writes into.

    Args:
        config: The configuration.
        suite: Its suite.
        agent: What its agent is called, with the parts that its preset does not have.
    """
    if config.run_folder:
        return RunFolder(Path(config.run_folder))
    return RunFolder(default_run_folder(suite.name, agent, config.seed))
