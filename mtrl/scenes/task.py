"""What a task on a scene declares, and the rules by which tasks are evaluated together."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mtrl.plain_types import GoalRows
from mtrl.scenes.columns import Columns
from mtrl.scenes.scene import Scene, Viewpoint

if TYPE_CHECKING:
    from mtrl.scenes.simulation import Simulation


@dataclass(frozen=True)
class View:
    """Where numbers of a simulation are read.

    Attributes:
        field: MuJoCo's name of the array, such as `xpos`.
        name: The body, site, geom, joint or sensor.
        width: How many numbers.
    """

    field: str
    name: str
    width: int


body_position = partial(View, "xpos", width=3)
"""A body's position, m."""
body_quaternion = partial(View, "xquat", width=4)
"""A body's orientation: w, x, y, z."""
body_rotation = partial(View, "xmat", width=9)
"""A body's rotation matrix, row by row."""
site_position = partial(View, "site_xpos", width=3)
"""A site's position, m."""
site_rotation = partial(View, "site_xmat", width=9)
"""A site's rotation matrix, row by row."""
geom_position = partial(View, "geom_xpos", width=3)
"""A geom's position, m."""
geom_rotation = partial(View, "geom_xmat", width=9)
"""A geom's rotation matrix, row by row."""
joint_position = partial(View, "qpos", width=1)
"""Position of a joint with one degree of freedom, m or rad; give `width=7` for a free joint."""
joint_velocity = partial(View, "qvel", width=1)
"""Velocity of a joint with one degree of freedom, m/s or rad/s; give `width=6` for a free joint."""
sensor_value = partial(View, "sensordata", width=1)
"""First numbers of a sensor."""

StartFunction = Callable[["Simulation", GoalRows], Mapping[str, np.ndarray]]
"""`(simulation, goals [n, goal]) -> memory`: brings the n worlds of a simulation, fresh from MuJoCo's reset, to the
starts that the goals describe, and returns what the rules remember, `[n, width]` an entry. Worlds are independent: a
row of the result depends on its own goal alone."""


@dataclass(frozen=True)
class SceneTask:
    """A task on a MuJoCo scene.

    Attributes:
        name: Registered name.
        scene: The scene.
        rules: What turns views into observation, reward and success; tasks with equal rules are evaluated together.
        views: What the rules see under each of their names; what a task lacks is left out and reads as zero.
        start: How episodes begin.
        frame_skip: Physics steps in a step of the task.
        constants: Numbers of this task that the rules read, a number or a row each.
        viewpoint: From where its pictures are taken.
    """

    name: str
    scene: Scene
    rules: "Rules"
    views: Mapping[str, View]
    start: StartFunction
    frame_skip: int
    constants: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    viewpoint: Viewpoint = field(default_factory=Viewpoint)


@dataclass(frozen=True)
class Layout:
    """Which worlds play which task: tasks in order, each on consecutive worlds.

    Attributes:
        tasks: Tasks, in the order that the rules asked for.
        counts: Worlds of each task.
        goal_visible: Whether observations show the goal.
        dtype: Of views, memory and everything computed from them.
        device: Where they live.
    """

    tasks: tuple[SceneTask, ...]
    counts: tuple[int, ...]
    goal_visible: bool = True
    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def bounds(self) -> tuple[int, ...]:
        """First world of each task, and the number of worlds."""
        return tuple(np.concatenate([[0], np.cumsum(self.counts)]).tolist())

    @property
    def worlds(self) -> int:
        """Number of worlds."""
        return self.bounds[-1]

    def constant(self, name: str, default: float | Sequence[float]) -> torch.Tensor:
        """A constant of every world, `[world]` or `[world, width]`; `default` where a task has none."""
        rows = [task.constants.get(name, default) for task in self.tasks]
        table = torch.tensor(rows, dtype=self.dtype, device=self.device)
        return table.repeat_interleave(torch.tensor(self.counts, device=self.device), dim=0)


@dataclass(frozen=True)
class Outcome:
    """What a step led to.

    Attributes:
        observation: `[world, obs]`, owned by the caller.
        reward: `[world]`.
        success: `[world]` bool, of the state after the step.
        terminated: `[world]` bool, or None where no task has terminal states.
        metrics: Gives `[world, metric]`, the numbers that `Rules.metrics` names; for use before the next step.
    """

    observation: torch.Tensor
    reward: torch.Tensor
    success: torch.Tensor
    terminated: torch.Tensor | None
    metrics: Callable[[], torch.Tensor]


class Evaluator(abc.ABC):
    """Rules, laid out over the worlds of one environment: batched torch functions without Python per world.

    `views` and `memory` have the rules' names and widths. Functions may write into `memory`, and into nothing else.
    """

    @abc.abstractmethod
    def control(self, action: torch.Tensor, memory: Columns) -> Mapping[str, torch.Tensor]:
        """What the action sets in the simulation: MuJoCo's `ctrl` `[world, n]`, `mocap_pos` `[world, 3]` and the like.

        Args:
            action: `[world, act]` float32, as the agent gave it.
            memory: Of the worlds.
        """

    @abc.abstractmethod
    def begin(self, views: Columns, memory: Columns) -> torch.Tensor:
        """The first observation of an episode, `[world, obs]`."""

    @abc.abstractmethod
    def evaluate(self, views: Columns, action: torch.Tensor, memory: Columns) -> Outcome:
        """Judges the state that a step led to; `action` is what `control` got."""


class Rules(abc.ABC):
    """What some tasks are evaluated by.

    Attributes:
        views: Width of each view that is read.
        memory: Width of each number that is kept from a start, or from one step to the next.
        obs_dim: Numbers in an observation.
        action_dim: Numbers in an action.
        metrics: Names of what is reported besides reward and success.
    """

    views: Mapping[str, int]
    memory: Mapping[str, int]
    obs_dim: int
    action_dim: int
    metrics: tuple[str, ...] = ()

    def order(self, names: Sequence[str]) -> list[int]:
        """In which order the rules want the tasks, so that those computed together are neighbours."""
        return list(range(len(names)))

    def sources(self) -> Sequence[Path] | None:
        """All files of code on which starts depend, so that these can be kept on disk; None: they are not kept."""
        return None

    @abc.abstractmethod
    def lay_out(self, layout: Layout) -> Evaluator:
        """The rules over these worlds."""
