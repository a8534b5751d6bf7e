"""How far the tasks are from upstream's own choice of versions, metaworld 3.1.1 on MuJoCo 3.3.0, task by task.

    python experiments/oracle_spread.py --output docs/oracle.md

The goals and actions of the golden files (tests/golden/make_golden.py) are played again, open loop, by upstream's
classes on the installed MuJoCo and by this package's engines. The yardstick is recorded too: the same upstream
on later versions of MuJoCo. It takes half a minute on one core.
"""

import argparse
from collections.abc import Mapping, Sequence
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
LATER = ("3.16.0", "3.17.0")
"""Versions of MuJoCo on which upstream was played again."""
FRAME = 18
"""Numbers in the current part of an observation."""
AFTER = (1, 10, 100)
"""Steps after which frames are compared."""
FLOOR = 1e-6
"""Differences below it are rounding: the golden frames are stored in single precision."""
ALLOWED = 2.0
"""How many times upstream's own difference an engine may have: either is a single sample of what versions make."""


PAGE = """# Distance from the oracle

The oracle is upstream with the versions that it pins itself: {versions}.
Its goals and actions ({tasks} tasks, three episodes of {steps} steps each: expert, noisy expert, random) are played
again, open loop. Measured is the absolute difference: of the reset observation, of the observed frame after 1, 10 and
100 steps (m; quaternions and gripper opening without unit), and of the reward (0 to 10); of an observation the number
that differs most. Contacts make small differences grow, so that late steps show how chaotic a task is, and hardly how
alike the players are. That rules and observations are those of the oracle itself is shown without physics, on its own
states and to 1e-9, by `tests/test_golden.py`.

Command: `python experiments/oracle_spread.py --output docs/oracle.md`

## All tasks

Of the tasks' largest differences the median, then the largest.

{summary}

The lines of upstream on later versions show how far MuJoCo's versions are apart by themselves. Measured by the
largest of them, engine `{engine}`: {verdict}

Where that is exceeded, the installed MuJoCo is what differs, as upstream's classes have the same figures on it (below).
In disassemble the hand throws the nut during the reset of one of the goals, which makes small differences large.

Not from the oracle but from upstream's classes on the same MuJoCo, the engine (which observes and rewards in single
precision) is apart by:

{apart}

## Largest difference of each task

{legend}

{largest}

## Median difference of each task

Over episodes; of rewards over steps. {legend}

{medians}
"""
"""What is written."""


@dataclass(frozen=True)
class Played:
    """Episodes of one task.

    Attributes:
        resets: First observations, `[n, 39]`.
        frames: The current part of the observations after the steps `AFTER`, `[n, 3, 18]`.
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
    later: tuple[Played, ...]
    """The same upstream on later versions of MuJoCo, `LATER`."""


def load_golden() -> tuple[dict[str, Golden], list[str]]:
    """Every task's, and the versions of the oracle."""
    files = []
    for name in ("metaworld-3.1.1.npz", *(f"replayed-mujoco-{mujoco}.npz" for mujoco in LATER)):
        with np.load(GOLDEN / name) as file:
            files.append({key: file[key] for key in file.files})
    oracle = files[0]
    oracle["frames"] = oracle["frames"][:, :, np.array(AFTER) - 1]
    tasks = {}
    for index, name in enumerate(oracle["tasks"].tolist()):
        goals = oracle["goals"][index, :, : oracle["goal_widths"][index]]
        played = [Played(*(arrays[field.name][index] for field in fields(Played))) for arrays in files]
        tasks[name] = Golden(goals, oracle["actions"][index], played[0], tuple(played[1:]))
    return tasks, oracle["versions"].tolist()


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
        np.array([[row[step - 1][0][:FRAME] for step in AFTER] for row in results]),
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
    chosen = np.stack([frames[step - 1] for step in AFTER], 1)
    return Played(resets.numpy(), chosen, np.stack(rewards, 1), np.stack(successes, 1).astype(bool))


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
    for index, step in enumerate(AFTER):
        gaps[f"step {step}"] = np.abs(ours.frames[:, index] - theirs.frames[:, index]).max(1)
    gaps["reward"] = np.abs(ours.rewards - theirs.rewards)
    return Spread(
        {name: (float(np.median(gap)), float(gap.max())) for name, gap in gaps.items()},
        int((ours.successes != theirs.successes).sum()),
    )


def exceeds(spread: Spread, yardsticks: Sequence[Spread]) -> list[str]:
    """The measures in which a player is farther from the oracle than upstream is from itself."""
    found = []
    for name, (_, largest) in spread.measures.items():
        own = max(yardstick.measures[name][1] for yardstick in yardsticks)
        if not largest <= max(ALLOWED * own, FLOOR):
            found.append(f"{name} {largest:.1e} instead of {own:.1e}")
    return found


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


def verdict(spreads: Mapping[str, Spread], *yardsticks: Mapping[str, Spread]) -> str:
    """In how many tasks a player stays within the yardsticks, and where it does not."""
    found = {task: exceeds(spreads[task], [yardstick[task] for yardstick in yardsticks]) for task in spreads}
    far = {task: measures for task, measures in found.items() if measures}
    lines = [f"{len(spreads) - len(far)} of {len(spreads)} tasks are within {ALLOWED:g} times it in all measures."]
    return "\n".join(lines + [f"- {task}: {'; '.join(measures)}" for task, measures in far.items()])


def judge(golden: Mapping[str, Golden], engine: str, oracle: list[str]) -> str:
    """The page."""
    upstream = {task: play_upstream(task, row.goals, row.actions) for task, row in golden.items()}
    native = {task: play_engine(engine, task, row.goals, row.actions) for task, row in golden.items()}
    installed = f"mujoco {version('mujoco')}"
    everyone = {
        f"upstream, mujoco {mujoco}": {task: row.later[index] for task, row in golden.items()}
        for index, mujoco in enumerate(LATER)
    }
    everyone |= {f"upstream's classes here, {installed}": upstream, f"engine `{engine}`, {installed}": native}
    players = {
        player: {task: compare(played[task], row.oracle) for task, row in golden.items()}
        for player, played in everyone.items()
    }
    apart = {f"engine `{engine}`": {task: compare(native[task], upstream[task]) for task in golden}}
    *yardsticks, _, judged = players.values()
    shown = {player: players[player] for player in (*list(players)[: len(LATER)], list(players)[-1])}
    legend = "Numbers of: " + " · ".join(shown)
    return PAGE.format(
        versions=", ".join(oracle),
        tasks=len(golden),
        steps=max(AFTER),
        engine=engine,
        summary=summary(players),
        verdict=verdict(judged, *yardsticks),
        apart=summary(apart),
        legend=legend,
        largest=table(shown, 1),
        medians=table(shown, 0),
    )


def main() -> None:
    """Prints the page, and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="all where none is named")
    parser.add_argument("--engine", default="native", help="the engine to judge")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    golden, oracle = load_golden()
    page = judge({task: golden[task] for task in arguments.tasks or golden}, arguments.engine, oracle)
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
