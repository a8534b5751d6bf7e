"""How often idle, random and repeated actions succeed: the floor under every success rate.

    python experiments/floors.py --output docs/environments.md

`zero` does nothing, `random` draws a new action each step, `repeat` draws one action an episode and holds it. It takes
about five minutes on two cores. With `--output` the table in that page is replaced.
"""

import argparse
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import mtrl.envs  # noqa: F401 - registers the tasks
from mtrl.suites import SUITES
from mtrl.tasks import TASKS

CANDIDATES = ("handle-pull-side-v3", "faucet-open-v3", "coffee-button-v3", "plate-slide-v3")
"""Tasks besides MT10's that MT3 could have been made of."""
BEGIN, END = "<!-- floors: begin -->", "<!-- floors: end -->"


def zero(generator: np.random.Generator) -> Iterator[np.ndarray]:
    """No motion, gripper effort zero."""
    while True:
        yield np.zeros(4, np.float32)


def random(generator: np.random.Generator) -> Iterator[np.ndarray]:
    """A new uniform action each step."""
    while True:
        yield generator.uniform(-1, 1, 4).astype(np.float32)


def repeat(generator: np.random.Generator) -> Iterator[np.ndarray]:
    """One uniform action, held."""
    action = generator.uniform(-1, 1, 4).astype(np.float32)
    while True:
        yield action


POLICIES: dict[str, Callable[[np.random.Generator], Iterator[np.ndarray]]] = {
    "zero": zero,
    "random": random,
    "repeat": repeat,
}


def floors(task: str, goals: int, goal_seed: int) -> dict[str, tuple[float, float]]:
    """Success of each policy on a task, at any step and at the end, as means over goals, one episode each.

    Args:
        task: Task, such as `reach-v3`.
        goals: How many.
        goal_seed: Fixes the goals and the policies' draws.
    """
    definition = TASKS.get(task)
    environment = definition.make(True)
    rows = definition.sample_goals(goals, goal_seed)
    results = {}
    for name, policy in POLICIES.items():
        outcomes = []
        for index, row in enumerate(rows):
            environment.reset(options={"goal": row})
            successes, truncated = [], False
            actions = policy(np.random.default_rng([goal_seed, index]))
            while not truncated:
                *_, truncated, info = environment.step(next(actions))
                successes.append(float(info["success"]))
            outcomes.append((max(successes), successes[-1]))
        results[name] = tuple(np.mean(outcomes, axis=0).tolist())
    environment.close()
    return results


def _floors(job: tuple[str, int, int]) -> tuple[str, dict[str, tuple[float, float]]]:
    return job[0], floors(*job)


def table(results: dict[str, dict[str, tuple[float, float]]], goals: int) -> str:
    """The results as a Markdown table."""
    lines = [
        f"Success at any step of an episode (in brackets: at its last step), {goals} goals, one episode each.",
        "Command: `python experiments/floors.py --output docs/environments.md`.",
        "",
        "| task | zero | random | repeat |",
        "|---|---|---|---|",
    ]
    for task, result in results.items():
        cells = [f"{result[name][0]:.2f} ({result[name][1]:.2f})" for name in POLICIES]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def insert(page: str, text: str) -> str:
    """The page with the text between its two markers.

    Raises:
        ValueError: A marker is missing.
    """
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    return f"{before}{BEGIN}\n{text}\n{after}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=[*SUITES.get("MT10").train_tasks, *CANDIDATES], help="which")
    parser.add_argument("--goals", type=int, default=50, help="goals a task")
    parser.add_argument("--goal-seed", type=int, default=0, help="fixes goals and actions")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="tasks played at once")
    parser.add_argument("--output", type=Path, help="replace the table in this page")
    arguments = parser.parse_args()
    jobs = [(task, arguments.goals, arguments.goal_seed) for task in arguments.tasks]
    results = {}
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for task, result in pool.imap(_floors, jobs):
            results[task] = result
            print(task, result, flush=True)
    text = table(results, arguments.goals)
    print(text)
    if arguments.output:
        arguments.output.write_text(insert(arguments.output.read_text(), text))


if __name__ == "__main__":
    main()
