"""Our task functions beside upstream's, fed with the same states, in double and in single precision.

    python experiments/parity.py --output docs/parity.md
    python experiments/parity.py reach-v3 push-v3 --episodes 6 --steps 500

Upstream's environments are played by their experts, by noisy experts and at random; the named views are read out of
their simulations, and our rules are evaluated on them. Then come states that are made up, and states on both sides of
each comparison in upstream's reward functions. Expected: every difference below 1e-9, single precision below 1e-4.
"""

import argparse
import multiprocessing
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from upstream_play import EXACT, Differences, play
from upstream_states import OUTCOMES, States

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.provenance import commit, hardware, versions
from mtrl.scenes.columns import Columns
from mtrl.scenes.task import Layout

ROUNDED = 1e-4
"""Largest difference in single precision, relative to the number or to 1, whichever is larger."""
NEAR = 1e-6
"""States this near to a threshold may fall on its other side in single precision, whose steps are 6e-8 at 1 m."""
TRIES = 512
"""How many states around one are judged to see how its values vary."""
EPISODES, STEPS = 24, 420
EACH = 4
KINDS = ("played", "made up", "at comparisons")
CANNOT_TURN = {
    "floor - hand[2] or 0.0": "asked where it is positive",
    "floor - gripper[2] or 0.0": "asked where it is positive",
    "obj[1] - 0.01 > self.obj_init_pos[2]": "a quirk: y is compared with a height",
}
"""Comparisons that turn out the same in all states, and why."""


