"""What a family of tasks declares, and what its reward function sees and returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from mtrl.scenes.columns import Columns
from mtrl.scenes.task import SceneTask

from ..goals import GoalSpace

METRICS = ("near_object", "grasp_success", "grasp_reward", "in_place_reward", "obj_to_target")
"""Upstream's `info` besides success and reward."""


class Frame:
    """The worlds of one family after a step: `[world]` or `[world, n]`, float64 on the native engine.

    Attributes:
        hand: Position of the hand as observed (clipped to upstream's bounds), m.
        opening: Observed opening of the gripper, 0 to 1.
        tcp: The point between the fingers, m.
        object: Observed position of the object, m.
        quaternion: Observed orientation of the object, in the order that the task observes.
        second: Observed position of the second object, m.
        effort: The action's gripper effort as the agent gave it, not clipped.
        target: The goal, m.
        object_start: Upstream's `obj_init_pos`.
        tcp_start: Upstream's `init_tcp`.
        grasp: Reward for a grasp; only in families that declare a grip.
        touching: Whether both finger pads press on the object.
    """

    def __init__(self, views: Columns, memory: Columns, work: Columns, constants: Mapping[str, torch.Tensor]) -> None:
        self._views, self._memory, self.constants = views, memory, constants
        self.hand, self.opening, self.object = work["hand"], work["opening"], work["object"]
        self.quaternion, self.second, self.tcp = work["quaternion"], work["second"], work["tcp"]
        self.effort, self.grasp = work["effort"], work["grasp"]
        self.target, self.object_start, self.tcp_start = memory["target"], memory["object_start"], memory["tcp_start"]

    def view(self, name: str) -> torch.Tensor:
        """A view of the family's own."""
        return self._views[name]

    def memory(self, name: str) -> torch.Tensor:
        """A number of the family's own that was kept at the start; a latch may be written."""
        return self._memory[name]

    @property
    def touching(self) -> torch.Tensor:
        """Whether both finger pads press on the object, `[world]`."""
        return (self._views["left_force"] > 0) & (self._views["right_force"] > 0)


@dataclass(frozen=True)
class Judgement:
    """What a family's reward function returns; a plain number stands for the same in all worlds.

    Attributes:
        reward: `[world]`, 0 to 10.
        success: `[world]` bool.
        near_object: Upstream's info, as the others that follow; a bool becomes 0 or 1.
        grasp_success: Upstream's info.
        grasp_reward: Upstream's info.
        in_place: Upstream's `in_place_reward`.
        obj_to_target: Upstream's info.
    """

    reward: torch.Tensor
    success: torch.Tensor
    near_object: torch.Tensor | float
    grasp_success: torch.Tensor | float
    grasp_reward: torch.Tensor | float
    in_place: torch.Tensor | float
    obj_to_target: torch.Tensor | float

    def metrics(self) -> torch.Tensor:
        """`[world, metric]`, in the order of `METRICS`."""
        numbers = (self.near_object, self.grasp_success, self.grasp_reward, self.in_place, self.obj_to_target)
        table = torch.empty(len(self.reward), len(METRICS), dtype=self.reward.dtype, device=self.reward.device)
        for column, number in enumerate(numbers):
            table[:, column] = number
        return table


@dataclass(frozen=True)
class SawyerTask:
    """A task, and where its goals come from."""

    scene_task: SceneTask
    goals: GoalSpace


@dataclass(frozen=True)
class Family:
    """Tasks whose rewards are computed together.

    Attributes:
        name: Of the family.
        tasks: Its tasks.
        judge: The reward function.
        views: Width of views that only this family reads.
        memory: Width of numbers that only this family keeps.
        constants: Numbers that differ between its tasks, with the value for those which do not state them.
        grip: How `Frame.grasp` is computed: `caging` by the shared function, `live pads` by the form of the tasks whose
            "initial" pads are the current ones, None not at all.
        displace: What is added to the observed position of the object, `[world, 3]` m from the family's views, where a
            view and an offset do not suffice.
    """

    name: str
    tasks: tuple[SawyerTask, ...]
    judge: Callable[[Frame], Judgement]
    views: Mapping[str, int] = field(default_factory=dict)
    memory: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    grip: str | None = None
    displace: Callable[[Columns], torch.Tensor] | None = None
