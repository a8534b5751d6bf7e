"""Where the time of training goes: acting, environments, replay, and the parts of an update; plain and compiled.

    python experiments/bench_training.py --output docs/benchmark-training.md

Expected time: five minutes on two cores that do nothing else; compiling needs a C++ compiler.
"""

import argparse
import dataclasses
import platform
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from mtrl.api import make_config
from mtrl.goals import make_goal_sets
from mtrl.provenance import commit, hardware, versions
from mtrl.runner.experiment import prepare
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.tasks import TASKS

RUNS = (("MT3", "quick"), ("MT10", "mtmhsac"))
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "linear", "matmul")
OPTIMISER = ("adam", "lerp", "norm", "zero_grad")


class Stopwatch:
    """Adds up the seconds that are spent in some methods."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Times an object's method from now on, under a name."""
        plain: Callable[..., Any] = getattr(owner, method)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            try:
                return plain(*arguments, **keywords)
            finally:
                self.seconds[name] += time.perf_counter() - began

        setattr(owner, method, timed)


def build_loop(suite: str, agent: str, *, compiled: bool) -> OffPolicyLoop:
    """A training loop that is about to learn."""
    with tempfile.TemporaryDirectory() as folder:
        config = make_config(suite, agent, seed=0, run_folder=folder)
        experiment = prepare(dataclasses.replace(config, warmup_steps=1_000))
    tasks = [TASKS.get(name) for name in experiment.suite.train_tasks]
    goals = make_goal_sets(tasks, experiment.suite.goals_per_task, config.goal_seed)[0]
    env, algorithm = experiment.build_env(goals, config.slots_per_task), experiment.build_agent()
    if compiled:
        env.compile()
        algorithm.compile()
    loop = OffPolicyLoop(algorithm, env, experiment.config)
    loop.start()
    while loop.updates < 5:
        loop.advance()
    return loop


def measure(loop: OffPolicyLoop, seconds: float) -> dict[str, float]:
    """Milliseconds of each part in one step of the vector environment with its updates."""
    watch = Stopwatch()
    for owner, method, name in (
        (loop.algorithm, "act", "acting"),
        (loop.env, "step_async", "environments (what is not overlapped)"),
        (loop.env, "step_wait", "environments (what is not overlapped)"),
        (loop.buffer, "sample", "replay: drawing a batch"),
        (loop.buffer, "add", "replay: storing"),
        (loop.algorithm, "update", "update"),
        (loop.statistics, "add", "statistics"),
    ):
        watch.watch(owner, method, name)
    steps, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        loop.advance()
        steps += 1
    parts = {name: 1e3 * value / steps for name, value in watch.seconds.items()}
    return {**parts, "rest": 1e3 * spent / steps - sum(parts.values()), "whole step": 1e3 * spent / steps}


def split_update(loop: OffPolicyLoop, updates: int) -> dict[str, float]:
    """Shares of an update's time: matrix products, optimisers, everything else."""
    batch = loop.buffer.sample(loop.algorithm.batch_per_task, loop._generator, loop.algorithm.gamma)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(updates):
            loop.algorithm.update(batch)
    shares: dict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::").lower()
        kind = "matrix products" if name in PRODUCTS else "element by element, and Python"
        if any(word in name for word in OPTIMISER) and "layer_norm" not in name:
            kind = "optimisers and target networks"
        shares[kind] += event.self_cpu_time_total
    total = sum(shares.values())
    return {name: value / total for name, value in shares.items()}


def section(suite: str, agent: str, seconds: float) -> list[str]:
    """The tables of one run."""
    plain, shares = None, {}
    columns: dict[str, dict[str, float]] = {}
    for compiled in (False, True):
        if compiled and shutil.which("g++") is None:
            continue
        loop = build_loop(suite, agent, compiled=compiled)
        columns["compiled" if compiled else "plain"] = measure(loop, seconds)
        if not compiled:
            plain, shares = loop, split_update(loop, 30)
        loop.env.close()
    assert plain is not None
    slots, per_step = plain.env.num_envs // len(plain.env.tasks), plain._config.updates_per_step
    lines = [
        f"## `mtrl train {suite} --agent {agent}`",
        "",
        f"{len(plain.env.tasks)} tasks, {slots} worlds each, {per_step:g} update a step, batches of "
        f"{plain.algorithm.batch_per_task * len(plain.env.tasks)}; one torch thread, one thread of physics.",
        "",
        f"| ms a step | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [
        f"| {name} | {' | '.join(f'{column[name]:.2f}' for column in columns.values())} |" for name in columns["plain"]
    ]
    parts = ", ".join(f"{name} {share:.0%}" for name, share in sorted(shares.items(), key=lambda item: -item[1]))
    return [*lines, "", f"Within a plain update: {parts}.", ""]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--output", type=Path, help="write a Markdown page there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine, packages = hardware(), versions()
    command = "python experiments/bench_training.py" + "".join(f" {word}" for word in sys.argv[1:])
    lines = [
        "# Where the time of training goes",
        "",
        f"Command: `{command}`. Commit {commit() or 'unknown'}; {machine['cpu']}, {machine['cores']} cores; Python "
        f"{platform.python_version()}, torch {packages['torch']}, mujoco {packages['mujoco']}.",
        "",
        "Environments step in a thread of their own while the agent learns; what is counted for them is the time that",
        "the loop has to wait, with rewards and observations. *compiled* is `--compile`.",
        "",
    ]
    for suite, agent in RUNS:
        lines += section(suite, agent, arguments.seconds)
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
