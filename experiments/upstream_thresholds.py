# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""States that upstream's experts do not lead to: made up, and on both sides of upstream's thresholds."""

import mujoco
import numpy as np
import torch
from upstream_probe import Key, Notes
from upstream_states import PADS, Point, Stage, States

from mtrl.envs.metaworld.tasks.rules import COMMON_VIEWS
from mtrl.scenes.columns import Columns

HAND = tuple(COMMON_VIEWS)[:7]
"""Views of the arm."""
CLOSE = 1e-10
"""How far apart the two sides of a threshold are put, in the units of what is compared (m, rad, or none)."""
HALVINGS = 60
SPREADS = (0.002, 0.01, 0.03, 0.1)
"""How near made-up states are to what counts, m."""
VARIES = 1e-3
"""Sides whose difference varies by less are constants of the task, or of its goals."""
IMPOSSIBLE = (ValueError, AssertionError)
"""What upstream raises of states that its reward functions do not foresee."""


class Search:
    """Looks for states on both sides of every comparison in upstream's reward functions.

    Args:
        each: How many pairs of states to find of each comparison.

    Attributes:
        close: The states that were found.
        made: States that are made up.
        impossible: How many states upstream refused to judge.
    """

    def __init__(self, each: int) -> None:
        self._each = each
        self.close, self.made = States(), States()
        self.impossible = 0
        self._found: dict[Key, int] = {}
        self._range: dict[Key, tuple[float, float]] = {}

    def see(self, notes: Notes) -> None:
        """Keeps count of which comparisons there are, and of the differences of their sides."""
        for key, (_, gap) in notes.items():
            low, high = self._range.get(key, (np.inf, -np.inf))
            self._range[key] = min(low, gap), max(high, gap)

    def found(self) -> list[Key]:
        """Comparisons of which states on both sides were found."""
        return [key for key, count in self._found.items() if count]

    def missed(self) -> list[Key]:
        """Comparisons without such states, though their sides differ from state to state."""
        varying = [key for key, (low, high) in self._range.items() if high - low > VARIES]
        return [key for key in varying if not self._found.get(key)]

    def between(
        self, stage: Stage, low: Point, low_notes: Notes, high: Point, high_notes: Notes, memory: np.ndarray
    ) -> None:
        """Closes in on each comparison that turns out otherwise at two points, and leaves the higher one written.

        Rotations stay as they are at the higher, and the pads' forces as they were after the last step.
        """
        keys = [key for key in _turned(low_notes, high_notes) if self._found.get(key, 0) < self._each]
        if not keys:
            return
        turned = stage.span("matrix")
        low = Point(low.views.copy(), low.action)
        low.views[turned] = high.views[turned]
        try:
            # Judged anew, since contacts, goal and what upstream remembers are those of the last step.
            low_notes = stage.judge(low)[1]
            for key in keys:
                if key in low_notes and low_notes[key][0] != high_notes[key][0]:
                    self._close_in(stage, key, low, high, high_notes, memory)
        except IMPOSSIBLE:
            self.impossible += 1
        stage.write(high.views)

    def _close_in(self, stage: Stage, key: Key, low: Point, high: Point, high_notes: Notes, memory: np.ndarray) -> None:
        low_notes, wanted = stage.judge(low)[1], high_notes[key][0]
        for _ in range(HALVINGS):
            middle = Point(low.views + (high.views - low.views) / 2, low.action + (high.action - low.action) / 2)
            notes = stage.judge(middle)[1]
            if key in notes and notes[key][0] == wanted:
                high, high_notes = middle, notes
            else:
                low, low_notes = middle, notes
            if key in low_notes and abs(low_notes[key][1]) + abs(high_notes[key][1]) < CLOSE:
                break
        for turned in _turned(low_notes, high_notes):
            self._found[turned] = self._found.get(turned, 0) + 1
        for point in (low, high):
            self._keep(self.close, stage, point, memory)

    def _keep(self, states: States, stage: Stage, point: Point, memory: np.ndarray) -> Notes:
        observation, notes = stage.judge(point)
        self.see(notes)
        said = stage.says(observation, point.action)
        states.add(Point(stage.read(), point.action), memory, observation, said, notes)
        return notes

    def make_up(
        self,
        stage: Stage,
        point: Point,
        notes: Notes,
        memory: np.ndarray,
        generator: np.random.Generator,
    ) -> None:
        """Makes a state up near the state of the last step, and looks between the two."""
        other = made_up(stage, point, memory, generator)
        try:
            other_notes = self._keep(self.made, stage, other, memory)
            self.between(stage, other, other_notes, point, notes, memory)
            if any(key not in notes and self._found.get(key, 0) < self._each for key in other_notes):
                # Comparisons are asked here that the state of the step does not come to: look around.
                for view in [name for name in _named(stage) if name not in HAND]:
                    beside = Point(other.views.copy(), other.action)
                    _shake(stage, beside.views, view, generator)
                    self.between(stage, beside, stage.judge(beside)[1], other, other_notes, memory)
        except IMPOSSIBLE:
            self.impossible += 1
        stage.write(point.views)