def judged(name: str, states: States, dtype: torch.dtype, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    """Our observations and outcomes, `[state, 39 + 7]` float64, computed in a precision.

    Args:
        name: The task.
        states: The states.
        dtype: The precision, into which everything is rounded first.
        shift: Views, memory and actions are moved at random by at most so much.
        seed: Fixes how.
    """
    task, generator = TASKS[name].scene_task, np.random.default_rng(seed)
    tables = []
    for rows in (states.views, states.action, states.memory):
        numbers = np.stack(rows)
        numbers = numbers + shift * generator.uniform(-1, 1, numbers.shape)
        tables.append(torch.from_numpy(numbers).to(dtype))
    views, actions, memory = tables
    evaluator = task.rules.lay_out(Layout((task,), (len(views),), dtype=dtype))
    outcome = evaluator.evaluate(Columns(views, task.rules.views), actions, Columns(memory, task.rules.memory))
    parts = (outcome.observation, outcome.reward[:, None], outcome.success[:, None], outcome.metrics())
    return torch.cat([part.double() for part in parts], dim=1).numpy()


def compare(name: str, states: States) -> Differences:
    """Our judgement of states beside upstream's, in double precision."""
    found = Differences()
    if not len(states):
        return found
    ours = judged(name, states, torch.float64)
    theirs = np.hstack((np.stack(states.observation), np.stack(states.outcome)))
    width = theirs.shape[1] - len(OUTCOMES)
    for what, columns in {"observation": slice(width), **{n: width + i for i, n in enumerate(OUTCOMES)}}.items():
        gaps = np.abs(ours[:, columns] - theirs[:, columns]).reshape(len(ours), -1).max(axis=1)
        row = int(np.argmax(np.where(np.isnan(gaps), np.inf, gaps)))
        found.note(what, ours[row, columns], theirs[row, columns], row)
    return found


@dataclass(frozen=True)
class Rounding:
    """What single precision makes of states.

    Attributes:
        near: States that are within `NEAR` of a threshold.
        flips: How many of those differ by more than `ROUNDED`.
        steep: Largest relative differences beyond `ROUNDED` of other states, around which double precision varies as
            much within `NEAR`.
        relative: Largest relative difference of all that are neither near nor steep.
        unexplained: Rows of these which differ by more than `ROUNDED`.
    """

    near: int
    flips: int
    steep: tuple[float, ...]
    relative: float
    unexplained: tuple[int, ...]


def rounding(name: str, states: States) -> Rounding:
    """Our judgement of states in single precision beside that in double precision."""
    if not len(states):
        return Rounding(near=0, flips=0, steep=(), relative=0.0, unexplained=())
    exact, rounded = judged(name, states, torch.float64), judged(name, states, torch.float32)
    relative = (np.abs(rounded - exact) / np.maximum(1.0, np.abs(exact))).max(axis=1)
    near, differs = np.array(states.room) <= NEAR, ~(relative <= ROUNDED)
    far = np.flatnonzero(differs & ~near)
    steep = [row for row in far if _enclosed(name, states.repeated(int(row), TRIES), rounded[row])]
    rest = ~near
    rest[steep] = False
    return Rounding(
        near=int(near.sum()),
        flips=int((differs & near).sum()),
        steep=tuple(float(relative[row]) for row in steep),
        relative=float(relative[rest].max(initial=0.0)),
        unexplained=tuple(int(row) for row in np.flatnonzero(differs & rest)),
    )


def _enclosed(name: str, states: States, value: np.ndarray) -> bool:
    """Whether values in double precision enclose `value` when states, all the same, are moved by at most `NEAR`."""
    around = judged(name, states, torch.float64, shift=NEAR)
    slack = ROUNDED * np.maximum(1.0, np.abs(value))
    return bool(((around.min(axis=0) - slack <= value) & (value <= around.max(axis=0) + slack)).all())


@dataclass(frozen=True)
class Result:
    """What was found of one task; a dictionary has an entry for the states of each kind.

    Attributes:
        task: Its name.
        count: How many states.
        differences: In double precision.
        roundings: In single precision.
        starts: Differences at the starts, and of the commanded hand.
        both_sides: Comparisons in upstream's code of which states on both sides were compared.
        one_side: Texts of the other ones.
        refused: Made-up states that upstream raised an error for.
    """

    task: str
    count: dict[str, int]
    differences: dict[str, Differences]
    roundings: dict[str, Rounding]
    starts: Differences
    both_sides: int
    one_side: tuple[str, ...]
    refused: int

    def wrong(self) -> dict[str, object]:
        """What is not as it must be, and how."""
        parts = {"start": self.starts, **self.differences}
        found: dict[str, object] = {
            f"{kind}: {what}": value for kind, part in parts.items() for what, value in part.wrong().items()
        }
        found |= {f"{kind}: single precision": r for kind, r in self.roundings.items() if r.unexplained}
        return found


def check(name: str, episodes: int, steps: int, goal_seed: int = 0, each: int = EACH, made_every: int = 5) -> Result:
    """Plays a task on upstream and compares; see `upstream_play.play` for the arguments."""
    warnings.filterwarnings("ignore", "Constant.s. may be too high")  # of the experts, whose actions are clipped
    played = play(name, episodes, steps, goal_seed, each, made_every)
    search = played.search
    kinds = dict(zip(KINDS, (played.states, search.made, search.close), strict=True))
    return Result(
        task=name,
        count={kind: len(states) for kind, states in kinds.items()},
        differences={kind: compare(name, states) for kind, states in kinds.items()},
        roundings={kind: rounding(name, states) for kind, states in kinds.items()},
        starts=played.starts,
        both_sides=len(search.found()),
        one_side=tuple(text for _, text, _, _ in search.missed()),
        refused=search.impossible,
    )


def _check(job: tuple[str, int, int, int]) -> Result:
    torch.set_num_threads(1)
    return check(*job)


def check_all(tasks: Sequence[str], episodes: int, steps: int, goal_seed: int, processes: int) -> list[Result]:
    """Checks several tasks in parallel and says how they fared."""
    results = []
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for result in pool.imap(_check, [(task, episodes, steps, goal_seed) for task in tasks]):
            wrong = result.wrong()
            largest = max(part.most() for part in (result.starts, *result.differences.values()))
            single = max(part.relative for part in result.roundings.values())
            line = f"{sum(result.count.values()):6d} states  double {largest:.1e}  single {single:.1e}"
            print(f"{result.task:30s} {line}  {'BAD' if wrong else 'OK'}", flush=True)
            for what, how in wrong.items():
                print(f"    {what}: {how}")
            results.append(result)
    return results


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}"


def _double_row(result: Result) -> list[object]:
    played = result.differences["played"]
    wholes = [played.most("reward"), played.most("observation"), played.most(*OUTCOMES[1:])]
    comparisons = f"{result.both_sides} of {result.both_sides + len(result.one_side)}"
    others = [(result.count[kind], _number(result.differences[kind].most())) for kind in KINDS[1:]]
    return [result.task, result.count["played"], *map(_number, wholes), *others[0], comparisons, *others[1]]


def _single_row(result: Result) -> list[object]:
    parts = [result.roundings[kind] for kind in KINDS]
    flips, steep = [f"{part.flips} of {part.near}" for part in parts], [len(part.steep) for part in parts]
    unexplained = sum(len(part.unexplained) for part in parts)
    return [result.task, _number(max(part.relative for part in parts)), *flips, *steep, unexplained]


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(str(cell) for cell in line)} |" for line in lines]


def _reasons(texts: Sequence[str]) -> str:
    reasons = {text: f" ({CANNOT_TURN[text]})" if text in CANNOT_TURN else "" for text in sorted(texts)}
    return ", ".join(f"`{text}`{reason}" for text, reason in reasons.items())


