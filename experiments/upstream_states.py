# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Upstream's environments, whose states can be read, replaced and judged."""

from dataclasses import dataclass, field

import numpy as np
import torch
from upstream_probe import Notes, probe_of

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.envs.metaworld.tasks.family import METRICS
from mtrl.envs.metaworld.upstream import GoalControlled, upstream_class
from mtrl.scenes.columns import Columns
from mtrl.scenes.reading import locate

PADS = {"left_force": "leftpad_geom", "right_force": "rightpad_geom"}
OUTCOMES = ("reward", "success", *METRICS)
STEADY = ("tolerance", "max", "min")
"""Functions of upstream whose value does not jump where one of their comparisons turns."""


def upstream(name: str) -> GoalControlled:
    """Upstream's environment of a task, which shows its goal."""
    env = upstream_class(name)()
    env.task_name = name
    env.show_goal(True)
    return env


def pad_force(env: GoalControlled, pad: str) -> float:
    """Upstream's own sum of normal forces between a pad and the main object, N."""
    pad_id, object_id = env.data.geom(pad).id, env._get_id_main_object()
    contacts = [c for c in env.data.contact if pad_id in (c.geom1, c.geom2) and object_id in (c.geom1, c.geom2)]
    return float(sum(env.data.efc_force[c.efc_address] for c in contacts))


@dataclass
class Point:
    """A state of the simulation as the rules see it, and the action that led there."""

    views: np.ndarray
    action: np.ndarray


class Stage:
    """One of upstream's environments, whose named views can be read and written.

    Args:
        name: The task.
        goal: Its goal.
    """

    def __init__(self, name: str, goal: np.ndarray) -> None:
        self.task = TASKS[name].scene_task
        self.env = upstream(name)
        self.observation = self.previous = self.env.reset_to(goal)
        self.columns = Columns.empty(1, self.task.rules.views, torch.float64, torch.device("cpu"))
        self.width = self.columns.table.shape[1]
        self._probe = probe_of(name)
        self._forces = {self.columns.span(view)[0]: pad for view, pad in PADS.items() if view in self.task.views}
        self._places: list[tuple[slice, np.ndarray]] = []
        for view in self.task.views:
            if view not in PADS:
                array, first = locate(self.env.model, self.task.views[view])
                numbers = getattr(self.env.data, array).reshape(-1)[first : first + self.task.views[view].width]
                self._places.append((self.span(view), numbers))
        self.forces = self._read_forces()

    def span(self, view: str) -> slice:
        """The columns of a view."""
        return slice(*self.columns.span(view))

    def _read_forces(self) -> dict[int, float]:
        return {column: pad_force(self.env, pad) for column, pad in self._forces.items()}

    def step(self, action: np.ndarray) -> np.ndarray:
        """Steps upstream; returns what it says of the state, in the order of `OUTCOMES`."""
        self.previous = self.env._prev_obs
        self.observation, reward, _, _, info = self.env.step(action)
        self.forces = self._read_forces()
        return outcome(reward, info)

    def read(self) -> np.ndarray:
        """The views of the present state; the pads' forces are those after the last step."""
        row = np.zeros(self.width)
        for span, numbers in self._places:
            row[span] = numbers
        for column, force in self.forces.items():
            row[column] = force
        return row

    def write(self, views: np.ndarray) -> None:
        """Puts numbers where upstream reads them. Contacts stay those of the last step."""
        for span, numbers in self._places:
            numbers[:] = views[span]

    def judge(self, point: Point) -> tuple[np.ndarray, Notes]:
        """Upstream's observation of a point that is written here, and how the comparisons in its reward turn out."""
        self.write(point.views)
        latest, self.env._prev_obs = self.env._prev_obs, self.previous
        space = self.env.sawyer_observation_space
        try:
            observation = np.clip(self.env._get_obs(), space.low, space.high)
        finally:
            self.env._prev_obs = latest
        return observation, self._probe.notes(self.env, observation, point.action)

    def says(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """What upstream's unchanged code says of the state that is written here."""
        return outcome(*self.env.evaluate_state(observation, action))


def outcome(reward: float, info: dict) -> np.ndarray:
    """Reward, success and info in the order of `OUTCOMES`."""
    return np.array([float(reward), *(float(info[key]) for key in OUTCOMES[1:])])


@dataclass
class States:
    """States and what upstream says of them, a row each.

    Attributes:
        views: As `Rules.views` orders them.
        action: As the agent gave it.
        memory: Before the state is judged, as `Rules.memory` orders it.
        observation: Upstream's, `[39]`.
        outcome: Upstream's, in the order of `OUTCOMES`.
        room: How far the state is from the nearest threshold at which a reward may jump.
    """

    views: list[np.ndarray] = field(default_factory=list)
    action: list[np.ndarray] = field(default_factory=list)
    memory: list[np.ndarray] = field(default_factory=list)
    observation: list[np.ndarray] = field(default_factory=list)
    outcome: list[np.ndarray] = field(default_factory=list)
    room: list[float] = field(default_factory=list)

    def add(self, point: Point, memory: np.ndarray, observation: np.ndarray, said: np.ndarray, notes: Notes) -> None:
        """Adds a row."""
        self.views.append(point.views)
        self.action.append(point.action)
        self.memory.append(memory)
        self.observation.append(observation)
        self.outcome.append(said)
        self.room.append(room(notes))

    def repeated(self, row: int, times: int) -> "States":
        """One of the states, so many times."""
        return States(**{name: [numbers[row]] * times for name, numbers in vars(self).items()})

    def __len__(self) -> int:
        return len(self.views)


def room(notes: Notes) -> float:
    """The smallest difference of two compared sides, leaving out what does not jump where they are equal."""
    return min((abs(gap) for key, (_, gap) in notes.items() if key[0] not in STEADY), default=np.inf)
