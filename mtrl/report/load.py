"""Reads run folders as they are: finished, still training, torn by a kill, or damaged.

What cannot be read is left out with one warning line that names the file and the remedy; nothing here raises for it.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from mtrl.errors import UserError

FIXED_POLICIES = ("zero", "random", "repeat")
"""Agents that do not learn: floors that the others are measured against."""
TRAINING_POINTS = 120
"""Points kept of a run's training metrics; the lines between are averaged."""

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one run.

    Attributes:
        protocol: Such as `A-eval`.
        final: Whether it played all goals when training had ended.
        steps: Environment steps a task that the agent had trained for.
        wall_s: Seconds of training until then.
        cpu_s: Seconds that the training process's threads worked in them.
        updates: Gradient updates until then.
        goal_set: `train` or `heldout`.
        mode: Whether the most likely action was taken.
        control: Whether an agent that adapts was given something else to learn from than its goal.
        success_any: Task to `[goal]` success at any step, by goal index; the mean where a goal was repeated.
        success_end: The same for success at the last step.
        adaptation: Of agents that adapt, `success_any` and `success_end` to their mean over tasks in the first, second
            ... episode of the trials; otherwise empty.
    """

    protocol: str
    final: bool
    steps: float
    wall_s: float
    goal_set: str
    mode: bool
    success_any: dict[str, Float64[np.ndarray, " goal"]]
    success_end: dict[str, Float64[np.ndarray, " goal"]]
    cpu_s: float = 0.0
    updates: int = 0
    control: bool = False
    adaptation: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What every figure carries: protocol letter and steps a task."""
        return f"{self.protocol}, {format_steps(self.steps)} steps/task"

    @property
    def signature(self) -> tuple[tuple[str, int], ...]:
        """Tasks and how many goals of each were played."""
        return tuple(sorted((task, len(goals)) for task, goals in self.success_any.items()))


@dataclass(frozen=True)
class TrainingPoint:
    """Success while training, with exploration: `tasks` maps to None where no episode had ended."""

    steps: float
    wall_s: float
    success: float | None
    tasks: dict[str, float | None]


