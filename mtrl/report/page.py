"""Writes the dashboard: one HTML page that holds its data, its script and its plotting library, and loads nothing."""

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mtrl import __version__
from mtrl.errors import UserError
from mtrl.report.comparisons import (
    METRICS,
    Comparison,
    SuiteRuns,
    configuration_differences,
    group_runs,
    improvement_table,
    interval_table,
    short,
)
from mtrl.report.load import Evaluation, RunSummary, Warn, print_warning
from mtrl.run_folder import write_atomically

LARGEST_VIDEO = 3_000_000
"""Bytes of a video file above which it is linked and not embedded."""
ALL_VIDEOS = 30_000_000
"""Bytes of embedded video files in one page."""
SCRIPTS = (
    "stats.js",
    "plots.js",
    "matrices.js",
    "tables.js",
    "controls.js",
    "cards.js",
    "adaptation.js",
    "theme.js",
    "app.js",
)
"""Parts of the page's script, in the order in which they need each other."""


def write_report(
    runs: Sequence[RunSummary], path: str | Path, *, notes: Sequence[str] = (), warn: Warn = print_warning
) -> Path:
    """Writes the dashboard of some runs.

    Args:
        runs: From `load_runs`.
        path: File to write; replaced as a whole.
        notes: Lines about runs that could not be read, to be shown on the page.
        warn: Is given a line for each run that is left out.

    Returns:
        The path.

    Raises:
        UserError: There is nothing to show, or the file cannot be written.
    """
    if not runs:
        raise UserError(
            "no runs to compare: train one first, such as `mtrl train MT3 --agent quick`, and give its folder"
        )
    path = Path(path)
    left_out = list(notes)

    def note(line: str) -> None:
        left_out.append(line)
        warn(line)

    data = {**payload(runs, path.absolute().parent, note), "notes": left_out}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, render(data).encode())
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): choose another file with -o") from error
    return path


def payload(runs: Sequence[RunSummary], folder: Path, warn: Warn) -> dict[str, Any]:
    """Everything that the page shows, as plain data.

    Args:
        runs: From `load_runs`.
        folder: Where the page will lie; links to videos are relative to it.
        warn: Is given a line for each run that is left out.
    """
    suites = group_runs(runs, warn)
    shown = [run for suite in suites for agent in suite.agents for run in agent.runs]
    videos = _videos(shown, folder)
    return {
        "title": _title(suites),
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "mtrl": __version__,
        "versions": _versions(shown),
        "suites": [_suite(suite, videos, folder) for suite in suites],
    }


