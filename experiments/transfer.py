"""What a trained multi-task agent is worth on a task that it has never met: forward transfer.

    mtrl train MT10 --agent mtmhsac-small --network front_ends --run-folder runs/first
    python experiments/transfer.py runs/first --tasks door-close-v3 faucet-open-v3 --seeds 0 1 2

Each task is learned three times with the settings of that run: from scratch; with the layers that its tasks share taken
over and frozen, so that what the task has of its own learns alone; and with them taken over and learning on. Networks
need parts of each task's own, and shared layers of the same size whatever the tasks are: `front_ends`, or `multi_head`
with `--algorithm.actor.task.code hidden` (and so for the critic). Runs that are finished are not run again, and those
that were stopped go on. `--output` writes the page.

Forward transfer is (A - A_scratch) / (1 - A_scratch), with A the mean success over training, from 0 at the start:
Wolczyk et al., "Continual World", NeurIPS 2021. 1 is success from the first step on, 0 is no gain, below 0 is harm.
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

from mtrl.algorithm import AGENTS
from mtrl.config import option, to_dict
from mtrl.errors import UserError
from mtrl.run_folder import read_json

SIDES = ("actor", "critic")
MODES = {"scratch": "from scratch", "frozen": "shared layers frozen", "tuned": "shared layers learn on"}
POINTS = 10
"""Evaluations of a run."""


def words_of(mode: str, source: str, steps: int) -> tuple[str, ...]:
    """Options of `mtrl train`, besides those of the run that is taken over."""
    words = ["--steps-per-task", str(steps), "--evaluation.every", str(steps // POINTS), "--tracking.wandb", "off"]
    for side in SIDES if mode != "scratch" else ():
        words += [f"--algorithm.{side}.shared-from", source]
        words += [f"--algorithm.{side}.freeze-shared"] if mode == "frozen" else []
    return tuple(words)


SETTINGS = ("algorithm", "updates_per_step", "warmup_steps", "slots_per_task")
"""What a run learns by, beside its suite, seed and steps."""


def settings_of(config: dict[str, Any], fields: Sequence[str] = SETTINGS) -> tuple[str, ...]:
    """Options that make a run's settings of its preset's: what these fields differ in."""
    defaults = to_dict(AGENTS.get(str(config["agent"])).defaults)
    return tuple(word for name in fields for word in _differences(config[name], defaults[name], name))


def _differences(here: Any, there: Any, name: str) -> list[str]:
    """Options of all fields below `name` that differ, parts' names first since other fields depend on them."""
    if isinstance(here, dict):
        fields = sorted(here, key=lambda field: field != "name")
        there = there if isinstance(there, dict) else {}
        return [word for field in fields for word in _differences(here[field], there.get(field), f"{name}.{field}")]
    if here == there or here is None:
        return []
    *above, last = option(name).removeprefix("--").split(".")
    if isinstance(here, bool):
        return [f"--{'.'.join([*above, last if here else f'no-{last}'])}"]
    return [option(name), *(map(str, here) if isinstance(here, list) else [str(here)])]


def read_source(source: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        UserError: There is no run.
    """
    path = source / "config.json"
    if not path.is_file():
        raise UserError(f"no run at {source} (there is no config.json): give the folder of a run")
    return read_json(path)["config"]


def jobs_of(source: Path, tasks: Sequence[str], seeds: Sequence[int], steps: int, runs: Path) -> list[Job]:
    """All runs, seed by seed."""
    config = read_source(source)
    agent, settings = str(config["agent"]), settings_of(config)
    return [
        Job(
            task,
            agent,
            seed,
            (*settings, *words_of(mode, str(source), steps)),
            runs / place(task, f"{agent}-{mode}", seed),
            f"{agent}-{mode}",
        )
        for seed, task, mode in itertools.product(seeds, tasks, MODES)
    ]


def curve(folder: Path) -> list[tuple[float, float]]:
    """Steps and success of a run, from 0 on; of two evaluations after as many steps the final one."""
    points = {0.0: 0.0}
    for line in (folder / "eval.jsonl").read_text().splitlines():
        entry = json.loads(line)
        points[float(entry["steps_per_task"])] = float(entry["summary"]["success_any"])
    return sorted(points.items())


def area(points: Sequence[tuple[float, float]]) -> float:
    """Mean success over the steps of a curve, by trapezia."""
    pieces = [(b - a) * (left + right) / 2.0 for (a, left), (b, right) in itertools.pairwise(points)]
    return sum(pieces) / (points[-1][0] - points[0][0])


def forward_transfer(with_it: float, scratch: float) -> float:
    """See above; both are areas."""
    return (with_it - scratch) / (1.0 - scratch) if scratch < 1.0 else 0.0


def table(results: Path, agent: str, tasks: Sequence[str], seeds: Sequence[int]) -> str:
    """One line a task and mode, means over the seeds that are finished."""
    lines = ["| task | | seeds | success | mean over training | forward transfer |", "|---|---|---|---|---|---|"]
    for task in tasks:
        scratch = None
        for mode, said in MODES.items():
            folders = [results / place(task, f"{agent}-{mode}", seed) for seed in seeds]
            curves = [curve(folder) for folder in folders if (folder / "DONE").exists()]
            if not curves:
                continue
            mean = statistics.mean(area(points) for points in curves)
            scratch = mean if mode == "scratch" else scratch
            gain = "" if mode == "scratch" or scratch is None else f"{forward_transfer(mean, scratch):.2f}"
            final = statistics.mean(points[-1][1] for points in curves)
            lines.append(f"| {task} | {said} | {len(curves)} | {final:.2f} | {mean:.2f} | {gain} |")
    return "\n".join(lines)


PAGE = """# Transfer to tasks never met

{source} was trained on {suite}; each task below is new to it. *Frozen*: the layers that its tasks share stay as they
are, and the new task's own head learns alone. *Success*: A-eval after {steps} steps; *mean over training*: of ten
evaluations, from 0 on. *Forward transfer*: how much of what learning from scratch leaves is gained (Continual World,
2021). Few seeds, so no ranking.

    {made}
    {command}

{table}
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="run folder of a multi-task agent")
    parser.add_argument("--tasks", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=60_000, help="of each task")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, each on a core")
    parser.add_argument("--hours", type=float, default=24.0, help="then stop")
    parser.add_argument("--runs", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--results", type=Path, default=RESULTS / "transfer")
    parser.add_argument("--output", type=Path, help="page to write")
    options = parser.parse_args()
    try:
        jobs = jobs_of(options.source, options.tasks, options.seeds, options.steps, options.runs)
    except UserError as error:
        parser.error(str(error))
    failed = run_all(jobs, options.jobs, options.hours * 3600, options.results)
    agent = str(read_source(options.source)["agent"])
    found = table(options.results, agent, options.tasks, options.seeds)
    if options.output:
        suite, made = read_source(options.source)["suite"], read_json(options.source / "config.json")["command"]
        words = {"command": f"python experiments/transfer.py {' '.join(sys.argv[1:])}", "steps": f"{options.steps:,}"}
        words["made"] = " ".join(["mtrl", *made[1:]])
        options.output.write_text(PAGE.format(source=f"`{agent}`", suite=suite, table=found, **words))
    print(found)
    leave(failed)


if __name__ == "__main__":
    main()
