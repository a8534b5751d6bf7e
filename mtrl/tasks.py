"""What a task is: the record under which it is registered, and the spec that agents see."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium

from mtrl.errors import UserError
from mtrl.plain_types import GoalRows
from mtrl.registry import Registry

if TYPE_CHECKING:
    from mtrl.scenes.task import SceneTask
    from mtrl.tensors.task import TensorTask


@dataclass(frozen=True)
class TaskSpec:
    """What an agent, an evaluation or a plot may know of a task.

    Attributes:
        name: Registered name, such as `reach-v3`.
        obs_dim: Numbers in an observation before padding.
        action_dim: Numbers in an action before padding; log-probabilities and target entropies use this one.
        horizon: Steps after which an episode is truncated.
        engine: Name of the engine that runs it.
        descriptor: What is known of the task beforehand, such as its physical parameters; empty: nothing.
    """

    name: str
    obs_dim: int
    action_dim: int
    horizon: int
    engine: str
    descriptor: tuple[float, ...] = ()


@dataclass(frozen=True)
class TaskDefinition:
    """A registered task.

    `make(goal_visible)` builds a single environment: a `gymnasium.Env` with 1-D `Box` observation and action spaces
    whose actions lie in [-1, 1]. Its `reset(seed=..., options={"goal": row})` starts the variation that `row` (float64,
    `[goal]`) describes and must be a pure function of the seed and the row; its `step` puts `success` (bool or float)
    in the info and truncates at the horizon. `make` and `sample_goals` must be picklable, since workers are spawned.

    Attributes:
        name: Registered name.
        description: One line.
        make: Builds one environment; `goal_visible` False hides the goal where the task has one in its observation.
        sample_goals: `(count, seed) -> [count, goal]` float64, distinct rows, the same for the same arguments.
        obs_dim: Numbers in an observation.
        action_dim: Numbers in an action.
        horizon: Steps after which an episode is truncated.
        engine: Which engine runs it: `native` for a task on a MuJoCo scene, `official` for Meta-World's own classes,
            `gymnasium` for a user's environment.
        scene: Gives the task's scene, views and rules, for engines that step worlds in batches; None where it has none.
        descriptor: What is known of the task beforehand; networks may be told it (`--algorithm.actor.task.code
            descriptor`).
        tensors: Gives the task's functions of tensors, for the engine `tensor`; None where it has none.
    """

    name: str
    description: str
    make: Callable[[bool], gymnasium.Env[Any, Any]]
    sample_goals: Callable[[int, int], GoalRows]
    obs_dim: int
    action_dim: int
    horizon: int
    engine: str
    scene: "Callable[[], SceneTask] | None" = None
    descriptor: tuple[float, ...] = ()
    tensors: "Callable[[], TensorTask] | None" = None

    @property
    def tensor_task(self) -> "TensorTask":
        """The task as the engine `tensor` runs it.

        Raises:
            UserError: It is not a task of tensor functions.
        """
        if self.tensors is None:
            raise UserError(f"task '{self.name}' has no functions of tensors: leave the engine on auto")
        return self.tensors()

    @property
    def scene_task(self) -> "SceneTask":
        """The task as engines of scenes run it.

        Raises:
            UserError: It is not a task on a scene.
        """
        if self.scene is None:
            raise UserError(f"task '{self.name}' has no MuJoCo scene of ours: leave the engine on auto")
        return self.scene()

    @property
    def spec(self) -> TaskSpec:
        """The part that is plain data."""
        return TaskSpec(self.name, self.obs_dim, self.action_dim, self.horizon, self.engine, self.descriptor)


def check_descriptor(name: str, descriptor: Sequence[float]) -> tuple[float, ...]:
    """The descriptor of a task, as plain numbers.

    Raises:
        UserError: It is not a flat sequence of finite numbers.
    """
    try:
        numbers = tuple(float(value) for value in descriptor)
    except (TypeError, ValueError) as error:
        raise UserError(f"task '{name}': its descriptor is not a flat sequence of numbers: give one") from error
    if not all(math.isfinite(value) for value in numbers):
        raise UserError(f"task '{name}': its descriptor has a number that is not finite: give finite ones")
    return numbers


TASKS: Registry[TaskDefinition] = Registry("task")
