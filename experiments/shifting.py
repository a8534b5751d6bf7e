"""What it brings that worlds of tasks that succeed rest (`--shift.floor`), beside the same runs in which all play.

    python experiments/shifting.py MT10 --agent ppo-small --seeds 100 101 --steps 200000 --output docs/shifting.md

Both take the same number of environment steps, as a mean over tasks. Runs that are finished are not run again, and
those that were stopped go on.
"""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from learning import RESULTS, Job, leave, place, run_all
from transfer import POINTS, area, curve

ARMS = {"all": "all play", "shift": "worlds shift"}


def jobs_of(suite: str, agent: str, seeds: Sequence[int], steps: int, floor: float, runs: Path) -> list[Job]:
    """All runs, seed by seed."""
    every = str(steps // POINTS)
    words = ("--steps-per-task", str(steps), "--evaluation.every", every, "--tracking.wandb", "off")
    options = {"all": (), "shift": ("--shift.floor", str(floor), "--shift.every", str(steps // (2 * POINTS)))}
    return [
        Job(suite, agent, seed, (*words, *options[arm]), runs / place(suite, f"{agent}-{arm}", seed), f"{agent}-{arm}")
        for seed, arm in itertools.product(seeds, ARMS)
    ]


def row(folders: Sequence[Path]) -> list[str]:
    """What the finished ones of some runs came to, as means: cells of the table."""
    folders = [folder for folder in folders if (folder / "DONE").exists()]
    if not folders:
        return ["0", *[""] * 6]
    curves, done = [curve(folder) for folder in folders], [read(folder / "DONE") for folder in folders]
    worst = [min(task["success_any"] for task in end["summary"]["per_task"].values()) for end in done]
    lines = [json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1]) for folder in folders]
    spread = [shares(line) for line in lines]
    return [
        str(len(folders)),
        f"{statistics.mean(points[-1][1] for points in curves):.2f}",
        ", ".join(f"{points[-1][1]:.2f}" for points in curves),
        f"{statistics.mean(worst):.2f}",
        f"{statistics.mean(map(area, curves)):.2f}",
        " to ".join(f"{share:.2f}" for share in (min(map(min, spread)), max(map(max, spread)))),
        f"{statistics.mean(end['wall_s'] for end in done) / 60:.1f}",
    ]


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text())


def shares(line: dict[str, float]) -> list[float]:
    """Steps of each task over their mean, of a line of metrics."""
    steps = [value for name, value in line.items() if name.startswith("steps/")] or [1.0]
    return [value / statistics.mean(steps) for value in steps]


PAGE = """# Worlds that shift

{suite}, `{agent}`, {steps:,} environment steps a task on average, seeds {seeds}. *Worlds shift*:
`--shift.floor {floor}`. *Success*: A-eval at the end, *worst task* of a run; *mean over training*: of {points}
evaluations, from 0 on. *Steps*: of the task that took the fewest and of the one that took the most, over the mean.
*Minutes* of training in all, on a machine that does other things too. Few seeds, so no ranking.

    {command}

{table}
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite")
    parser.add_argument("--agent", default="ppo-small")
    parser.add_argument("--seeds", nargs="+", type=int, default=[100])
    parser.add_argument("--steps", type=int, default=200_000, help="of each task, as a mean")
    parser.add_argument("--floor", type=float, default=0.25)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, each on a core")
    parser.add_argument("--hours", type=float, default=24.0, help="then stop")
    parser.add_argument("--runs", type=Path, default=Path("runs/shifting"))
    parser.add_argument("--results", type=Path, default=RESULTS / "shifting")
    parser.add_argument("--output", type=Path, help="page to write")
    options = parser.parse_args()
    jobs = jobs_of(options.suite, options.agent, options.seeds, options.steps, options.floor, options.runs)
    failed = run_all(jobs, options.jobs, options.hours * 3600, options.results)
    head = "| | seeds | success | each | worst task | mean over training | steps | minutes |"
    lines = [head, "|---" * 8 + "|"]
    for arm, said in ARMS.items():
        folders = [job.folder for job in jobs if job.name == f"{options.agent}-{arm}"]
        lines.append(f"| {said} | {' | '.join(row(folders))} |")
    table = "\n".join(lines)
    if options.output:
        command = f"python experiments/shifting.py {' '.join(sys.argv[1:])}"
        named = {name: getattr(options, name) for name in ("suite", "agent", "steps", "floor")}
        seeds = ", ".join(map(str, options.seeds))
        options.output.write_text(PAGE.format(**named, seeds=seeds, points=POINTS, command=command, table=table))
    print(table)
    leave(failed)


if __name__ == "__main__":
    main()