@dataclass(frozen=True)
class RunSummary:
    """What the dashboard knows of one run folder.

    Attributes:
        folder: The run folder.
        record: All of `config.json`.
        evaluations: In the order of `eval.jsonl`.
        training: Thinned training metrics.
        videos: Files in `videos/`.
        finished: Whether `DONE` is there.
        spent: Seconds of setting up, training and evaluations, once it is.
    """

    folder: Path
    record: dict[str, Any]
    evaluations: tuple[Evaluation, ...]
    training: tuple[TrainingPoint, ...]
    videos: tuple[Path, ...]
    finished: bool
    spent: dict[str, float] | None = None

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return str(self.record["agent"])

    @property
    def config(self) -> dict[str, Any]:
        """The run's configuration."""
        return self.record["config"]

    @property
    def suite(self) -> str:
        """Name of the suite."""
        return str(self.record["suite"]["name"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.config.get("seed", 0))

    @property
    def fixed_policy(self) -> bool:
        """Whether this is a floor: a policy that was evaluated and never trained."""
        return self.agent in FIXED_POLICIES or (bool(self.evaluations) and self.steps == 0)

    @property
    def steps(self) -> float:
        """Environment steps a task that are known of."""
        points = [*self.evaluations, *self.training]
        return max((point.steps for point in points), default=0.0)


def print_warning(line: str) -> None:
    """Writes a warning line to the terminal."""
    print(f"warning: {line}", file=sys.stderr)


def load_runs(paths: Sequence[str | Path], warn: Warn = print_warning) -> list[RunSummary]:
    """All runs in some folders and below.

    Args:
        paths: Run folders, or folders that hold some at any depth.
        warn: Is given a line for each file that cannot be read.

    Raises:
        UserError: A path is not a folder.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        if not Path(path).is_dir():
            raise UserError(f"no folder '{path}' to compare: give the folder that runs were written to, such as runs/")
        for folder in _run_folders(Path(path), warn):
            folders.setdefault(folder.resolve(), None)
    runs = (_load_run(folder, warn) for folder in folders)
    return [run for run in runs if run is not None]


def _run_folders(top: Path, warn: Warn) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        warn(f"{error.filename}: cannot be read ({error.strerror}): mend its permissions; left out")

    seen: set[str] = set()
    for folder, below, files in os.walk(top, onerror=unreadable, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # A link that leads back up.
            below.clear()
            continue
        seen.add(real)
        if "config.json" in files:
            below.clear()  # What is below belongs to this run (checkpoints, trackers' files).
            yield Path(folder)
        below.sort()


def _load_run(folder: Path, warn: Warn) -> RunSummary | None:
    path = folder / "config.json"
    record: dict[str, Any] = {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        complete = all(isinstance(record[name], kind) for name, kind in _RECORD.items())
        complete = complete and isinstance(record["suite"]["name"], str)
        int(record["config"].get("seed", 0))
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        warn(f"{path}: not the record of a run: restore it from a copy or delete the folder; left out")
        return None
    videos = tuple(sorted(path for path in (folder / "videos").glob("*.mp4") if path.is_file()))
    evaluations = tuple(_read(folder / "eval.jsonl", _evaluation, warn))
    training = _thin(list(_read(folder / "metrics.jsonl", _training_point, warn)))
    done = folder / "DONE"
    return RunSummary(folder, record, evaluations, tuple(training), videos, done.exists(), _spent(done))


def _spent(done: Path) -> dict[str, float] | None:
    """Where the time of a finished run went; None where it does not say so."""
    try:
        record = json.loads(done.read_text())
        return {name: _number(record[f"{name}_s"]) for name in ("setup", "wall", "evaluation")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


_RECORD = {"config": dict, "agent": str, "suite": dict}
"""What `config.json` must hold to be of use."""


def _read(path: Path, parse: Callable[[dict[str, Any]], Any], warn: Warn) -> Iterator[Any]:
    """Parsed lines of a jsonl file; one warning a file at most, and none for a last line that is being written."""
    damaged = 0
    first = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield parse(json.loads(line))
                except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                    if not line.endswith(b"\n"):
                        continue  # Torn: the run is writing it, or was killed while it did.
                    damaged, first = damaged + 1, first or number
    except FileNotFoundError:
        return
    except OSError as error:
        warn(f"{path}: cannot be read ({error.strerror}): mend its permissions or restore it; left out")
    if damaged:
        lines = f"line {first} is" if damaged == 1 else f"{damaged} lines are, the first of them line {first},"
        warn(f"{path}: {lines} damaged and left out: restore the file from a copy, or evaluate again with `mtrl eval`")


def _number(value: Any, low: float = 0.0, high: float = math.inf) -> float:
    if isinstance(value, str | bytes) or value is None:
        raise ValueError("not a number")
    number = float(value)
    if not (math.isfinite(number) and low <= number <= high):
        raise ValueError("out of range")
    return number


def _evaluation(entry: dict[str, Any]) -> Evaluation:
    """An evaluation from its episodes, which are the truth that its summary repeats.

    Raises:
        ValueError: No episodes, or a number is out of range.
    """
    outcomes: dict[str, dict[str, dict[int, list[float]]]] = {"success_any": {}, "success_end": {}}
    adapting = int(_number(entry.get("adapting", 0)))
    for episode in entry["episodes"]:
        if int(_number(episode.get("number", 0))) < adapting:
            continue
        for name, tasks in outcomes.items():
            goals = tasks.setdefault(str(episode["task"]), {})
            goals.setdefault(int(episode["goal"]), []).append(_number(episode[name], high=1.0))
    if not outcomes["success_any"]:
        raise ValueError("no episodes")
    by_goal = {
        name: {task: np.array([np.mean(goals[goal]) for goal in sorted(goals)]) for task, goals in tasks.items()}
        for name, tasks in outcomes.items()
    }
    return Evaluation(
        protocol=str(entry["protocol"]),
        final=bool(entry["final"]),
        steps=_number(entry["steps_per_task"]),
        wall_s=_number(entry["wall_s"]),
        goal_set=str(entry["goal_set"]),
        mode=bool(entry.get("mode", True)),
        cpu_s=_number(entry.get("cpu_s", 0.0)),
        updates=int(_number(entry.get("updates", 0))),
        control=str(entry.get("context", "own")) != "own",
        adaptation=_adaptation(entry["episodes"]) if adapting else {},
        **by_goal,
    )


def _adaptation(episodes: Sequence[dict[str, Any]]) -> dict[str, tuple[float, ...]]:
    """See `Evaluation.adaptation`."""
    found: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for episode in episodes:
        found.setdefault(int(episode.get("number", 0)), {}).setdefault(str(episode["task"]), []).append(episode)
    return {
        name: tuple(
            float(np.mean([np.mean([_number(one[name], high=1.0) for one in own]) for own in found[number].values()]))
            for number in sorted(found)
        )
        for name in ("success_any", "success_end")
    }


def format_steps(steps: float) -> str:
    """Steps to three digits with a unit: `2 M`, `250 k`, `800`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if float(f"{steps:.3g}") >= size:
            return f"{steps / size:.3g} {unit}"
    return f"{steps:.3g}"


def _training_point(entry: dict[str, Any]) -> TrainingPoint | None:
    """A line of metrics, or None where it holds no success."""
    prefix = "train/success"
    if prefix not in entry:
        return None
    tasks = {
        name[len(prefix) + 1 :]: None if value is None else _number(value, high=1.0)
        for name, value in entry.items()
        if name.startswith(prefix + "/")
    }
    success = None if entry[prefix] is None else _number(entry[prefix], high=1.0)
    return TrainingPoint(_number(entry["steps_per_task"]), _number(entry["wall_s"]), success, tasks)


def _thin(points: Sequence[TrainingPoint | None]) -> list[TrainingPoint]:
    """Averages neighbouring points so that at most `TRAINING_POINTS` are left, each at its last step."""
    known = [point for point in points if point is not None]
    size = max(1, math.ceil(len(known) / TRAINING_POINTS))
    thinned = []
    for start in range(0, len(known), size):
        group = known[start : start + size]
        tasks = {task: _mean([point.tasks.get(task) for point in group]) for task in group[-1].tasks}
        success = _mean([point.success for point in group])
        thinned.append(TrainingPoint(group[-1].steps, group[-1].wall_s, success, tasks))
    return thinned


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
