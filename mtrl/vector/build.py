"""Building the vector environment of a list of tasks."""

import contextlib
from collections.abc import Callable, Hashable, Sequence

import torch

from mtrl.errors import UserError
from mtrl.goals import GoalSet
from mtrl.logger.console import say
from mtrl.registry import Registry
from mtrl.scenes.warp.requirements import missing_packages
from mtrl.scenes.warp.settings import WarpSettings
from mtrl.tasks import TASKS, TaskDefinition
from mtrl.vector.composite import CompositeVectorEnv
from mtrl.vector.contract import TaskVectorEnv
from mtrl.vector.processes import ProcessVectorEnv

Builder = Callable[..., TaskVectorEnv]
"""Builds a vector environment of tasks that share an engine; the parameters are those of `ProcessVectorEnv`. A builder
with a function `kind_of(definition)` gets only tasks for which that is equal, and is called once for each kind; one
with `has_settings` also gets `settings`."""


def _scene_builder() -> Builder:
    from mtrl.scenes.vector import SceneVectorEnv

    return SceneVectorEnv


def _warp_builder() -> Builder:
    from mtrl.scenes.warp.vector import WarpVectorEnv

    return WarpVectorEnv


def _tensor_builder() -> Builder:
    from mtrl.tensors.vector import TensorVectorEnv

    return TensorVectorEnv


WORLDS_FOR_WARP = 512
"""Worlds from which `auto` takes the warp engine on a CUDA device: a step of it takes some milliseconds however few."""

ENGINES: Registry[Builder] = Registry("engine")
ENGINES.register_later("native", _scene_builder, "tasks on MuJoCo scenes, in batches on native threads")
ENGINES.register_later("warp", _warp_builder, "tasks on MuJoCo scenes, thousands of worlds on a GPU")
ENGINES.register_later("tensor", _tensor_builder, "tasks whose rules are functions of tensors, without a simulator")
ENGINES.register("official", ProcessVectorEnv, "Meta-World's own classes, in worker processes")
ENGINES.register("gymnasium", ProcessVectorEnv, "your gymnasium environments, in worker processes")


def make_vector_env(
    task_names: Sequence[str],
    *,
    goal_set: GoalSet,
    slots_per_task: int = 1,
    workers: int = 0,
    engine: str = "auto",
    goal_visible: bool = True,
    device: str | torch.device = "cpu",
    warp: WarpSettings | None = None,
) -> TaskVectorEnv:
    """The vector environment of some registered tasks.

    Args:
        task_names: Tasks, in the suite's order.
        goal_set: Their goals, one table a task in the same order.
        slots_per_task: Environments of each task.
        workers: Worker processes, or threads of the physics; 0 takes one less than the cores.
        engine: `auto` runs each task on the engine that suits it and the device; a name runs all on that one.
        goal_visible: Whether observations show the goal.
        device: Where tensors live.
        warp: How the warp engine arranges its worlds, where it is used.

    Raises:
        UserError: A name is unknown, a number impossible, or a task cannot be built.
    """
    _check(task_names, goal_set, slots_per_task, workers)
    definitions = [TASKS.get(name) for name in task_names]
    engines = choose_engines(definitions, engine, torch.device(device), slots_per_task * len(definitions), hint=True)
    groups: dict[tuple[Builder, Hashable], list[int]] = {}
    for place, (task, name) in enumerate(zip(definitions, engines, strict=True)):
        builder = ENGINES.get(name)
        kind = builder.kind_of(task) if hasattr(builder, "kind_of") else None  # pyright: ignore
        groups.setdefault((builder, kind), []).append(place)
    with contextlib.ExitStack() as built:
        parts: list[TaskVectorEnv] = []
        for (builder, _), places in groups.items():
            part = builder(
                [definitions[place] for place in places],
                goal_set=GoalSet(goal_set.name, tuple(goal_set.rows[place] for place in places)),
                slots_per_task=slots_per_task,
                workers=workers,
                goal_visible=goal_visible,
                device=device,
                **({"settings": warp} if getattr(builder, "has_settings", False) else {}),
            )
            built.callback(part.close)
            parts.append(part)
        built.pop_all()  # All are built, so none is closed here.
    return parts[0] if len(parts) == 1 else CompositeVectorEnv(parts, list(groups.values()), goal_set)


def choose_engines(
    tasks: Sequence[TaskDefinition], engine: str, device: torch.device, worlds: int, *, hint: bool = False
) -> list[str]:
    """The engine of each task; `auto` is the warp engine for scenes in many worlds on CUDA, else each task's own.

    Args:
        tasks: Tasks.
        engine: What was asked for.
        device: Where they would run.
        worlds: Worlds of all tasks.
        hint: Say so where the warp engine would be taken and is not installed.
    """
    if engine != "auto":
        return [engine] * len(tasks)
    many = device.type == "cuda" and worlds >= WORLDS_FOR_WARP and any(task.scene is not None for task in tasks)
    if many and missing_packages():
        if hint:
            say(
                f"the warp engine would step {worlds} worlds on the GPU: pip install 'mtrl-suite[gpu]'; going on "
                "without it"
            )
        many = False
    return ["warp" if many and task.scene is not None else task.engine for task in tasks]


def _check(task_names: Sequence[str], goal_set: GoalSet, slots_per_task: int, workers: int) -> None:
    """Refuses impossible numbers."""
    if not task_names:
        raise UserError("no task given: name at least one (`mtrl list tasks`)")
    if slots_per_task < 1:
        raise UserError(f"slots_per_task is {slots_per_task}: each task needs at least 1 slot")
    if workers < 0:
        raise UserError(f"workers is {workers}: use 0 for one less than the cores, or the number you want")
    if len(goal_set.rows) != len(task_names):
        raise UserError(f"goal set '{goal_set.name}' has tables for {len(goal_set.rows)} tasks, not {len(task_names)}")
