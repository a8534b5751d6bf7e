"""The single checks behind `mtrl check`: each looks at one promise of a task and yields what it found."""

import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import cloudpickle
import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from mtrl.adapter import TaskAdapter
from mtrl.errors import UserError
from mtrl.tasks import TaskDefinition

Level = Literal["passed", "warning", "failed"]
SEED = 3
LONGEST = 2_000
"""Steps of an episode that are checked; longer horizons would take minutes."""
GOALS = 8
"""Goals that the checks use."""
NOTHING_HIDDEN = (
    "where a suite hides goals, nothing is blanked, and observations tell goals apart: if they hold the goal, register "
    "the task with goal_part=(first, last + 1)"
)
"""In order where goals are shown, and a leak in a suite that hides them."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        level: `failed` breaks the contract; `warning` is allowed, but seldom meant.
        check: What was looked at.
        message: What was found and, unless it passed, the remedy.
    """

    level: Level
    check: str
    message: str


@dataclass(frozen=True)
class Trace:
    """An episode: observations `[time + 1, obs]`, and rewards, successes and ends, `[time]`."""

    obs: np.ndarray
    reward: np.ndarray
    success: tuple[Any, ...]
    terminated: np.ndarray
    truncated: np.ndarray

    def equals(self, other: "Trace") -> bool:
        """Whether the two are the same to the last bit."""
        mine, theirs = (
            (trace.obs, trace.reward, np.array([float(value or 0) for value in trace.success]), trace.terminated)
            for trace in (self, other)
        )
        return all(np.array_equal(one, two, equal_nan=True) for one, two in zip(mine, theirs, strict=True))


Environment = gymnasium.Env[Any, Any]


