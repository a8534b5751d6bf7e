"""How far the tasks are from upstream's own choice of versions, metaworld 3.1.1 on MuJoCo 3.3.0, task by task.

    python experiments/oracle_spread.py --output docs/oracle.md

The goals and actions of the golden files (tests/golden/make_golden.py) are played again, open loop, by upstream's
classes on the installed MuJoCo and by this package's engines. The yardstick is recorded too: the same upstream,
unchanged, on a later MuJoCo. It takes half a minute on one core.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import mtrl.envs  # noqa: F401 - registers the tasks
from mtrl.envs.metaworld.upstream import upstream_class
from mtrl.goals import EachGoalOnce, GoalSet
from mtrl.vector.build import make_vector_env

GOLDEN = Path(__file__).parents[1] / "tests/golden"
FRAME = 18
"""Numbers in the current part of an observation."""
AFTER = (1, 10, 100)
"""Steps after which frames are compared."""
FLOOR = 1e-6
"""Differences below it are rounding: the golden frames are stored in single precision."""
ALLOWED = 2.0
"""How many times upstream's own difference an engine may have: either is a single sample of what versions make."""


@dataclass(frozen=True)
class Played:
    """Episodes of one task.

    Attributes:
        resets: First observations, `[n, 39]`.
        frames: The current part of each observation, `[n, step, 18]`.
        rewards: `[n, step]`.
        successes: `[n, step]` bool.
    """

    resets: np.ndarray
    frames: np.ndarray
    rewards: np.ndarray
    successes: np.ndarray


@dataclass(frozen=True)
class Golden:
    """What the golden files hold of one task."""

    goals: np.ndarray
    actions: np.ndarray
    oracle: Played
    later: Played
    """The same upstream on a later MuJoCo."""


def load_golden() -> tuple[dict[str, Golden], list[str], list[str]]:
    """Every task's, the versions of the oracle, and those of the later one."""
    files = []
    for name in ("metaworld-3.1.1.npz", "replayed.npz"):
        with np.load(GOLDEN / name) as file:
            files.append({key: file[key] for key in file.files})
    oracle, later = files
    tasks = {}
    for index, name in enumerate(oracle["tasks"].tolist()):
        goals = oracle["goals"][index, :, : oracle["goal_widths"][index]]
        played = [Played(*(arrays[field.name][index] for field in fields(Played))) for arrays in files]
        tasks[name] = Golden(goals, oracle["actions"][index], *played)
    return tasks, oracle["versions"].tolist(), later["versions"].tolist()


def play_upstream(task: str, goals: np.ndarray, actions: np.ndarray) -> Played:
    """Upstream's class on the installed MuJoCo."""
    env = upstream_class(task)()
    env.task_name = task
    env.show_goal(True)
    resets, results = [], []
    for goal, row in zip(goals, actions, strict=True):
        resets.append(env.reset_to(goal))
        results.append([env.step(action) for action in row])
    return Played(
        np.array(resets),
        np.array([[result[0][:FRAME] for result in row] for row in results]),
        np.array([[result[1] for result in row] for row in results]),
        np.array([[bool(result[4]["success"]) for result in row] for row in results]),
    )


def play_engine(name: str, task: str, goals: np.ndarray, actions: np.ndarray) -> Played:
    """A vector environment of this package, one world a goal; it observes and rewards in single precision."""
    count, steps = actions.shape[:2]
    environment = make_vector_env([task], goal_set=GoalSet("golden", (goals,)), slots_per_task=count, engine=name)
    try:
        schedule = EachGoalOnce([0] * count, (count,))
        resets, _ = environment.reset(seed=0, options={"schedule": schedule})
        frames, rewards, successes = [], [], []
        for step in range(steps):
            observations, reward, _, _, info = environment.step(torch.from_numpy(actions[:, step]))
            frames.append(observations[:, :FRAME].numpy())
            rewards.append(reward.numpy())
            successes.append(info["success"].numpy())
    finally:
        environment.close()
    return Played(resets.numpy(), np.stack(frames, 1), np.stack(rewards, 1), np.stack(successes, 1).astype(bool))


@dataclass(frozen=True)
class Spread:
    """How far two sets of episodes are apart: for each measure the median and the largest difference.

    Of observations, an episode's difference is that of the number which differs most, and the median is over episodes;
    of rewards it is over steps.
    """

    measures: Mapping[str, tuple[float, float]]
    flips: int
    """Steps at which success differs."""


def compare(ours: Played, theirs: Played) -> Spread:
    """The differences between two players of the same goals and actions."""
    gaps = {"reset": np.abs(ours.resets - theirs.resets).max(1)}
    for step in AFTER:
        gaps[f"step {step}"] = np.abs(ours.frames[:, step - 1] - theirs.frames[:, step - 1]).max(1)
    gaps["reward"] = np.abs(ours.rewards - theirs.rewards)
    return Spread(
        {name: (float(np.median(gap)), float(gap.max())) for name, gap in gaps.items()},
        int((ours.successes != theirs.successes).sum()),
    )