def _turned(a: Notes, b: Notes) -> list[Key]:
    return [key for key, (result, _) in a.items() if key in b and b[key][0] != result]


def made_up(stage: Stage, point: Point, memory: np.ndarray, generator: np.random.Generator) -> Point:
    """A state that no physics led to: the hand, an object, or a part of one is put near something that counts."""
    views, action = point.views.copy(), point.action.copy()
    widths, named = stage.task.rules.views, _named(stage)
    things = [stage.span(view) for view in named if view not in HAND and widths[view] == 3]
    seen, remembered = stage.observation, Columns(torch.from_numpy(memory).unsqueeze(0), stage.task.rules.memory)
    fingers = (views[stage.span("right_finger")] + views[stage.span("left_finger")]) / 2
    places = [seen[11:14], views[stage.span("hand")], *(views[span] for span in things)]
    places += [row for name, width in remembered.widths.items() for row in _positions(remembered[name], width)]
    first = [remembered["target"][0].numpy(), seen[4:7], fingers]
    anchor = _one_of(generator, first, places) + generator.normal(0, generator.choice(SPREADS), 3)
    kind = generator.choice(5, p=(0.3, 0.35, 0.15, 0.15, 0.05))
    if kind == 0:
        for view in HAND:
            views[stage.span(view)] += anchor - fingers
    elif kind == 1:
        way = anchor - _one_of(generator, [seen[4:7]], [seen[11:14], *(views[span] for span in things)])
        for span in things:
            views[span] += way
    elif kind == 2 and things:
        views[things[generator.integers(len(things))]] = anchor
    elif kind == 3:
        turning = [view for view in named if stage.task.views[view].field in ("qpos", "xquat")]
        _shake(stage, views, generator.choice(turning or named), generator)
    if generator.random() < 0.4:
        right, left = (views[stage.span(view)] for view in ("right_claw", "left_claw"))
        left[:] = right + (left - right) * generator.choice((0.0, generator.uniform(0, 1.2)))
        for view in ("left_pad", "right_pad"):
            _shake(stage, views, view, generator)
    if generator.random() < 0.3:
        action[3] = generator.uniform(-1.5, 1.5)
    quaternion = generator.normal(0, 1, 4)
    mujoco.mju_quat2Mat(views[stage.span("matrix")], quaternion / np.linalg.norm(quaternion))
    return Point(views, action)


def _named(stage: Stage) -> list[str]:
    """The views that can be moved one by one."""
    return [view for view in stage.task.views if view not in PADS and view != "matrix"]


def _one_of(generator: np.random.Generator, first: list[np.ndarray], others: list[np.ndarray]) -> np.ndarray:
    """One of the first as often as one of the others."""
    choice = first if generator.random() < 0.5 else others
    return choice[generator.integers(len(choice))].copy()


def _positions(numbers: torch.Tensor, width: int) -> list[np.ndarray]:
    """The positions in what is remembered under a name."""
    rows = numbers.numpy().reshape(-1, 3) if width in (3, 6) else np.zeros((0, 3))
    return [row for row in rows if row.any()]


def _shake(stage: Stage, views: np.ndarray, name: str, generator: np.random.Generator) -> None:
    """Moves a view at random; a joint goes as far as its range at most."""
    numbers, view = views[stage.span(name)], stage.task.views[name]
    numbers += generator.normal(0, generator.choice((0.01, 0.05, 0.3)), len(numbers))
    if view.field == "xquat" and generator.random() < 0.5:
        numbers[:] = generator.normal(0, 1, 4)
        numbers /= np.linalg.norm(numbers)
    elif view.field == "qpos" and stage.env.model.joint(view.name).limited[0]:
        # Some of upstream's joints pass the bounds that their scenes give, on the other side of zero.
        bound = np.abs(stage.env.model.joint(view.name).range).max()
        numbers[:] = generator.uniform(-bound, bound)