def reason_of(error: BaseException) -> str:
    """One line about an error: its text alone where that was written for the user, else its type and place too."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError | AssertionError) and text:
        return text
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"


def _spaces(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    for kind, space, size in (
        ("observation", env.observation_space, definition.obs_dim),
        ("action", env.action_space, definition.action_dim),
    ):
        if not isinstance(space, gymnasium.spaces.Box) or space.shape != (size,):
            yield Finding("failed", "spaces", f"the {kind} space is {space}: it must be a Box of shape ({size},)")
            return
    if (env.action_space.low != -1).any() or (env.action_space.high != 1).any():  # type: ignore[attr-defined]
        yield Finding("failed", "spaces", f"actions range over {env.action_space}: the bounds must be -1 and 1")
    else:
        yield Finding("passed", "spaces", "vectors of the registered sizes, actions in [-1, 1]")


def _pickle(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    try:
        cloudpickle.loads(cloudpickle.dumps((definition.make, definition.sample_goals)))
    except Exception as error:  # noqa: BLE001 - picklers raise many types
        yield Finding(
            "failed",
            "pickling",
            f"the task cannot be sent to a worker process ({reason_of(error)}): build what it holds (files, locks, "
            "models) inside the environment, not outside",
        )
    else:
        yield Finding("passed", "pickling", "can be sent to worker processes")


def _goals(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    rows, again, other = (
        np.asarray(definition.sample_goals(2 * GOALS, seed), np.float64) for seed in (SEED, SEED, SEED + 1)
    )
    if rows.ndim != 2 or len(rows) != 2 * GOALS or not np.isfinite(rows).all():
        yield Finding("failed", "goals", f"asked for {2 * GOALS} goals, got {rows.shape} numbers, or some not finite")
        return
    if not np.array_equal(rows, again):
        yield Finding("failed", "goals", "one seed gave two tables: draw from np.random.default_rng(seed) alone")
        return
    distinct = len(np.unique(rows, axis=0))
    if distinct < len(rows):
        yield Finding("failed", "goals", f"{distinct} of {len(rows)} are distinct: return each row once")
        return
    if np.array_equal(rows, other):
        yield Finding("warning", "goals", "another goal seed gives the same goals: use the seed")
        return
    yield Finding("passed", "goals", f"distinct, fixed by the goal seed, {rows.shape[1]} numbers each")


def _gymnasium(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of unbounded spaces and the like, which are in order here
        check_env(env, skip_render_check=True)
    yield Finding("passed", "gymnasium", "gymnasium's own check_env has no complaint")


def _actions(definition: TaskDefinition, stream: int) -> np.ndarray:
    steps = min(definition.horizon, LONGEST)
    return np.random.default_rng([SEED, stream]).uniform(-1, 1, (steps, definition.action_dim)).astype(np.float32)


def _play(definition: TaskDefinition, env: Environment, goal: int, seed: int, actions: np.ndarray) -> Trace:
    """Plays one goal until the episode or the actions end."""
    row = np.asarray(definition.sample_goals(2 * GOALS, SEED), np.float64)[goal]
    obs, _ = env.reset(seed=seed, options={"goal": row})
    seen, rest = [np.array(obs)], []
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action.copy())
        seen.append(np.array(obs))
        rest.append((reward, info.get("success", info.get("is_success")), terminated, truncated))
        if terminated or truncated:
            break
    reward, success, terminated, truncated = zip(*rest, strict=True)
    shapes = {one.shape for one in seen}
    if shapes != {(definition.obs_dim,)}:
        raise UserError(f"observations have shapes {shapes}: all must be ({definition.obs_dim},)")
    return Trace(np.array(seen), np.array(reward, np.float64), success, np.array(terminated), np.array(truncated))


def _episodes(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    begin = time.perf_counter()
    traces = [_play(definition, env, goal, SEED + goal, _actions(definition, goal)) for goal in range(3)]
    steps = sum(len(trace.reward) for trace in traces)
    rate = steps / (time.perf_counter() - begin)
    yield from _numbers(traces)
    yield from _ends(definition, traces)
    yield from _success(env, traces)
    yield Finding("passed", "speed", f"{rate:,.0f} steps/s in one process")


def _numbers(traces: list[Trace]) -> Iterator[Finding]:
    for word, arrays, remedy in (
        ("observations", [trace.obs for trace in traces], "look for divisions by zero and exploding physics"),
        ("rewards", [trace.reward for trace in traces], "give a plain number every step"),
    ):
        if not all(np.isfinite(array.astype(np.float32)).all() for array in arrays):
            yield Finding("failed", "numbers", f"some {word} are not finite as float32: {remedy}")
            return
    yield Finding("passed", "numbers", "observations and rewards are finite")


def _ends(definition: TaskDefinition, traces: list[Trace]) -> Iterator[Finding]:
    horizon, lengths = definition.horizon, [len(trace.reward) for trace in traces]
    if horizon > LONGEST:
        yield Finding("warning", "horizon", f"{horizon} steps are more than the {LONGEST} that are checked here")
        return
    for trace, length in zip(traces, lengths, strict=True):
        if length < horizon and trace.truncated[-1]:
            yield Finding(
                "failed",
                "horizon",
                f"an episode was truncated after {length} steps, its horizon is {horizon}: lower the horizon, or take "
                "the environment's own limit away",
            )
            return
        if length == horizon and not trace.truncated[-1] and not trace.terminated[-1]:
            yield Finding("failed", "horizon", f"not truncated after {horizon} steps: set truncated there")
            return
    yield Finding("passed", "horizon", f"episodes of {min(lengths)} to {max(lengths)} steps, horizon {horizon}")
    if any(trace.terminated[-1] and float(trace.success[-1] or 0) > 0 for trace in traces):
        yield Finding(
            "warning",
            "termination",
            "episodes end where the task is solved: reward after that is lost to the agent, so that staying unsolved "
            "may pay; let them go on to the horizon, or give the goal state a reward that is worth it",
        )


def _success(env: Environment, traces: list[Trace]) -> Iterator[Finding]:
    values = [value for trace in traces for value in trace.success]
    if not getattr(env, "reports_success", True) or None in values:
        yield Finding(
            "failed",
            "success",
            "no step says whether the task is solved: put info['success'] into step, or register it with "
            "success=function of (info, terminated, reward)",
        )
        return
    if any(np.ndim(value) != 0 or not 0 <= float(value) <= 1 for value in values):
        yield Finding("failed", "success", "success is not a bool in every step: give True or False")
        return
    share = np.mean([any(trace.success) for trace in traces])
    if share == 1:
        yield Finding("warning", "success", "random actions solve it every time: success says nothing about an agent")
        return
    yield Finding("passed", "success", f"reported in every step; random actions solve {share:.0%} of 3 episodes")


def _purity(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    actions = _actions(definition, 0)
    first = _play(definition, env, 0, SEED, actions)
    _play(definition, env, 1, SEED + 1, _actions(definition, 1)[:5])
    remedy = "draw from self.np_random after super().reset(seed=seed), and set up everything anew in reset"
    if not first.equals(_play(definition, env, 0, SEED, actions)):
        yield Finding("failed", "reset", f"the same seed and goal gave two episodes, one after the other: {remedy}")
        return
    with closing(definition.make(True)) as fresh:
        if not first.equals(_play(definition, fresh, 0, SEED, actions)):
            yield Finding(
                "failed", "reset", f"the same seed and goal gave other episodes in a new environment: {remedy}"
            )
            return
    yield Finding("passed", "reset", "an episode follows from seed, goal and actions alone")


def _differences(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    actions = _actions(definition, 0)
    first = _play(definition, env, 0, SEED, actions)
    if first.equals(_play(definition, env, 0, SEED, _actions(definition, 5))):
        yield Finding("warning", "actions", "other actions led to the same episode: does step use its action?")
    else:
        yield Finding("passed", "actions", "make a difference")
    others = [_play(definition, env, goal, SEED, actions) for goal in range(1, GOALS)]
    if all(first.equals(other) for other in others):
        yield Finding(
            "warning",
            "variation",
            "all goals give the same episode: let reset use options['goal'], or self.np_random where goals are seeds",
        )
    elif all(np.array_equal(first.obs, other.obs) for other in others):
        yield Finding(
            "warning",
            "variation",
            "goals change rewards or success, but no observation: an agent cannot see what it is to do; put the goal "
            "into the observation",
        )
    else:
        yield Finding("passed", "variation", "other goals give other episodes")


def _hidden_goal(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    with closing(definition.make(False)) as hidden:
        if hidden.observation_space.shape != env.observation_space.shape:
            yield Finding("failed", "hidden goal", "observations change their size: put zeros in the goal's place")
            return
        traces = [_play(definition, hidden, goal, SEED, _actions(definition, 0)[:1]) for goal in (0, 1)]
    shown = _play(definition, env, 0, SEED, _actions(definition, 0)[:1])
    changed = int((traces[0].obs != shown.obs).any(axis=0).sum())
    seeds = isinstance(env, TaskAdapter) and env.goal_is_seed
    if changed == 0 and not seeds and not np.array_equal(traces[0].obs, traces[1].obs):
        yield Finding("passed", "hidden goal", NOTHING_HIDDEN)
    else:
        yield Finding("passed", "hidden goal", f"where a suite hides goals, {changed} observation numbers are blanked")


def _images(definition: TaskDefinition, env: Environment) -> Iterator[Finding]:
    _play(definition, env, 0, SEED, _actions(definition, 0)[:1])
    remedy = "have render() give an RGB image in render_mode 'rgb_array'"
    try:
        image = np.asarray(env.render())
    except NotImplementedError:
        yield Finding("warning", "images", f"no videos, since it has no render(): {remedy}")
        return
    except Exception as error:  # noqa: BLE001 - many libraries, many errors
        yield Finding("warning", "images", f"no videos: {reason_of(error)}")
        return
    if image.ndim != 3 or image.shape[2] != 3:
        yield Finding("warning", "images", f"no videos, since render() gives no RGB image: {remedy}")
        return
    yield Finding("passed", "images", f"{image.shape[1]} x {image.shape[0]} pixels")


CHECKS: dict[str, Callable[[TaskDefinition, Environment], Iterator[Finding]]] = {
    "spaces": _spaces,
    "pickling": _pickle,
    "goals": _goals,
    "gymnasium": _gymnasium,
    "episodes": _episodes,
    "reset": _purity,
    "differences": _differences,
    "hidden goal": _hidden_goal,
    "images": _images,
}
"""All checks of a single environment, in order."""
NEEDED = ("spaces", "goals")
"""Where one of these fails, the others would only repeat it."""
