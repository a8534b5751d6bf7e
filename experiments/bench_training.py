"""Where the time of training goes: acting, environments, replay, and the parts of an update; plain and compiled.

    python experiments/bench_training.py --output docs/benchmark-training.md

Expected time: seven minutes on two cores that do nothing else; compiling needs a C++ compiler.
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

from mtrl.algorithm import OnPolicyAlgorithm
from mtrl.api import make_config
from mtrl.goals import make_goal_sets
from mtrl.provenance import commit, hardware, versions
from mtrl.runner.experiment import prepare
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.runner.on_policy import OnPolicyLoop
from mtrl.tasks import TASKS

Loop = OffPolicyLoop | OnPolicyLoop
RUNS = (("MT3", "quick"), ("MT10", "mtmhsac"), ("MT10", "fast-small"), ("MT10", "ppo-small"))
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


def build_loop(suite: str, agent: str, *, compiled: bool) -> Loop:
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
    kind: type[Any] = OnPolicyLoop if isinstance(algorithm, OnPolicyAlgorithm) else OffPolicyLoop
    loop: Loop = kind(algorithm, env, experiment.config)
    loop.start()
    while loop.updates < 5:
        loop.advance()
    return loop


def methods(loop: Loop) -> list[tuple[Any, str, str]]:
    """What is timed: an object, its method, and what that is called."""
    shared = [
        (loop.env, "step_async", "environments (what is not overlapped)"),
        (loop.env, "step_wait", "environments (what is not overlapped)"),
        (loop.algorithm, "update", "update"),
        (loop.statistics, "add", "statistics"),
    ]
    if isinstance(loop, OnPolicyLoop):
        own = [
            (loop.algorithm, "explore", "acting"),
            (loop.algorithm, "digest", "advantages and targets"),
            (loop._lessons, "next", "drawing a part"),
            (loop.rollout, "add", "storing"),
        ]
    else:
        own = [
            (loop.algorithm, "act", "acting"),
            (loop.buffer, "sample", "drawing a batch"),
            (loop.buffer, "add", "storing"),
        ]
    return [*own, *shared]


def measure(loop: Loop, seconds: float) -> dict[str, float]:
    """Milliseconds of each part in one step of the vector environment with its updates, over whole rollouts."""
    while isinstance(loop, OnPolicyLoop) and loop.rollout.filled:
        loop.advance()
    watch = Stopwatch()
    for owner, method, name in methods(loop):
        watch.watch(owner, method, name)
    steps, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or (isinstance(loop, OnPolicyLoop) and loop.rollout.filled):
        loop.advance()
        steps += 1
    parts = {name: 1e3 * value / steps for name, value in watch.seconds.items()}
    return {**parts, "rest": 1e3 * spent / steps - sum(parts.values()), "whole step": 1e3 * spent / steps}


def part_of(loop: Loop) -> tuple[Any, int]:
    """What an update learns from, and its transitions."""
    if isinstance(loop, OnPolicyLoop):
        while not loop._lessons.total - loop._lessons.made:
            loop.advance()
        rows = loop._lessons.next()
        return rows, rows["log_prob"].numel()
    agent = loop.algorithm
    batch = loop.buffer.sample(agent.batch_per_task, loop._generator, agent.gamma)
    return batch, len(batch.reward)


def split_update(loop: Loop, updates: int) -> dict[str, float]:
    """Shares of an update's time: matrix products, optimisers, everything else."""
    batch, _ = part_of(loop)
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
    slots, rows = plain.env.num_envs // len(plain.env.tasks), part_of(plain)[1]
    if isinstance(plain, OnPolicyLoop):
        per_step = plain.algorithm.epochs * plain.algorithm.minibatches / plain.algorithm.rollout_steps
    else:
        per_step = plain._config.updates_per_step
    lines = [
        f"## `mtrl train {suite} --agent {agent}`",
        "",
        f"{len(plain.env.tasks)} tasks, {slots} worlds each, {per_step:.3g} updates a step, each from {rows} "
        "transitions; one torch thread, one thread of physics.",
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
