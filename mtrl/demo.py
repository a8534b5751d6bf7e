"""The demonstration: three tasks learned on a laptop, and compared with policies that learn nothing."""

import dataclasses
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from mtrl.api import Run, make_config, train
from mtrl.config import RunConfig
from mtrl.logger.console import program_name, say
from mtrl.report import compare

SUITE = "MT3"
AGENT = "quick"
FLOORS = ("zero", "random", "repeat")
SHORT_STEPS = 1_500
SHORT_GOALS = 2


def run_demo(folder: Path | str = "runs", *, seed: int = 0, short: bool = False) -> Path:
    """Trains on three tasks, evaluates, plays the floors and writes the dashboard.

    A demo that was stopped is gone on with.

    Args:
        folder: Where the runs and the dashboard are written.
        seed: Of all runs.
        short: Go the whole way in about a minute, with too little training to learn anything.

    Returns:
        The dashboard.

    Raises:
        UserError: The folder holds other runs under the same names, or cannot be written.
        Interrupted: A signal came; the same call goes on.
    """
    began, folder = time.monotonic(), Path(folder)
    agent = demo_config(AGENT, folder, seed, short)
    say(f"Training agent '{AGENT}' on {SUITE} for {agent.steps_per_task} steps of each task.")
    runs = [train(agent)]
    say(f"Evaluating policies that learn nothing, to compare with: {', '.join(FLOORS)}.")
    runs += [train(demo_config(name, folder, seed, short)) for name in FLOORS]
    page = compare([run.path for run in runs], folder / "report.html")
    print("\n".join(["", *_table(runs), "", f"Dashboard: {page.absolute()}", "", *_what_next(runs[0], folder, short)]))
    print(f"\nThe demo took {timedelta(seconds=round(time.monotonic() - began))} (h:mm:ss).")
    return page


def demo_config(agent: str, folder: Path, seed: int, short: bool) -> RunConfig:
    """What the demo trains an agent with: its preset, or in the short form hardly anything of it."""
    path = folder / SUITE / agent / f"seed-{seed}"
    config = make_config(SUITE, agent, seed=seed, run_folder=str(path))
    if not short:
        return config
    evaluation = dataclasses.replace(config.evaluation, every=0, final_goals=SHORT_GOALS)
    steps = min(config.steps_per_task, SHORT_STEPS)
    return dataclasses.replace(config, steps_per_task=steps, warmup_steps=SHORT_STEPS // 2, evaluation=evaluation)


def _table(runs: Sequence[Run]) -> list[str]:
    """Success of each run, as mean over the tasks and for each task."""
    final = {run.config.agent: _final_evaluation(run) for run in runs}
    tasks = list(final[AGENT]["summary"]["per_task"])
    heads = ["success", "mean", *tasks]
    lines = [final[AGENT]["label"], "  ".join([f"{heads[0]:<10}", *heads[1:]])]
    for name, record in final.items():
        values = [record["summary"]["success_any"], *(record["summary"]["per_task"][t]["success_any"] for t in tasks)]
        cells = [f"{value:>{max(4, len(head))}.2f}" for value, head in zip(values, heads[1:], strict=True)]
        lines.append("  ".join([f"{name:<10}", *cells]))
    return lines


def _final_evaluation(run: Run) -> dict[str, Any]:
    """The newest one on training goals; somebody may have evaluated on others since."""
    return [record for record in run.evaluations() if record["final"] and record["goal_set"] == "train"][-1]


def _what_next(run: Run, folder: Path, short: bool) -> list[str]:
    program = program_name()
    if short:
        return ["This was the short form, which learns nothing. What to try next:", f"  {program} demo"]
    return [
        "What to try next:",
        f"  {program} video {run.path}",
        f"  {program} train {SUITE} --agent {AGENT} --seed {run.config.seed + 1} --run-folder "
        f"{run.path.parent / f'seed-{run.config.seed + 1}'}",
        f"  {program} compare {folder}",
        f"  {program} train MT10 --agent mtmhsac --help",
    ]