def render(data: dict[str, Any]) -> str:
    """The page as text: data as JSON in which no parser finds a tag, and scripts that the page knows by their hash."""
    from plotly.offline import get_plotlyjs  # heavy, and needed here alone

    parts = files("mtrl.report")
    own = "\n".join((parts / name).read_text(encoding="utf-8") for name in SCRIPTS)
    scripts = {"plotly": _inline(get_plotlyjs()), "script": _inline(own)}
    hashes = " ".join(f"'sha256-{_sha256(text)}'" for text in scripts.values())
    slots = {
        "title": html.escape(f"mtrl: {data['title']}"),
        "policy": f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; media-src data:; base-uri 'none'; form-action 'none'",
        "style": (parts / "style.css").read_text(encoding="utf-8"),
        "data": _inline(json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")),
        **scripts,
    }
    page = (parts / "page.html").read_text(encoding="utf-8")
    # One pass over the template, so that nothing within a part is taken for a slot.
    pieces = page.split("{{")
    return pieces[0] + "".join(slots[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def _inline(script: str) -> str:
    """A script that cannot end its own element; within JavaScript strings and comments the two mean the same."""
    # A parser turns CR LF into LF before it hashes.
    return script.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _title(suites: Sequence[SuiteRuns]) -> str:
    names = list(dict.fromkeys(agent.label for suite in suites for agent in suite.agents if not agent.fixed))
    if not names:
        names = ["fixed policies"]
    agents = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{agents if len(names) <= 4 else f'{len(names)} agents'} on {', '.join(suite.name for suite in suites)}"


def _versions(runs: Iterable[RunSummary]) -> list[dict[str, str]]:
    """Each package with all versions that were used, joined by a bar."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        versions = run.record.get("versions")
        for name, version in versions.items() if isinstance(versions, dict) else ():
            found.setdefault(str(name), {})[short(version)] = None
    return [{"name": name, "version": " | ".join(versions)} for name, versions in found.items()]


def _suite(suite: SuiteRuns, videos: dict[Path, list[dict[str, str]]], folder: Path) -> dict[str, Any]:
    numbers: dict[Path, int] = {}
    runs = []
    for index, agent in enumerate(suite.agents):
        for run in agent.runs:
            numbers[run.folder] = len(runs)
            runs.append({"agent": index, **_run(run, suite.tasks, folder), "videos": videos.get(run.folder, [])})
    return {
        "name": suite.name,
        "tasks": suite.tasks,
        "agents": [{"label": agent.label, "fixed": agent.fixed} for agent in suite.agents],
        "runs": runs,
        "comparisons": [_comparison(one, suite, numbers) for one in suite.comparisons],
        "differences": configuration_differences(suite.agents),
    }


def _run(run: RunSummary, tasks: Sequence[str], folder: Path) -> dict[str, Any]:
    """One run with its curves. A curve has one point a step: the final evaluation where there are two."""
    points = {}
    for one in sorted(run.evaluations, key=lambda one: (one.steps, one.final)):
        if one.goal_set == "train" and one.mode and not one.control:
            rates = {
                metric: [round(float(goals[task].mean()), 6) if task in goals else None for task in tasks]
                for metric in METRICS
                for goals in (getattr(one, metric),)
            }
            played = max(count for _, count in one.signature)
            points[one.steps] = {"steps": one.steps, "wall": one.wall_s, "goals": played, **rates}
    training = [
        {"steps": one.steps, "wall": one.wall_s, "success": [_rounded(one.tasks.get(task)) for task in tasks]}
        for one in run.training
    ]
    return {
        "seed": run.seed,
        "folder": _relative(run.folder, folder),
        "finished": run.finished or run.fixed_policy,
        "steps": run.steps,
        "budget": run.config.get("steps_per_task"),
        "created": str(run.record.get("created", "")),
        "spent": run.spent,
        "evaluations": list(points.values()),
        "training": training,
    }


def _rounded(value: float | None) -> float | None:
    """As fine as a line on a screen, to keep the page small."""
    return None if value is None else round(value, 4)


def _comparison(one: Comparison, suite: SuiteRuns, numbers: dict[Path, int]) -> dict[str, Any]:
    intervals = interval_table(one)
    return {
        "label": one.label,
        "details": one.details,
        "tasks": one.tasks,
        "entries": [
            {
                "agent": suite.agents.index(entry.agent),
                "runs": [numbers[run.folder] for run in entry.runs],
                "steps": max(found.steps for found in entry.evaluations),
                "wall": [found.wall_s for found in entry.evaluations],
                "intervals": intervals[index],
                **_adaptations(entry.evaluations),
                **{metric: _outcomes(entry.evaluations, metric, one.tasks) for metric in METRICS},
            }
            for index, entry in enumerate(one.entries)
        ],
        "improvement": improvement_table(one),
    }


def _adaptations(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Of agents that adapt, `adaptation`: each seed's success by episode of a trial."""
    return {"adaptation": [found.adaptation for found in evaluations]} if evaluations[0].adaptation else {}


def _outcomes(evaluations: Iterable[Any], metric: str, tasks: Sequence[str]) -> list[list[list[float]]]:
    """`[seed][task][goal]`; whole numbers as such, which is shorter."""
    return [
        [[int(goal) if goal in (0, 1) else goal for goal in getattr(one, metric)[task].tolist()] for task in tasks]
        for one in evaluations
    ]


def _videos(runs: Iterable[RunSummary], folder: Path) -> dict[Path, list[dict[str, str]]]:
    """Videos of each run, embedded as long as there is room and linked otherwise. Low seeds go first."""
    left = ALL_VIDEOS
    found: dict[Path, list[dict[str, str]]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        for path in run.videos:
            entry = {"task": path.stem, "link": _link(path, folder), "source": ""}
            try:
                size = path.stat().st_size
                if 0 < size <= min(LARGEST_VIDEO, left):
                    entry["source"] = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
                    left -= size
            except OSError:
                continue  # Removed or unreadable since the folder was listed.
            found.setdefault(run.folder, []).append(entry)
    return found


def _relative(path: Path, folder: Path) -> str:
    """The path as seen from the page's folder, where there is such a thing."""
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # Another drive.
        return str(path)


def _link(path: Path, folder: Path) -> str:
    relative = _relative(path, folder)
    return path.as_uri() if Path(relative).is_absolute() else quote(relative)