def exceeds(spread: Spread, yardstick: Spread) -> list[str]:
    """The measures in which a player is farther from the oracle than versions of MuJoCo are from each other."""
    return [
        f"{name} {largest:.1e} instead of {yardstick.measures[name][1]:.1e}"
        for name, (_, largest) in spread.measures.items()
        if not largest <= max(ALLOWED * yardstick.measures[name][1], FLOOR)
    ]


def table(players: Mapping[str, Mapping[str, Spread]], place: int) -> str:
    """A table in Markdown of the medians (`place` 0) or of the largest differences (1), one number a player."""
    first = next(iter(players.values()))
    names = list(next(iter(first.values())).measures)
    lines = [f"| task | {' | '.join(names)} | success differs |", "|---" * (len(names) + 2) + "|"]
    for task in first:
        spreads = [spreads[task] for spreads in players.values()]
        cells = [" · ".join(f"{spread.measures[name][place]:.1e}" for spread in spreads) for name in names]
        lines.append(f"| {task} | {' | '.join(cells)} | {' · '.join(str(spread.flips) for spread in spreads)} |")
    return "\n".join(lines)


def summary(players: Mapping[str, Mapping[str, Spread]]) -> str:
    """A table in Markdown: of the tasks' largest differences the median and the largest."""
    names = list(next(iter(next(iter(players.values())).values())).measures)
    lines = [f"| player | {' | '.join(names)} | success differs |", "|---" * (len(names) + 2) + "|"]
    for player, spreads in players.items():
        cells = []
        for name in names:
            largest = {task: spread.measures[name][1] for task, spread in spreads.items()}
            worst = max(largest, key=largest.__getitem__)
            cells.append(f"{np.median(list(largest.values())):.1e}, {largest[worst]:.1e} ({worst})")
        flips = sum(spread.flips for spread in spreads.values())
        lines.append(f"| {player} | {' | '.join(cells)} | {flips} |")
    return "\n".join(lines)


def verdict(spreads: Mapping[str, Spread], yardstick: Mapping[str, Spread]) -> str:
    """In how many tasks a player stays within the yardstick, and where it does not."""
    far = {task: measures for task in spreads if (measures := exceeds(spreads[task], yardstick[task]))}
    lines = [f"{len(spreads) - len(far)} of {len(spreads)} tasks are within {ALLOWED:g} times it in all measures."]
    return "\n".join(lines + [f"- {task}: {'; '.join(measures)}" for task, measures in far.items()])


def judge(golden: Mapping[str, Golden], engine: str, oracle: list[str], later: list[str]) -> str:
    """The page."""
    upstream = {task: play_upstream(task, row.goals, row.actions) for task, row in golden.items()}
    native = {task: play_engine(engine, task, row.goals, row.actions) for task, row in golden.items()}
    installed = f"MuJoCo {version('mujoco')}"
    players = {
        f"unchanged upstream ({', '.join(later[:2])})": {
            t: compare(row.later, row.oracle) for t, row in golden.items()
        },
        f"upstream's classes here ({installed})": {t: compare(upstream[t], row.oracle) for t, row in golden.items()},
        f"engine `{engine}` ({installed})": {t: compare(native[t], row.oracle) for t, row in golden.items()},
    }
    apart = {f"engine `{engine}`": {task: compare(native[task], upstream[task]) for task in golden}}
    first, _, last = players
    ends = {player: players[player] for player in (first, last)}
    return f"""# Distance from the oracle

The oracle is upstream with the versions that it pins itself: {", ".join(oracle)}. Its goals
and actions ({len(golden)} tasks, three episodes of {max(AFTER)} steps each: expert, noisy expert, random) are played
again, open loop. Measured is the absolute difference: of the reset observation, of the observed frame after 1, 10 and
100 steps (m; quaternions and gripper opening without unit), and of the reward (0 to 10); of an observation the number
that differs most. Contacts make small differences grow, so that late steps show how chaotic a task is, and hardly how
alike the players are. That rules and observations are those of the oracle itself is shown without physics, on its own
states and to 1e-9, by `tests/test_golden.py`.

Command: `python experiments/oracle_spread.py --output docs/oracle.md`

## All tasks

Of the tasks' largest differences the median, then the largest.

{summary(players)}

Measured by the first line, versions of MuJoCo with upstream unchanged, engine `{engine}`:
{verdict(players[last], players[first])}

Not from the oracle but from upstream's classes on the same MuJoCo, the engine (which observes and rewards in single
precision) is apart by:

{summary(apart)}

## Largest difference of each task

{first} · {last}

{table(ends, 1)}

## Median difference of each task

Over episodes; of rewards over steps. {first} · {last}

{table(ends, 0)}
"""


def main() -> None:
    """Prints the page, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="all where none is named")
    parser.add_argument("--engine", default="native", help="the engine to judge")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    golden, oracle, later = load_golden()
    page = judge({task: golden[task] for task in arguments.tasks or golden}, arguments.engine, oracle, later)
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
