"""How far the tasks are from upstream's own choice of versions, metaworld 3.1.1 on MuJoCo 3.3.0, task by task.

    python experiments/oracle_spread.py --output docs/oracle.md

The goals and actions of the golden files (tests/golden/make_golden.py) are played again, open loop: by upstream's
classes on the installed MuJoCo, which shows how much MuJoCo's versions differ by themselves, and by an engine that is
named with `--engine`, `module:function`. An engine is a function `(task, goals [n, goal], actions [n, step, 4]) ->
Played`. It takes half a minute on one core.
"""

import argparse
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from mtrl.envs.metaworld.upstream import upstream_class
from mtrl.errors import UserError

GOLDEN = Path(__file__).parents[1] / "tests/golden/metaworld-3.1.1.npz"
FRAME = 18
"""Numbers in the current part of an observation."""
AFTER = (1, 10, 100)
"""Steps after which frames are compared."""
FLOOR = 1e-6
"""Differences below it are rounding: the golden frames are stored in single precision."""
ALLOWED = 2.0
"""How many times upstream's own difference an engine may differ, where the two are not equal."""


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


Engine = Callable[[str, np.ndarray, np.ndarray], Played]


@dataclass(frozen=True)
class Golden:
    """What the golden file holds of one task."""

    goals: np.ndarray
    actions: np.ndarray
    played: Played


def load_golden(path: Path = GOLDEN) -> tuple[dict[str, Golden], list[str]]:
    """Every task's, and the versions that made them."""
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    tasks = {}
    for index, name in enumerate(arrays["tasks"].tolist()):
        keys = ("resets", "frames", "rewards", "successes")
        goals = arrays["goals"][index, :, : arrays["goal_widths"][index]]
        tasks[name] = Golden(goals, arrays["actions"][index], Played(*(arrays[key][index] for key in keys)))
    return tasks, arrays["versions"].tolist()


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


@dataclass(frozen=True)
class Spread:
    """How far two sets of episodes are apart: for each measure the median and the largest difference.

    Of observations, an episode's difference is that of the number which differs most, and the median is over episodes;
    of rewards it is over steps.
    """

    measures: Mapping[str, tuple[float, float]]
    flips: int
    """Steps at which success differs."""
    equal: bool
    """Whether everything is equal to the last bit."""


def compare(ours: Played, theirs: Played) -> Spread:
    """The differences between two engines on the same goals and actions."""
    gaps = {"reset": np.abs(ours.resets - theirs.resets).max(1)}
    for step in AFTER:
        gaps[f"step {step}"] = np.abs(ours.frames[:, step - 1] - theirs.frames[:, step - 1]).max(1)
    gaps["reward"] = np.abs(ours.rewards - theirs.rewards)
    pairs = ((ours.resets, theirs.resets), (ours.frames, theirs.frames), (ours.rewards, theirs.rewards))
    return Spread(
        {name: (float(np.median(gap)), float(gap.max())) for name, gap in gaps.items()},
        int((ours.successes != theirs.successes).sum()),
        all(np.array_equal(mine, other) for mine, other in pairs),
    )


def exceeds(engine: Spread, upstream: Spread) -> list[str]:
    """The measures in which an engine is farther from the oracle than versions of MuJoCo are from each other."""
    return [
        name
        for name, (_, largest) in engine.measures.items()
        if not largest <= max(ALLOWED * upstream.measures[name][1], FLOOR)
    ]


def table(spreads: Mapping[str, Spread]) -> str:
    """A table in Markdown: median / largest."""
    names = list(next(iter(spreads.values())).measures)
    lines = [f"| task | {' | '.join(names)} | success differs |", "|---" * (len(names) + 2) + "|"]
    for task, spread in spreads.items():
        cells = [f"{median:.1e} / {largest:.1e}" for median, largest in spread.measures.values()]
        lines.append(f"| {task} | {' | '.join(cells)} | {spread.flips} |")
    return "\n".join(lines)


def summary(spreads: Mapping[str, Spread]) -> str:
    """The median and the largest of the tasks' largest differences, in a sentence."""
    parts = []
    for name in next(iter(spreads.values())).measures:
        largest = {task: spread.measures[name][1] for task, spread in spreads.items()}
        worst = max(largest, key=largest.__getitem__)
        parts.append(f"{name} {np.median(list(largest.values())):.1e} (worst {worst}, {largest[worst]:.1e})")
    return "Largest difference of a task, median over tasks: " + "; ".join(parts) + "."


def engine_section(name: str, engine: Engine, golden: Mapping[str, Golden], upstream: Mapping[str, Played]) -> str:
    """The page's part on an engine: its differences from the oracle and from upstream on the same MuJoCo."""
    spreads, equal, far = {}, 0, []
    for task, row in golden.items():
        played = engine(task, row.goals, row.actions)
        spreads[task] = compare(played, row.played)
        equal += compare(played, upstream[task]).equal
        measures = exceeds(spreads[task], compare(upstream[task], row.played))
        far += [f"{task} ({', '.join(measures)})"] if measures else []
    verdict = f"beyond it: {', '.join(far)}" if far else "no task is beyond it"
    return f"""## {name}

{equal} of {len(golden)} tasks are equal to upstream on the installed MuJoCo to the last bit. Measured by upstream's own
spread, of which {ALLOWED:g} times is allowed: {verdict}.

{summary(spreads)}

{table(spreads)}
"""


def engine_of(path: str) -> Engine:
    """The function that `module:function` names.

    Raises:
        UserError: There is none.
    """
    module, _, function = path.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no engine '{path}' ({error}): name one as module:function") from error


def main() -> None:
    """Prints the page, or writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", help="all where none is named")
    parser.add_argument("--engine", action="append", default=[], help="module:function, besides upstream's classes")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    golden, versions = load_golden()
    golden = {task: golden[task] for task in arguments.tasks or golden}
    upstream = {task: play_upstream(task, row.goals, row.actions) for task, row in golden.items()}
    spreads = {task: compare(upstream[task], row.played) for task, row in golden.items()}
    engines = "".join(f" --engine {path}" for path in arguments.engine)
    page = f"""# Distance from the oracle

The oracle is upstream as it pins its own versions: {", ".join(versions)}. Its goals and actions ({len(golden)} tasks,
three episodes each: expert, noisy expert, random) are played again open loop; here: metaworld {version("metaworld")},
MuJoCo {version("mujoco")}. Cells give the median and the largest absolute difference: of the reset observation, of the
observed frame after 1, 10 and 100 steps (m; quaternions and gripper opening without unit), and of the reward (0 to 10).
Contacts make small differences grow, so late steps show how chaotic a task is rather than how alike the engines are.

Command: `python experiments/oracle_spread.py{engines} --output docs/oracle.md`

## Upstream's classes on MuJoCo {version("mujoco")}

{summary(spreads)}

{table(spreads)}
"""
    for path in arguments.engine:
        page += "\n" + engine_section(path, engine_of(path), golden, upstream)
    if arguments.output:
        arguments.output.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
