"""The rules of all 50 tasks: how actions move the hand, what is observed, and which family judges which worlds."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from mtrl.scenes.columns import Columns
from mtrl.scenes.task import Evaluator, Layout, Outcome, Rules

from ..catalogue import ACTION_DIM, OBS_DIM
from . import grasp
from .family import METRICS, Family, Frame, Judgement
from .rotation import quaternion_of

FRAME = 18
ACTION_SCALE = 0.01
"""How far the hand is sent by an action of 1, m."""
HAND_LOW = (-0.525, 0.348, -0.0525)
HAND_HIGH = (0.525, 1.025, 0.7)
"""Bounds of the observed hand position, m."""
COMMON_VIEWS = {
    "hand": 3,
    "right_claw": 3,
    "left_claw": 3,
    "right_pad": 3,
    "left_pad": 3,
    "right_finger": 3,
    "left_finger": 3,
    "object": 3,
    "quaternion": 4,
    "matrix": 9,
    "second": 3,
    "second_quaternion": 4,
    "left_force": 1,
    "right_force": 1,
}
COMMON_MEMORY = {
    "hand_target": 3,
    "frame": FRAME,
    "target": 3,
    "object_start": 3,
    "grip_start": 3,
    "tcp_start": 3,
    "grip_margins": 2,
}
WORK = {
    "hand": 3,
    "opening": 1,
    "object": 3,
    "quaternion": 4,
    "second": 3,
    "second_quaternion": 4,
    "previous": FRAME,
    "goal": 3,
    "tcp": 3,
    "effort": 1,
    "grasp": 1,
}
"""The observation, and what else is computed for all worlds at once."""
GRIPS = {"caging": grasp.caging, "live pads": grasp.live_caging}


def _families() -> tuple[Family, ...]:
    from .families import FAMILIES

    return FAMILIES


class SawyerRules(Rules):
    """Rules of the 50 tasks."""

    obs_dim, action_dim, metrics = OBS_DIM, ACTION_DIM, METRICS

    @functools.cached_property
    def views(self) -> Mapping[str, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of the arm, of the objects, and of each family's own."""
        return functools.reduce(lambda all_views, family: all_views | dict(family.views), _families(), COMMON_VIEWS)

    @functools.cached_property
    def memory(self) -> Mapping[str, int]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What is kept for all tasks, and what each family keeps."""
        return functools.reduce(lambda kept, family: kept | dict(family.memory), _families(), COMMON_MEMORY)

    @functools.cached_property
    def _place(self) -> dict[str, tuple[int, int]]:
        return {
            task.scene_task.name: (number, place)
            for number, family in enumerate(_families())
            for place, task in enumerate(family.tasks)
        }

    def sources(self) -> Sequence[Path]:
        """All modules of the tasks."""
        return sorted(Path(__file__).parent.glob("*.py"))

    def order(self, names: Sequence[str]) -> list[int]:
        """By family, and within a family as it lists them."""
        return sorted(range(len(names)), key=lambda index: self._place[names[index]])

    def lay_out(self, layout: Layout) -> "SawyerEvaluator":
        """See `Rules.lay_out`."""
        ranges: list[tuple[Family, int, int]] = []
        for task, start, stop in zip(layout.tasks, layout.bounds, layout.bounds[1:], strict=False):
            family = _families()[self._place[task.name][0]]
            if ranges and ranges[-1][0] is family:
                ranges[-1] = (family, ranges[-1][1], stop)
            else:
                ranges.append((family, start, stop))
        return SawyerEvaluator(layout, ranges)


class SawyerEvaluator(Evaluator):
    """The rules over some worlds. It owns a workspace of fixed shape, so it serves one environment.

    Args:
        layout: The worlds, sorted by family.
        ranges: Each family with its first world and the one after its last.
    """

    def __init__(self, layout: Layout, ranges: Sequence[tuple[Family, int, int]]) -> None:
        self._layout, self._ranges = layout, tuple(ranges)
        like = {"dtype": layout.dtype, "device": layout.device}
        self._work = Columns.empty(layout.worlds, WORK, **like)
        self._low, self._high = torch.tensor(HAND_LOW, **like), torch.tensor(HAND_HIGH, **like)
        self._target_low, self._target_high = (
            layout.constant("hand_low", HAND_LOW),
            layout.constant("hand_high", HAND_HIGH),
        )
        self._offset = layout.constant("offset", (0.0,) * 3)
        self._second_offset = layout.constant("second_offset", (0.0,) * 3)
        self._fixed_quaternion = layout.constant("fixed_quaternion", (0.0,) * 4)
        self._uses_matrix = layout.constant("uses_matrix", 0.0).bool().unsqueeze(1)
        self._any_matrix = bool(self._uses_matrix.any())
        self._grip_constants = grasp.caging_constants(layout)
        self._constants = [
            {name: layout.constant(name, value)[start:stop] for name, value in family.constants.items()}
            for family, start, stop in ranges
        ]
        self._grips = [
            (function, start, stop, {name: table[start:stop] for name, table in self._grip_constants.items()})
            for function, start, stop in _grip_ranges(ranges)
        ]
        self._frames: tuple[Columns, Columns, list[Frame]] | None = None

    def control(self, action: torch.Tensor, memory: Columns) -> Mapping[str, torch.Tensor]:
        """Moves the commanded hand position, in single precision as upstream does, and sets the fingers' effort."""
        displacement = action[:, :3].clamp(-1, 1).mul_(ACTION_SCALE)
        target = memory["hand_target"]
        torch.add(target, displacement, out=target)
        torch.minimum(target.clamp_(min=self._target_low), self._target_high, out=target)
        # The effort is not clipped here: MuJoCo clips it to the actuators' range.
        effort = action[:, 3:4].to(target.dtype)
        return {"mocap_pos": target, "ctrl": torch.cat((effort, -effort), dim=1)}

    def begin(self, views: Columns, memory: Columns) -> torch.Tensor:
        """The first observation, whose previous frame is its own; upstream does not clip it."""
        grasp.remember(memory, self._grip_constants)
        self._observe(views, memory)
        memory["frame"][:] = self._work.table[:, :FRAME]
        self._work["previous"][:] = memory["frame"]
        return self._work.table[:, :OBS_DIM].clone()

    def evaluate(self, views: Columns, action: torch.Tensor, memory: Columns) -> Outcome:
        """See `Evaluator.evaluate`."""
        work = self._work
        self._observe(views, memory)
        work["previous"][:] = memory["frame"]
        memory["frame"][:] = work.table[:, :FRAME]  # as it is before clipping
        for hand in (work["hand"], work["previous"][:, :3]):
            hand.clamp_(self._low, self._high)
        work["tcp"][:] = (views["right_finger"] + views["left_finger"]).div_(2)
        work["effort"][:] = action[:, 3]  # not clipped: upstream's rewards read the action as it is given
        for function, start, stop, constants in self._grips:
            rows = (views.rows(start, stop), memory.rows(start, stop), work.rows(start, stop))
            rows[2]["grasp"][:] = function(*rows, constants)
        judgements = [
            family.judge(frame)
            for (family, _, _), frame in zip(self._ranges, self._frames_of(views, memory), strict=True)
        ]
        return Outcome(
            observation=work.table[:, :OBS_DIM].clone(),
            reward=torch.cat([judgement.reward for judgement in judgements]),
            success=torch.cat([judgement.success for judgement in judgements]),
            terminated=None,
            metrics=functools.partial(_metrics, judgements),
        )

    def _observe(self, views: Columns, memory: Columns) -> None:
        """Fills the current frame and the goal."""
        work = self._work
        work["hand"][:] = views["hand"]
        gap = torch.linalg.vector_norm(views["right_claw"] - views["left_claw"], dim=-1)
        work["opening"][:] = gap.div_(0.1).clamp_(0, 1)
        work["object"][:] = views["object"] + self._offset
        for family, start, stop in self._ranges:
            if family.displace is not None:
                work.rows(start, stop)["object"].add_(family.displace(views.rows(start, stop)))
        quaternion = torch.add(views["quaternion"], self._fixed_quaternion)
        if self._any_matrix:
            quaternion = torch.where(self._uses_matrix, quaternion_of(views["matrix"]), quaternion)
        work["quaternion"][:] = quaternion
        work["second"][:] = views["second"] + self._second_offset
        work["second_quaternion"][:] = views["second_quaternion"]
        if self._layout.goal_visible:
            work["goal"][:] = memory["target"]

    def _frames_of(self, views: Columns, memory: Columns) -> list[Frame]:
        """What each family sees: views that stay the same for as long as the tables do."""
        if self._frames is None or self._frames[0] is not views or self._frames[1] is not memory:
            frames = [
                Frame(views.rows(start, stop), memory.rows(start, stop), self._work.rows(start, stop), constants)
                for (_, start, stop), constants in zip(self._ranges, self._constants, strict=True)
            ]
            self._frames = (views, memory, frames)
        return self._frames[2]


def _grip_ranges(ranges: Sequence[tuple[Family, int, int]]) -> list:
    """The functions of grips with the worlds that they serve; neighbours with the same grip are joined."""
    joined: list[list] = []
    for family, start, stop in ranges:
        if family.grip is None:
            continue
        if joined and joined[-1][0] is GRIPS[family.grip] and joined[-1][2] == start:
            joined[-1][2] = stop
        else:
            joined.append([GRIPS[family.grip], start, stop])
    return joined


def _metrics(judgements: Sequence[Judgement]) -> torch.Tensor:
    return torch.cat([judgement.metrics() for judgement in judgements])


RULES = SawyerRules()
