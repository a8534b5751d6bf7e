"""Registering a task of one's own on a MuJoCo scene, judged by batched torch functions. See docs/registering.md."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gymnasium
import numpy as np
import torch

from mtrl.adapter import Goals, goal_sampler
from mtrl.errors import UserError
from mtrl.mjcf import actuators
from mtrl.plain_types import GoalRows
from mtrl.scenes.columns import Columns
from mtrl.scenes.functions import Control, FunctionRules, Judge, Situation
from mtrl.scenes.scene import Scene, Viewpoint, stripped_model
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.snapshots import CPU
from mtrl.scenes.task import SceneTask, StartFunction, View
from mtrl.tasks import TASKS, TaskDefinition, check_descriptor

RewardFunction = Callable[[Situation, torch.Tensor], torch.Tensor]


def register_scene_task(
    name: str,
    xml: str | Path,
    *,
    description: str,
    views: Mapping[str, View],
    observe: Judge,
    reward: RewardFunction,
    success: Judge,
    frame_skip: int,
    horizon: int,
    goals: Goals,
    start: StartFunction | None = None,
    memory: Mapping[str, int] | None = None,
    terminated: Judge | None = None,
    control: Control | None = None,
    action_dim: int | None = None,
    goal_part: tuple[int, int] | None = None,
    viewpoint: Viewpoint | None = None,
    phantoms: tuple[str, ...] = (),
    touches: tuple[tuple[str, str], ...] = (),
    descriptor: Sequence[float] = (),
) -> None:
    """Registers a MuJoCo scene with batched torch functions as a task of the native engine.

    Functions get a `Situation`: `situation["ball"]` is the view or the memory of that name in all worlds, float64, and
    `situation["goal"]` their goals. They must work world by world, without Python per world.

    Args:
        name: Under which it is found.
        xml: An MJCF file, or the text of one.
        description: One line.
        views: What the functions read of the simulation, such as `{"ball": body_position("ball")}`.
        observe: `situation -> [world, obs]`.
        reward: `(situation, action [world, act]) -> [world]`, of the state after a step.
        success: `situation -> [world]` bool.
        frame_skip: Physics steps in a step of the task.
        horizon: Steps after which an episode is truncated.
        goals: See `mtrl.register.register_task`; with `"seed"`, a goal is one number that the start may seed a
            generator with.
        start: `(simulation, goals [n, goal]) -> memory`: sets up n worlds, fresh from MuJoCo's reset, one goal each,
            and returns what functions read besides, `[n, width]` an entry; None changes nothing.
        memory: Width of each entry that `start` returns.
        terminated: `situation -> [world]` bool, whether the state is terminal; None: no state is.
        control: `action [world, act] -> {"ctrl": [world, n], ...}`; None scales actions to the actuators' control
            ranges.
        action_dim: Numbers in an action, where `control` is given.
        goal_part: First index of the goal in the observation, and the index after its last; where a suite hides goals,
            there are zeros instead.
        viewpoint: From where pictures are taken; None shows the whole scene.
        phantoms: Geoms that do not collide and that views read.
        touches: Pairs of geoms whose contact force views read, as `sensor_value(TOUCH.format(first, second))`.
        descriptor: See `mtrl.register.register_task`.

    Raises:
        UserError: An argument is impossible, or the name taken. What is wrong with the scene or a function shows when
            the task is first used; `mtrl check` explains it.
    """
    if frame_skip < 1 or horizon < 1:
        raise UserError(f"task '{name}': frame_skip {frame_skip} and horizon {horizon} must be 1 or more")
    if (control is None) != (action_dim is None):
        raise UserError(f"task '{name}': control and action_dim go together: give both or none")
    source = xml if isinstance(xml, str) and xml.lstrip().startswith("<") else Path(xml).absolute()
    sample_goals, known = goal_sampler(name, goals), check_descriptor(name, descriptor)
    functions = {"observe": observe, "reward": reward, "success": success, "terminated": terminated, "control": control}

    def define() -> TaskDefinition:
        scene = Scene(source, phantoms=phantoms, touches=touches)
        widths = {**(memory or {}), "goal": sample_goals(1, 0).shape[1]}
        rules = FunctionRules(
            name=name,
            views={key: view.width for key, view in views.items()},
            memory=widths,
            goal_part=goal_part,
            obs_dim=0,
            action_dim=action_dim or actuators(stripped_model(scene)),
            **functions,  # pyright: ignore[reportArgumentType]
        )
        rules = _sized(rules)
        begin = functools.partial(_start, start)
        task = SceneTask(name, scene, rules, dict(views), begin, frame_skip, viewpoint=viewpoint or Viewpoint())
        return TaskDefinition(
            name,
            description,
            functools.partial(_make, name),
            sample_goals,
            rules.obs_dim,
            rules.action_dim,
            horizon,
            "native",
            lambda: task,
            known,
        )

    TASKS.register_later(name, define, description)


def _make(name: str, goal_visible: bool) -> gymnasium.Env:
    from mtrl.scenes.single import SceneEnv

    return SceneEnv(TASKS.get(name), goal_visible)


def _start(start: StartFunction | None, simulation: Simulation, goals: GoalRows) -> dict[str, np.ndarray]:
    remembered = dict(start(simulation, goals) or {}) if start is not None else {}
    simulation.forward()  # so that the first observation is of the state as it is
    return remembered


def _sized(rules: FunctionRules) -> FunctionRules:
    """The rules with the length of what `observe` gives for a world of zeros."""
    views, memory = (Columns.empty(1, widths, torch.float64, CPU) for widths in (rules.views, rules.memory))
    example = rules.observe(Situation(views, memory))
    if example.ndim != 2 or len(example) != 1 or example.shape[1] == 0:
        raise UserError(
            f"task '{rules.name}': `observe` gave shape {tuple(example.shape)} for 1 world, it must give (1, numbers)"
        )
    return FunctionRules(**{**vars(rules), "obs_dim": example.shape[1]})
