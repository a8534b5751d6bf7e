"""How fast environments step: ours, upstream's own loop, EnvPool's Meta-World, and bare MuJoCo, with the same actions.

    pip install -e '.[bench]'
    python experiments/bench_envs.py --output docs/benchmark-environments.md

It takes about 25 minutes on two cores, which nothing else should use. Contestants take turns within one run,
so that a busy machine slows all of them alike; what counts are the ratios. `--quick` goes the whole way in a minute.
"""

import argparse
import contextlib
import functools
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
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from contestants import GOALS, KINDS, STEPS, SUITES, Actions, Case, Stepper, contestants_of, envpool

from mtrl.goals import GoalSet, make_goal_sets
from mtrl.provenance import commit, hardware
from mtrl.tasks import TASKS

START_UP = """
import json, sys, time
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
with open("/proc/self/status") as status:  # the resource module would count the parent's memory as well
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "mb": peak / 1024}))
"""
"""Run in a process of its own: its start is measured from here on, and its memory as a whole."""
OTHERS = ("upstream", "envpool", "bare")


@dataclass
class Clock:
    """Plays a contestant in short turns, and adds up what it does."""

    play: Stepper
    step: int = STEPS
    kind: str = ""
    steps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))

    def run(self, kind: str, seconds: float) -> None:
        """One turn, of at least one step. Beginning anew is not timed."""
        self.step = self.step if kind == self.kind else STEPS
        self.kind = kind
        spent = 0.0
        while spent < seconds:
            if self.step >= STEPS:
                self.play(kind, 0)
                self.step = 0
            self.step += 1
            began = time.perf_counter()
            self.steps[kind] += self.play(kind, self.step)
            spent += time.perf_counter() - began
        self.seconds[kind] += spent

    def speed(self, kind: str) -> float:
        """Env steps per second over all turns."""
        return self.steps[kind] / self.seconds[kind]


@functools.cache
def _goals_and_actions(suite: str) -> tuple[GoalSet, Actions]:
    goals = make_goal_sets([TASKS.get(name) for name in SUITES[suite]], GOALS, 0)[0]
    return goals, Actions(SUITES[suite], goals)


def measure(case: Case, turns: int, seconds: float) -> list[dict]:
    """Env steps per second of every contestant with either kind of actions.

    The contestants take short turns, so that a machine that is busy for a while is so for all of them. EnvPool plays
    one task of the suite after another; its speed is the harmonic mean over tasks, as if all made the same steps.
    """
    tasks = SUITES[case.suite]
    goals, actions = _goals_and_actions(case.suite)
    turns = max(turns, len(tasks))
    clocks = {name: Clock(build(tasks, case, actions, goals)) for name, build in contestants_of(case).items()}
    pools: list[dict[str, float]] = []
    for clock in clocks.values():  # the first step of a compiled contestant takes long
        for step in range(4):
            clock.play(KINDS[0], step)
    for turn in range(turns):
        contestants = list(clocks.values())
        if turn < len(tasks):
            with contextlib.suppress(ModuleNotFoundError):
                contestants.append(Clock(envpool(tasks[turn], case, actions)))
        for kind in KINDS:
            for clock in contestants:
                clock.run(kind, seconds / turns)
        pools += [{kind: clock.speed(kind) for kind in KINDS} for clock in contestants[len(clocks) :]]
    rows = []
    for kind in KINDS:
        speeds = {name: clock.speed(kind) for name, clock in clocks.items()}
        if pools:
            speeds["envpool"] = statistics.harmonic_mean([pool[kind] for pool in pools])
        rows.append({"case": asdict(case) | {"actions": kind}, "speeds": speeds})
    return rows


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
    """What is timed; in the quick form little of it."""
    if quick:
        return [Case("MT1", 8, 1), Case("MT10", 8, 1)]
    return [Case(suite, worlds, threads) for suite in SUITES for worlds in (1, 8, 64) for threads in (1, 2)]


def table(rows: Sequence[dict]) -> list[str]:
    """The rows as Markdown: our speed, and its ratio to each other one."""
    lines = [
        "| suite | worlds a task | threads | actions | native, steps/s | vs upstream | vs EnvPool | vs bare physics "
        "| compiled vs bare physics |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        case, speeds = row["case"], row["speeds"]
        ratios = [speeds["native"] / speeds[other] if other in speeds else None for other in OTHERS]
        ratios.append(speeds["compiled"] / speeds["bare"] if "compiled" in speeds else None)
        cells = [
            *(str(case[name]) for name in ("suite", "worlds", "threads", "actions")),
            f"{speeds['native']:,.0f}",
            *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


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
        "An env step is five physics steps and a forward pass, with observation, reward and success (bare physics has",
        "none of these). Episodes are begun anew after 150 steps, which is not timed for anyone. The columns on the",
        "right are ratios, ours to theirs; contestants take short turns.",
        "*upstream* is Meta-World's own classes in a plain loop in one process, whatever the number of threads;",
        "*EnvPool* one task after another, each with as many threads (harmonic mean over tasks); *bare physics*",
        "`mj_step` x5 and `mj_forward` on the stripped scenes, called from Python in as many threads, 4 worlds a task.",
        "All play the same actions, random ones or the scripted experts'; EnvPool draws its own goals. *compiled* is",
        "`--compile`, or `env.compile()`, measured where worlds are few.",
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
    parser.add_argument("--quick", action="store_true", help="little of it, in a minute")
    parser.add_argument("--only", nargs="+", choices=SUITES, help="these suites alone")
    parser.add_argument("--turns", type=int, default=12, help="turns of each contestant, one a task at least")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each contestant in a row, all turns")
    parser.add_argument(
        "--output", type=Path, help="write a Markdown page there, and the raw figures beside it as JSON"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Constant.s. may be too high")
    turns, seconds = (1, 0.3) if arguments.quick else (arguments.turns, arguments.seconds)
    rows: list[dict] = []
    for case in cases(arguments.quick):
        if arguments.only and case.suite not in arguments.only:
            continue
        rows += measure(case, turns, seconds)
        print("\n".join(table(rows)[-len(KINDS) :]), flush=True)
    starts = start_ups(arguments.quick)
    command = "python experiments/bench_envs.py" + "".join(f" {word}" for word in sys.argv[1:])
    text = page(rows, starts, command)
    print(text)
    if arguments.output:
        arguments.output.write_text(text)
        arguments.output.with_suffix(".json").write_text(json.dumps({"rows": rows, "starts": starts}, indent=1))


if __name__ == "__main__":
    main()
