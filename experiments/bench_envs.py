"""How fast environments step: ours, upstream's own loop, EnvPool's Meta-World, and bare MuJoCo, with the same actions.

    pip install -e '.[bench]'
    python experiments/bench_envs.py --output docs/benchmark-environments.md

It takes about half an hour on two cores, which nothing else should use. Contestants take turns within one run, so that
a busy machine slows all of them alike; what counts are the ratios. `--quick` goes the whole way in two minutes.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from contestants import CONTESTANTS, GOALS, STEPS, SUITES, Actions, Case, Stepper

from mtrl.goals import make_goal_sets
from mtrl.provenance import commit, hardware
from mtrl.tasks import TASKS

START_UP = """
import json, resource, sys, time
began = time.perf_counter()
import torch
from mtrl.goals import make_goal_sets
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
torch.set_num_threads(1)
names, worlds = json.loads(sys.argv[1]), int(sys.argv[2])
goals = make_goal_sets([TASKS.get(name) for name in names], 50, 42)[0]
env = make_vector_env(names, goal_set=goals, slots_per_task=worlds, workers=2, engine="native")
env.reset()
seconds = time.perf_counter() - began
for _ in range(3):
    env.step(torch.zeros(env.num_envs, 4))
print(json.dumps({"seconds": seconds, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""
"""Run in a process of its own: its start is measured from here on, and its memory as a whole."""


def measure(case: Case, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Env steps per second of each contestant in each round; they take turns. Whoever is not installed is left out."""
    tasks = SUITES[case.suite]
    goals = make_goal_sets([TASKS.get(name) for name in tasks], GOALS, 0)[0]
    actions = Actions(tasks, case.actions, goals)
    steppers: dict[str, Stepper] = {}
    for name, build in CONTESTANTS.items():
        try:
            steppers[name] = build(tasks, case, actions, goals)
        except ModuleNotFoundError as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
    speeds: dict[str, list[float]] = {name: [] for name in steppers}
    for _ in range(rounds):
        for name, play in steppers.items():
            speeds[name].append(_speed(play, seconds))
    return speeds


def _speed(play: Stepper, seconds: float) -> float:
    """Env steps per second over about so many seconds."""
    steps, spent, step = 0, 0.0, STEPS
    while spent < seconds:
        if step == STEPS:
            play(0)
            step = 0
        step += 1
        began = time.perf_counter()
        steps += play(step)
        spent += time.perf_counter() - began
    return steps / spent


def start_up(tasks: Sequence[str], worlds: int, cache: str) -> dict[str, float]:
    """Seconds until the first observation, and the process's greatest memory in MB; in a process of its own."""
    environment = os.environ | {"MTRL_CACHE": cache, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", START_UP, json.dumps(tasks), str(worlds)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def start_ups(quick: bool) -> list[dict]:
    """Start-up time from an empty and from a full cache, and memory, for some sizes."""
    sizes = [("MT10", 8)] if quick else [("MT10", 8), ("MT50", 8), ("MT50", 64)]
    rows = []
    for suite, worlds in sizes:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (start_up(SUITES[suite], worlds, cache) for _ in range(2))
        rows.append(
            {"suite": suite, "worlds": worlds, "cold": cold["seconds"], "warm": warm["seconds"], "mb": warm["mb"]}
        )
    return rows


def cases(quick: bool) -> list[Case]:
    """All rows, or two of them."""
    if quick:
        return [Case("MT1", 8, 1, "random"), Case("MT10", 8, 1, "expert")]
    return [
        Case(suite, worlds, threads, actions)
        for suite in SUITES
        for actions in ("random", "expert")
        for worlds in (1, 8, 64)
        for threads in (1, 2)
    ]


def table(rows: Sequence[dict]) -> list[str]:
    """The rows as Markdown: speeds, and medians over rounds of the ratio of ours to each other one."""
    lines = [
        "| suite | actions | worlds a task | threads | native, steps/s | vs upstream | vs EnvPool | vs bare physics |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case, speeds = row["case"], row["speeds"]
        ratios = [_ratio(speeds, other) for other in ("upstream", "envpool", "bare")]
        cells = [f"{ratio:.2f}" if ratio is not None else "-" for ratio in ratios]
        speed = statistics.median(speeds["native"])
        lines.append(
            f"| {case['suite']} | {case['actions']} | {case['worlds']} | {case['threads']} | {speed:,.0f} | "
            + " | ".join(cells)
            + " |"
        )
    return lines


def _ratio(speeds: dict[str, list[float]], other: str) -> float | None:
    if other not in speeds:
        return None
    return statistics.median(ours / theirs for ours, theirs in zip(speeds["native"], speeds[other], strict=True))


def page(rows: Sequence[dict], starts: Sequence[dict], command: str) -> str:
    """The results as a Markdown page."""
    machine = hardware()
    packages = ("mujoco", "metaworld", "torch", "envpool", "numpy")
    lines = [
        "# Speed of the environments",
        "",
        f"Command: `{command}`. Commit {commit() or 'unknown'}; {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB; Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in packages)
        + ".",
        "",
        "An env step is five physics steps and a forward pass, with observation, reward, success and autoreset (bare",
        "physics has none of these). The last three columns are ratios, ours to theirs: medians over rounds in which",
        "the contestants took turns. *upstream* is Meta-World's own classes in a plain loop in one process, whatever",
        "the number of threads; *EnvPool* a pool a task, one after another, with as many threads; *bare physics*",
        "`mj_step` x5 and `mj_forward` on the stripped scenes, called from Python in as many threads. All play the",
        "same actions, random ones or the scripted experts';",
        "EnvPool draws its own goals.",
        "",
        *table(rows),
        "",
        "## Start-up and memory",
        "",
        "From the start of Python to the first observations of all worlds, 50 goals a task, 2 threads; the greatest",
        "memory of the whole process, Python and torch included.",
        "",
        "| suite | worlds a task | empty cache, s | full cache, s | memory, MB |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['suite']} | {row['worlds']} | {row['cold']:.1f} | {row['warm']:.1f} | {row['mb']:.0f} |"
        for row in starts
    ]
    by_size = {row["worlds"]: row["mb"] for row in starts if row["suite"] == "MT50"}
    if {8, 64} <= by_size.keys():
        each = (by_size[64] - by_size[8]) / (50 * 56) * 1024
        lines += ["", f"A world more costs {each:.0f} KB (from the two rows of MT50)."]
    return "\n".join(lines) + "\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two rows, one round")
    parser.add_argument("--only", nargs="+", choices=SUITES, help="these suites alone")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant in a row")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument(
        "--output", type=Path, help="write a Markdown page there, and the raw figures beside it as JSON"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Constant.s. may be too high")
    rounds, seconds = (1, 0.5) if arguments.quick else (arguments.rounds, arguments.seconds)
    rows = []
    for case in cases(arguments.quick):
        if arguments.only and case.suite not in arguments.only:
            continue
        rows.append({"case": asdict(case), "speeds": measure(case, rounds, seconds)})
        print(table(rows)[-1], flush=True)
    starts = start_ups(arguments.quick)
    command = "python experiments/bench_envs.py" + "".join(f" {word}" for word in sys.argv[1:])
    text = page(rows, starts, command)
    print(text)
    if arguments.output:
        arguments.output.write_text(text)
        arguments.output.with_suffix(".json").write_text(json.dumps({"rows": rows, "starts": starts}, indent=1))


if __name__ == "__main__":
    main()
