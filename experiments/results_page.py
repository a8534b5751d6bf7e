"""One table of results a suite, from the runs that are kept in experiments/results, beside published figures.

    python experiments/results_page.py --output docs/results.md

Runs get there by `python experiments/learning.py`, which keeps what the dashboard reads of them; `mtrl compare
experiments/results` shows the same runs with curves. Expected time: seconds.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import checkout  # noqa: F401 - makes mtrl importable
import numpy as np
from published import ANCHORS, PROTOCOLS

from mtrl import stats
from mtrl.errors import UserError
from mtrl.report.comparisons import Comparison, Entry, SuiteRuns, group_runs
from mtrl.report.load import RunSummary, load_runs, print_warning

RESULTS = Path(__file__).parent / "results"
HEAD = """# Results

Command: `python experiments/results_page.py --output docs/results.md`, from what `experiments/results` keeps of each
run ([dashboard](dashboard.md): `mtrl compare experiments/results`).

A-eval: each of a task's 50 goals is played once, with the most likely action, and what counts is success at any step
(in brackets: at the last). Every seed's figure is shown, since fewer than five seeds give no interval
([why](evaluation.md)). *Worst tenth* is the mean over the worst tenth of the tasks. Time is that of training, without
evaluations. Agents that learn to learn play trials, and after training also `mtrl eval RUN --goals heldout`, with
`--context other` (on other goals) and `--context none` (forgotten) as controls ([learning to adapt](adaptation.md)).
"""
LEAST_POINTS = 4
"""Of a curve that something can be read off, its start among them."""
COLUMNS = (
    "agent",
    "seeds",
    "success of each",
    "mean",
    "worst tenth",
    "updates",
    "hours",
    "CPU hours",
    "parameters",
    "commit",
)


def page(results: Path) -> str:
    """The page.

    Raises:
        UserError: There are no results.
    """
    suites = group_runs(load_runs([results]), print_warning)
    if not any(suite.comparisons for suite in suites):
        raise UserError(f"{results} holds no finished runs: let experiments/learning.py make some")
    lines = [HEAD]
    for suite in suites:
        lines += [f"## {suite.name}", "", *_suite(suite)]
    return "\n".join(lines).rstrip() + "\n"


def _suite(suite: SuiteRuns) -> Iterator[str]:
    for comparison in suite.comparisons:
        entries = [entry for entry in comparison.entries if not entry.agent.fixed]
        if not entries:
            continue
        yield f"### {comparison.label}"
        yield ""
        yield f"{comparison.details}; {'; '.join(sorted({_machine(entry) for entry in entries}))}."
        yield ""
        ranked = sorted(entries, key=_order(comparison))
        yield from _table(COLUMNS, [_row(entry, comparison) for entry in ranked])
        yield from _equal_time(ranked)
        yield "Made by " + ", ".join(f"`{command}`" for command in _commands(entries)) + "."
        yield ""
    anchors = ANCHORS.get(suite.name, ())
    if anchors:
        yield "### Published"
        yield ""
        yield "Figures of different letters rest on different goals, horizons and ways to count, and do not compare:"
        yield ", ".join(f"{letter}: {PROTOCOLS[letter]}" for letter in sorted({one.letter for one in anchors})) + "."
        yield ""
        rows = [(one.method, one.letter, one.success, one.steps, one.time, one.source) for one in anchors]
        yield from _table(("method", "letter", "success, %", "steps a task", "time", "source"), rows)


def _commands(entries: list[Entry]) -> list[str]:
    """What made the runs, with words in place of agents and seeds."""
    found = set()
    for run in (run for entry in entries for run in entry.runs):
        words = [str(word) for word in run.record.get("command") or ()]
        for option in ("--agent", "--seed"):
            if option in words[:-1]:
                words[words.index(option) + 1] = option.removeprefix("--").upper()
        found.add(" ".join(words))
    return sorted(found - {""})


def _equal_time(entries: list[Entry]) -> Iterator[str]:
    """The same runs at the CPU time that the shortest of them took, as far as all were evaluated on the way."""
    curves = {entry.agent.label: [_curve(run) for run in entry.runs] for entry in entries}
    curves = {label: found for label, found in curves.items() if all(len(points) >= LEAST_POINTS for points in found)}
    if len(curves) < 2:
        return
    spent = min(points[-1][0] for found in curves.values() for points in found)
    rows = []
    for label, found in curves.items():
        each = [float(np.interp(spent, [time for time, _ in points], [rate for _, rate in points])) for points in found]
        rows.append((f"`{label}`", ", ".join(f"{one:.2f}" for one in each), f"{np.mean(each):.2f}"))
    yield f"After equal work, {spent / 60:.0f} CPU minutes of training, on the line between the evaluations around them"
    yield "(those on the way may play fewer goals)."
    yield ""
    yield from _table(("agent", "success of each", "mean"), sorted(rows, key=lambda row: -float(row[2])))


def _curve(run: RunSummary) -> list[tuple[float, float]]:
    """CPU time and success on training goals, from the start; empty where time was not counted."""
    found = [one for one in run.evaluations if one.goal_set == "train" and one.mode and not one.control]
    points = {one.cpu_s: float(np.mean([goals.mean() for goals in one.success_any.values()])) for one in found}
    return [] if 0.0 in points else [(0.0, 0.0), *sorted(points.items())]


def _order(comparison: Comparison):  # noqa: ANN202 - a key for sorting
    return lambda entry: -float(_scores(entry, comparison).mean())


def _scores(entry: Entry, comparison: Comparison, metric: str = "success_any") -> np.ndarray:
    """`[seed, task]`."""
    return stats.task_scores(entry.outcomes(metric, comparison.tasks))


def _row(entry: Entry, comparison: Comparison) -> tuple[str, ...]:
    any_step, at_end = (_scores(entry, comparison, metric) for metric in ("success_any", "success_end"))
    seeds = ", ".join(str(run.seed) for run in entry.runs)
    each = ", ".join(f"{score:.3f}" for score in any_step.mean(axis=1))
    mean = f"{any_step.mean():.3f} ({at_end.mean():.3f}){_interval(entry, comparison)}"
    worst = f"{float(stats.worst_tasks(any_step)):.2f}"
    updates = ", ".join(sorted({f"{one.updates:,}" for one in entry.evaluations}))
    hours, work = (np.mean([getattr(one, name) for one in entry.evaluations]) / 3600 for name in ("wall_s", "cpu_s"))
    times = (f"{hours:.2f}", f"{work:.2f}" if work else "not counted")
    parameters = " + ".join(f"{count:,}" for count in entry.runs[0].record.get("parameters", {}).values())
    commits = ", ".join(sorted({str(run.record.get("commit"))[:7] for run in entry.runs}))
    return (f"`{entry.agent.label}`", seeds, each, mean, worst, updates, *times, parameters, commits)


def _interval(entry: Entry, comparison: Comparison) -> str:
    found = stats.intervals(entry.outcomes("success_any", comparison.tasks))
    return "" if found is None else f" [{found['mean'].low:.3f}, {found['mean'].high:.3f}]"


def _machine(entry: Entry) -> str:
    record = entry.runs[0].record
    hardware, versions = record["hardware"], record["versions"]
    device = ", ".join(hardware["gpus"]) if record.get("device", "cpu") != "cpu" else "no GPU"
    packages = ", ".join(f"{name} {versions[name]}" for name in ("torch", "mujoco", "metaworld") if versions.get(name))
    return f"{hardware['cores']} cores of an {hardware['cpu']}, {device}, Python {versions['python']}, {packages}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, help="write the page there")
    arguments = parser.parse_args()
    try:
        text = page(arguments.results)
    except UserError as error:
        sys.exit(f"error: {error}")
    if arguments.output:
        arguments.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
