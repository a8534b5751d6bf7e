"""What the first observation of an episode gives away where the goal is hidden: the goal, and which task it is.

    python experiments/reset_leaks.py --output docs/reset-leaks.md

For every task a linear function of the first observation and its squares is fitted to where the goal is, on some goals,
and judged on others; the nearest of all tasks' first observations tells the task.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import mtrl.envs  # noqa: F401 - registers the tasks
from mtrl.envs.suites import MT50
from mtrl.goals import make_goal_sets
from mtrl.scenes.bank import load_snapshots
from mtrl.tasks import TASKS
from mtrl.vector.processes import available_cores

GOAL = slice(36, 39)
"""Where an observation has the goal's position, in metres."""
KNOWN, FAR = 0.5, 2.0
"""Centimetres of error up to which a goal counts as given away, and from which on it counts as hidden."""
RIDGE = 1e-6
"""Of the fit, for numbers of mean 0 and deviation 1."""
STILL = 1e-6
"""Metres; numbers that vary by less do not vary."""


@dataclass(frozen=True)
class Leak:
    """What the first observations of a task tell.

    Attributes:
        spread: Median distance of a goal from the goals' mean, cm: the error of knowing nothing.
        error: Median distance of a goal from where the fit has it, cm.
        task: Share of first observations whose nearest other is of the same task.
    """

    spread: float
    error: float
    task: float

    @property
    def verdict(self) -> str:
        """In a word or two."""
        if self.spread < KNOWN:
            return "always the same"
        if self.error < KNOWN:
            return "given away"
        return "hidden" if self.error > min(FAR, 0.5 * self.spread) else "partly"


def measure(names: tuple[str, ...], goals: int, goal_seed: int) -> dict[str, Leak]:
    """The leaks of some tasks, each told apart from all others.

    Args:
        names: Tasks.
        goals: To fit to; as many others are judged on.
        goal_seed: Fixes the goals.
    """
    tasks = [TASKS.get(name) for name in names]
    sets = make_goal_sets(tasks, goals, goal_seed)
    starts = [load_snapshots([t.scene_task for t in tasks], one.rows, available_cores()) for one in sets]
    fitted, judged = ([one.hidden for one in split] for split in starts)
    right = _nearest(fitted, judged)
    found = {}
    for place, name in enumerate(names):
        goal, truth = (split[place].visible[:, GOAL] for split in starts)
        guess = fit(fitted[place], goal)(judged[place])
        middle = np.median(np.linalg.norm(truth - goal.mean(axis=0), axis=1))
        error = np.median(np.linalg.norm(truth - guess, axis=1))
        found[name] = Leak(100.0 * float(middle), 100.0 * float(error), right[place])
    return found


def fit(obs: np.ndarray, goal: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The function of observations `[row, obs]`, linear in them and their squares, that is nearest to `goal`."""
    moves = np.ptp(obs, axis=0) > STILL
    centre, scale = obs[:, moves].mean(axis=0), obs[:, moves].std(axis=0)

    def features(rows: np.ndarray) -> np.ndarray:
        near = np.clip((rows[:, moves] - centre) / scale, -4.0, 4.0) if moves.any() else rows[:, :0]
        return np.concatenate([near, near**2, np.ones((len(rows), 1))], axis=1)

    inputs = features(obs)
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * len(obs) * np.eye(inputs.shape[1]), inputs.T @ goal)
    return lambda rows: features(rows) @ weights


def _nearest(known: list[np.ndarray], asked: list[np.ndarray]) -> list[float]:
    """Of each task, how often the nearest known observation is of the same one; numbers scaled over all tasks."""
    every, owner = np.concatenate(known), np.repeat(np.arange(len(known)), [len(rows) for rows in known])
    scale = every.std(axis=0) + STILL
    rates = []
    for task, rows in enumerate(asked):
        away = np.stack([np.square((every - row) / scale).sum(axis=1) for row in rows])
        rates.append(float((owner[away.argmin(axis=1)] == task).mean()))
    return rates


PAGE = """# What a reset gives away

In meta suites the goal is hidden: the last three numbers of an observation are zero. Upstream's first observation may
still tell it, where it follows from the place of the object or the fixture; an agent then needs no episode to find it
out, and a comparison of agents that adapt says nothing about adaptation to the goal. The observations are upstream's,
so this is true of all results on Meta-World.

    {command}

- *spread*: median distance of a goal from the mean of the goals: what is left to guess without a look.
- *error*: the same for a function of the first observation (linear in its numbers and their squares), fitted to
  {goals} goals and judged on {goals} others.
- *task*: how often the nearest first observation, among those of all 50 tasks, is of the same task.

The goal is **given away** where the error is under {known} cm ({given} tasks), and **always the same** in {same}; these
need no adaptation to the goal. It is **hidden** where more than {far} cm or half of the spread are left ({hidden}
tasks), and *partly* told in the others. A cleverer function may tell more.

| task | spread, cm | error, cm | goal | task |
|---|---|---|---|---|
{rows}

In {told} of {tasks} tasks the first observation alone tells the task in at least 95 % of resets.
"""


def page(found: dict[str, Leak], goals: int, command: str) -> str:
    """The text of the page."""
    verdicts = [leak.verdict for leak in found.values()]
    rows = "\n".join(
        f"| {name} | {leak.spread:.1f} | {leak.error:.2f} | {leak.verdict} | {100 * leak.task:.0f} % |"
        for name, leak in found.items()
    )
    counts = {"given": "given away", "same": "always the same", "hidden": "hidden"}
    told = sum(leak.task >= 0.95 for leak in found.values())
    return PAGE.format(
        command=command,
        goals=goals,
        known=KNOWN,
        far=FAR,
        rows=rows,
        told=told,
        tasks=len(found),
        **{name: verdicts.count(verdict) for name, verdict in counts.items()},
    )


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=MT50, help="tasks to look at")
    parser.add_argument("--goals", type=int, default=100, help="goals to fit to, and again to judge on")
    parser.add_argument("--goal-seed", type=int, default=42)
    parser.add_argument("--output", type=Path, help="page to write; without it, the page is printed")
    options = parser.parse_args()
    found = measure(tuple(options.tasks), options.goals, options.goal_seed)
    text = page(found, options.goals, f"python experiments/reset_leaks.py {' '.join(sys.argv[1:])}".strip())
    if options.output:
        options.output.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
