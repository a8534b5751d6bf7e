"""A training against the clock, judged on the official environments too: for a GPU, and in a small form for a CPU.

    python experiments/train_gpu.py MT10 --agent fast --seed 0 --output docs/training-gpu.md
    python experiments/train_gpu.py MT3 --agent fast-small --device cpu --engine native --output page.md

The clock starts with the process. The page has a part for every suite, agent and seed that was trained with the same
--output, from the figures beside it (JSON). A training that was stopped goes on with the same command; its clock then
counts the last process alone. mtrl need not be installed, see checkout.py. Expected time: that of the training
(`--options` takes what `mtrl train` takes), and some minutes for the official environments.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import checkout
import numpy as np
import torch

from mtrl.api import Run, evaluate
from mtrl.cli import main as command_line
from mtrl.evaluation import format_steps
from mtrl.provenance import commit, hardware, versions
from mtrl.run_folder import read_json
from mtrl.stats import worst_tenth

IMPORTED = time.perf_counter()
PARTS = {
    "imports": "importing modules",
    "setup": "setting up: goals and their states, kernels",
    "wall": "training",
    "evaluation": "evaluations, midway and at the end",
    "total": "all, from the start of the process",
}
HEAD = """# Training on a GPU

Each run is made and judged by the command beside it. The clock starts with the process. Success is that of the last
checkpoint at any step of an episode, every goal played once (A-eval), on the engine that it was trained on and on the
official environments; *worst tenth* is the mean over the worst tenth of the tasks.
"""


def trained(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains to the end, plays all goals on both engines, and says what came of it."""
    folder = arguments.runs / arguments.suite / arguments.agent / f"seed-{arguments.seed}"
    place = ["--device", arguments.device, "--engine", arguments.engine, "--run-folder", str(folder)]
    own = ["--agent", arguments.agent, "--seed", str(arguments.seed), "--tracking.wandb", "off"]
    if code := command_line(["train", arguments.suite, *own, *place, *arguments.options]):
        sys.exit(code)
    total = time.perf_counter() - checkout.STARTED
    run = Run(folder)
    done, lines = read_json(run.folder.done), [line for line in run.evaluations() if line["goal_set"] == "train"]
    official = evaluate(folder, engine="official", count=arguments.goals, workers=arguments.workers)
    return {
        "suite": arguments.suite,
        "agent": arguments.agent,
        "seed": arguments.seed,
        "command": f"python experiments/train_gpu.py {' '.join(sys.argv[1:])}",
        "commit": commit() or "unknown",
        "machine": machine(arguments.device),
        "seconds": {
            "imports": IMPORTED - checkout.STARTED,
            **{name: done[f"{name}_s"] for name in ("setup", "wall", "evaluation")},
            "total": total,
        },
        "counts": {name: done[name] for name in ("steps_per_task", "env_step", "updates")},
        "engine": arguments.engine,
        "success": rates(lines[-1]["episodes"]),
        "official": rates([episode.to_record() for episode in official.episodes]),
        "curve": [[line["steps_per_task"], line["wall_s"], line["summary"]["success_any"]] for line in lines],
    }


def machine(device: str) -> str:
    """What it ran on, in words."""
    about = hardware()
    gpu = torch.cuda.get_device_name() if device == "cuda" else "no GPU"
    packages = ("torch", "mujoco", "mujoco_warp", "warp")
    found = ", ".join(f"{name} {version}" for name, version in versions().items() if name.replace("-", "_") in packages)
    return f"{gpu}; {about['cpu']}, {about['cores']} cores; {found}"


def rates(episodes: list[dict[str, Any]]) -> dict[str, float]:
    """Success at any step, by task."""
    of_task: dict[str, list[float]] = {}
    for episode in episodes:
        of_task.setdefault(episode["task"], []).append(float(episode["success_any"]))
    return {task: float(np.mean(found)) for task, found in of_task.items()}


def page(results: list[dict[str, Any]]) -> str:
    """The Markdown page."""
    lines = [HEAD]
    for one in results:
        lines += [f"## {one['suite']}, {one['agent']}, seed {one['seed']}", "", *part(one), ""]
    return "\n".join(lines).rstrip() + "\n"


def part(one: dict[str, Any]) -> list[str]:
    """What is told of one run."""
    both = {one["engine"]: one["success"], "official": one["official"]}
    means = {name: float(np.mean(list(found.values()))) for name, found in both.items()}
    apart = abs(means[one["engine"]] - means["official"])
    counts = one["counts"]
    lines = [f"Command: `{one['command']}`. Commit {one['commit']}; {one['machine']}.", ""]
    lines += [
        f"{format_steps(counts['steps_per_task'])} steps/task, {counts['env_step']:,} in all, {counts['updates']:,} "
        f"updates. Success {means[one['engine']]:.3f} on the {one['engine']} engine and {means['official']:.3f} on the "
        f"official environments, {100 * apart:.1f} points apart.",
        "",
        *table(("time", "seconds"), [(text, f"{one['seconds'][name]:.1f}") for name, text in PARTS.items()]),
        "",
    ]
    worst = [f"{float(worst_tenth(np.array(list(found.values())))):.2f}" for found in both.values()]
    rows = [(task, *(f"{found[task]:.2f}" for found in both.values())) for task in one["success"]]
    summary = [("**mean**", *(f"{mean:.3f}" for mean in means.values())), ("**worst tenth**", *worst)]
    lines += [*table(("task", *both), [*summary, *rows]), ""]
    curve = [(format_steps(steps), f"{wall:.0f}", f"{success:.3f}") for steps, wall, success in one["curve"]]
    return [*lines, *table(("steps/task", "seconds of training", "success"), curve)]


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite")
    parser.add_argument("--agent", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--engine", default="warp", help="warp or native")
    parser.add_argument("--workers", type=int, default=0, help="processes of the official environments")
    parser.add_argument("--goals", type=int, help="goals a task there; all of them where nothing is said")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, required=True, help="the page; figures (JSON) go beside it")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="last: options of `mtrl train`")
    arguments = parser.parse_args()
    figures = arguments.output.with_suffix(".json")
    results = json.loads(figures.read_text()) if figures.exists() else []
    new = trained(arguments)
    key = ("suite", "agent", "seed")
    results = [one for one in results if any(one[name] != new[name] for name in key)] + [new]
    figures.write_text(json.dumps(results, indent=1) + "\n")
    arguments.output.write_text(page(results))
    print(page([new]))


if __name__ == "__main__":  # worker processes import this file, and must not train
    main()