DOUBLE = ("task", "played", "reward", "observation", "success, info", "made up", "largest")
DOUBLE += ("comparisons", "states at them", "largest")
SINGLE = ("task", "relative", "flips: played", "made up", "at comparisons")
SINGLE += ("steep: played", "made up", "at comparisons", "unexplained")


def page(results: Sequence[Result], options: str, seconds: float) -> str:
    """The results as a Markdown page."""
    packages, machine = versions(), hardware()
    named = ", ".join(f"{name} {packages[name]}" for name in ("metaworld", "mujoco", "torch", "numpy"))
    largest = max(part.most() for result in results for part in (result.starts, *result.differences.values()))
    roundings = [part for result in results for part in result.roundings.values()]
    refused = sum(result.refused for result in results)
    flips = [sum(result.roundings[kind].flips for result in results) for kind in KINDS]
    lines = [
        "# Task functions beside upstream's",
        "",
        *TEXT.format(count=len(results), near=NEAR, refused=refused).splitlines(),
        "",
        f"- **Double precision: largest difference {largest:.0e} (allowed {EXACT:.0e}), over "
        f"{sum(sum(result.count.values()) for result in results)} states.**",
        f"- **Single precision: largest relative difference {max(part.relative for part in roundings):.0e} (allowed "
        f"{ROUNDED:.0e}). Flips: {flips[0]} in states that were played, {flips[1]} in made-up ones, {flips[2]} at "
        f"comparisons; unexplained: {sum(len(part.unexplained) for part in roundings)}.**",
        "",
        f"Command: `python experiments/parity.py{options} --output docs/parity.md`, {seconds / 60:.0f} minutes on "
        f"{machine['cores']} cores of {machine['cpu']}. Commit {commit()}, Python {packages['python']}, {named}.",
        "",
        "## Double precision",
        "",
        *_table(DOUBLE, [_double_row(result) for result in results]),
        "",
        "Comparisons that no two states turned:",
        "",
        *(f"- {result.task}: {_reasons(result.one_side)}" for result in results if result.one_side),
        "",
        "## Single precision",
        "",
        *_table(SINGLE, [_single_row(result) for result in results]),
    ]
    return "\n".join(lines) + "\n"


TEXT = """Observation, reward, success and info of {count} tasks, computed by our functions from upstream's own states,
beside what upstream says of them, on the same MuJoCo. Differences are absolute and the largest of all states.

- *Played*: after each step of upstream's environments, driven by their experts, by noisy experts and at random.
- *Made up*: the hand, an object or a part of one is written into upstream's simulation near something that counts.
  Upstream refused to judge {refused} more, which are left out.
- *At comparisons*: every comparison in upstream's reward code (`<`, `<=`, `>`, `>=`, `max` and `min`) is watched. Where
  one turns between two states, the way between them is halved until its sides differ by 1e-10, and the states before
  and after it are compared. *Comparisons* counts those of which both sides were compared. What pads press on an object
  cannot be put between two states; it is compared in the states that were played.

*Single precision* rounds views, memory, actions and constants before it computes. Differences are in proportion to the
number, or to 1 if that is larger. *Flips* are states that are within {near:.0e} of a comparison at which a value may
jump, and differ by more than the bound; beside them is how many such states there are. *Steep* are other states that
differ by more than the bound, since within {near:.0e} of them values vary as much in double precision, too: upstream
divides by margins that may be next to nothing, and takes the logarithm of how far the hand is outside a radius.
*Relative* is the largest difference of all other states; those which differ by more than the bound would be
*unexplained*."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help="tasks; all without any")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="episodes a task, a goal each")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps an episode")
    parser.add_argument("--goal-seed", type=int, default=0, help="fixes goals, actions and made-up states")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="tasks checked at once")
    parser.add_argument("--output", type=Path, help="write a Markdown page there")
    arguments = parser.parse_args()
    begun = time.time()
    results = check_all(arguments.tasks, arguments.episodes, arguments.steps, arguments.goal_seed, arguments.processes)
    if arguments.output:
        names = ("tasks", "episodes", "steps", "goal_seed", "processes")
        given = {name: value for name in names if (value := getattr(arguments, name)) != parser.get_default(name)}
        options = "".join(f" --{name.replace('_', '-')} {value}" for name, value in given.items() if name != "tasks")
        options = "".join(f" {task}" for task in given.get("tasks", ())) + options
        arguments.output.write_text(page(results, options, time.time() - begun))
    if any(result.wrong() for result in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
