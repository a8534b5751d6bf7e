"""Registering what is your own: tasks, suites, agents and trackers. docs/registering.md shows each call.

Every call is cheap: environments are built, and names looked up, when the entry is first used. A module with such
calls is found as `MODULE:NAME` (`mtrl train my_tasks:point`), or through an entry point of an installed package.
Imported in worker processes along with users' modules: no torch at the top of this one.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from mtrl.adapter import Goals, Recipe, SuccessFunction, build, goal_sampler
from mtrl.errors import UserError
from mtrl.mjcf import ControlFunction, MJCFEnv, ObserveFunction, ResetFunction, RewardFunction, TestFunction
from mtrl.suites import SUITES, Suite
from mtrl.tasks import TASKS, TaskDefinition, check_descriptor

if TYPE_CHECKING:
    from mtrl.algorithm import Problem
    from mtrl.config import RunConfig
    from mtrl.logger.contract import RunInfo, Tracker

EnvClass = TypeVar("EnvClass", bound=Callable[..., gymnasium.Env[Any, Any]])
TrackerStart = TypeVar("TrackerStart", bound="Callable[[RunInfo], Tracker]")


def register_task(
    name: str,
    env: str | Callable[..., gymnasium.Env[Any, Any]],
    *,
    description: str,
    horizon: int | None = None,
    goals: Goals = "seed",
    success: SuccessFunction | None = None,
    goal_part: tuple[int, int] | None = None,
    arguments: Mapping[str, Any] | None = None,
    descriptor: Sequence[float] = (),
) -> None:
    """Registers a gymnasium environment as a task.

    Observations (a Box, or a Dict and the like of fixed size) are flattened; actions, which must be a Box with finite
    bounds, are scaled from [-1, 1]. The environment runs in worker processes, so what it is made from must be
    picklable; what a script or a notebook defines is sent along.

    Args:
        name: Under which it is found.
        env: A gymnasium id (`Pendulum-v1`, `package:Id-v0`), a `gymnasium.Env` class, or a function that builds one.
        description: One line.
        horizon: Steps after which an episode is truncated; None takes the environment's own limit.
        goals: What makes one variation of the task differ from another. `"seed"`: the seed of `reset`. `(low, high)`:
            a vector drawn uniformly between two, handed to `reset` as `options["goal"]`. A function
            `(count, seed) -> [count, goal]`: your own distinct rows, handed over likewise.
        success: `(info, terminated, reward) -> bool`, whether the state after a step counts as solved; None reads
            `success` or `is_success` of the info.
        goal_part: First index of the goal in the flat observation, and the index after its last; where a suite hides
            goals, there are zeros instead. None: the part `desired_goal` of a Dict, or none.
        arguments: Keywords for `env`.
        descriptor: Numbers that are known of the task beforehand, which networks may be told.

    Raises:
        UserError: An argument is impossible, or the name taken. What is wrong with the environment itself shows when
            it is first used; `mtrl check` explains it.
    """
    if isinstance(env, gymnasium.Env):
        raise UserError(f"task '{name}': got an environment that is built already: give its class or a function")
    if not isinstance(env, str) and not callable(env):
        raise UserError(f"task '{name}': env is a {type(env).__name__}: give an id, a class or a function")
    if horizon is not None and horizon < 1:
        raise UserError(f"task '{name}': horizon {horizon} is impossible: an episode has at least 1 step")
    sample_goals = goal_sampler(name, goals)
    define = functools.partial(
        _define_task,
        name,
        env,
        description,
        dict(arguments or {}),
        check_descriptor(name, descriptor),
        horizon,
        sample_goals=sample_goals,
        goal_is_seed=isinstance(goals, str),
        success=success,
        goal_part=goal_part,
    )
    TASKS.register_later(name, define, description)


def _define_task(
    name: str,
    env: Any,
    description: str,
    arguments: dict[str, Any],
    descriptor: tuple[float, ...],
    *given: Any,
    **more: Any,
) -> TaskDefinition:
    recipe = Recipe(name, _find_spec(name, env) if isinstance(env, str) else env, arguments, *given, **more)
    adapter = build(recipe, True)
    (obs_dim,), (action_dim,) = adapter.observation_space.shape or (0,), adapter.action_space.shape or (0,)
    adapter.close()
    make = functools.partial(build, recipe)
    return TaskDefinition(
        name,
        description,
        make,
        recipe.sample_goals,
        obs_dim,
        action_dim,
        adapter.horizon,
        engine="gymnasium",
        descriptor=descriptor,
    )


def _find_spec(name: str, identifier: str) -> EnvSpec:
    """The spec of a gymnasium id; a worker has not run what registered it, so it gets the spec."""
    module, _, identifier = identifier.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        spec = gymnasium.spec(identifier)
    except (ImportError, gymnasium.error.Error) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"task '{name}': gymnasium has no environment '{identifier}' ({reason}): install or import its package "
            "first, or write PACKAGE:ID"
        ) from error
    entry = spec.entry_point
    if isinstance(entry, str) and entry.startswith("__main__:"):
        main = importlib.import_module("__main__")
        return replace(spec, entry_point=functools.reduce(getattr, entry[9:].split("."), main))
    return spec


def task(
    name: str,
    *,
    description: str,
    horizon: int | None = None,
    goals: Goals = "seed",
    success: SuccessFunction | None = None,
    goal_part: tuple[int, int] | None = None,
    arguments: Mapping[str, Any] | None = None,
    descriptor: Sequence[float] = (),
) -> Callable[[EnvClass], EnvClass]:
    """Decorator form of `register_task`, for a `gymnasium.Env` class or a function that builds one."""

    def register(env: EnvClass) -> EnvClass:
        register_task(
            name,
            env,
            description=description,
            horizon=horizon,
            goals=goals,
            success=success,
            goal_part=goal_part,
            arguments=arguments,
            descriptor=descriptor,
        )
        return env

    return register


def register_mjcf_task(
    name: str,
    xml: str | Path,
    *,
    description: str,
    observe: ObserveFunction,
    reward: RewardFunction,
    success: TestFunction,
    frame_skip: int,
    horizon: int,
    reset: ResetFunction | None = None,
    terminated: TestFunction | None = None,
    control: ControlFunction | None = None,
    action_dim: int | None = None,
    goals: Goals = "seed",
    goal_part: tuple[int, int] | None = None,
    camera: str | None = None,
    descriptor: Sequence[float] = (),
) -> None:
    """Registers a MuJoCo model with Python functions of `(model, data, goal)` as a task.

    Args:
        name: Under which it is found.
        xml: An MJCF file, or the text of one.
        description: One line.
        observe: `(model, data, goal) -> [obs]`.
        reward: `(model, data, goal) -> float`, of the state after a step; `data.ctrl` holds the action that led there.
        success: `(model, data, goal) -> bool`, whether the state counts as solved.
        frame_skip: Physics steps in a step of the task.
        horizon: Steps after which an episode is truncated.
        reset: `(model, data, goal, generator) -> None`, sets up an episode in freshly reset data.
        terminated: `(model, data, goal) -> bool`, whether the state is terminal; None: no state is.
        control: `(model, data, action) -> None`, applies an action in [-1, 1]; None scales it to the actuators' control
            ranges.
        action_dim: Numbers in an action, where `control` is given.
        goals: See `register_task`. With `"seed"`, functions get an empty goal, and `reset` a generator of that seed.
        goal_part: See `register_task`.
        camera: Camera of the model for images; None: one that shows the whole model.
        descriptor: See `register_task`.

    Raises:
        UserError: An argument is impossible, or the name taken. What is wrong with the model shows when it is first
            used.
    """
    example = np.zeros(0) if isinstance(goals, str) else goal_sampler(name, goals)(1, 0)[0]
    arguments = {
        "xml": xml if isinstance(xml, str) and xml.lstrip().startswith("<") else Path(xml).absolute(),
        "observe": observe,
        "reward": reward,
        "success": success,
        "frame_skip": frame_skip,
        "reset": reset,
        "terminated": terminated,
        "control": control,
        "action_dim": action_dim,
        "example_goal": example,
        "camera": camera,
    }
    if frame_skip < 1:
        raise UserError(f"task '{name}': frame_skip {frame_skip} is impossible: a step has at least 1 physics step")
    if (control is None) != (action_dim is None):
        raise UserError(f"task '{name}': control and action_dim go together: give both or none")
    register_task(
        name,
        MJCFEnv,
        description=description,
        horizon=horizon,
        goals=goals,
        goal_part=goal_part,
        arguments=arguments,
        descriptor=descriptor,
    )


def register_suite(
    name: str,
    tasks: Sequence[str],
    *,
    description: str,
    test_tasks: Sequence[str] = (),
    goal_visible: bool = True,
    goals_per_task: int = 50,
) -> None:
    """Registers a suite of registered and built-in tasks; their observations and actions may differ in size.

    Args:
        name: Under which it is found.
        tasks: Names of the tasks to train on; their order gives the task ids.
        description: One line.
        test_tasks: Held-out tasks of a meta suite; empty in a multi-task suite.
        goal_visible: Whether observations show the goal, or zeros in its place.
        goals_per_task: Goals in the training set and, again, in the held-out set.

    Raises:
        UserError: An argument is impossible, or the name taken. An unknown task shows when the suite is first used.
    """
    if isinstance(tasks, str) or isinstance(test_tasks, str):
        raise UserError(f"suite '{name}': give its tasks as a list of names, not as one text")
    if not tasks:
        raise UserError(f"suite '{name}' has no tasks: name at least one")
    for group in (tasks, test_tasks):
        repeated = sorted({member for member in group if list(group).count(member) > 1})
        if repeated:
            raise UserError(f"suite '{name}' lists task '{repeated[0]}' twice: each task once")
    if goals_per_task < 1:
        raise UserError(f"suite '{name}': goals_per_task {goals_per_task} is impossible: each task needs at least 1")
    define = functools.partial(_define_suite, name, tuple(tasks), tuple(test_tasks), goal_visible, goals_per_task)
    SUITES.register_later(name, define, description)


def _define_suite(
    name: str, tasks: tuple[str, ...], test_tasks: tuple[str, ...], goal_visible: bool, goals_per_task: int
) -> Suite:
    try:
        train, test = (tuple(TASKS.get(member).name for member in group) for group in (tasks, test_tasks))
    except UserError as error:
        raise UserError(f"suite '{name}': {error}") from error
    return Suite(name, train, test, goal_visible, goals_per_task)


def register_agent(
    name: str,
    build: Callable[[Any, "Problem"], Any],
    *,
    description: str,
    defaults: "RunConfig",
    cost: str = "not measured",
    source: str = "own",
    trainable: bool = True,
) -> None:
    """Registers an agent: an algorithm with the settings that it starts from.

    Args:
        name: As on the command line, `--agent NAME`.
        build: `(algorithm config, problem) -> algorithm`, such as a subclass of `mtrl.algorithm.OffPolicyAlgorithm`.
        description: One line.
        defaults: The run's settings; `defaults.algorithm` is a frozen dataclass, whose fields become options.
        cost: Rough cost of a run, for `--help`.
        source: Where the settings are from.
        trainable: False for a fixed policy, which is evaluated only.

    Raises:
        UserError: The name is taken.
    """
    from mtrl.algorithm import AGENTS, AgentPreset

    preset = AgentPreset(name, replace(defaults, agent=name), build, cost, source, trainable)
    AGENTS.register(name, preset, description)


def register_tracker(name: str, *, description: str) -> Callable[[TrackerStart], TrackerStart]:
    """Decorator that registers a tracker: a `mtrl.logger.Tracker` class, or a function that starts one for a run.

    It is used as `--tracking.trackers NAME`.
    """
    from mtrl.logger.contract import TRACKERS

    def register(start: TrackerStart) -> TrackerStart:
        TRACKERS.register(name, start, description)
        return start

    return register
