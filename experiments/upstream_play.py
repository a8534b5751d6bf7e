# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Upstream's environments, played while our memory keeps pace with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np
import torch
from metaworld.policies import ENV_POLICY_MAP
from upstream_probe import Notes
from upstream_states import Point, Stage, States
from upstream_thresholds import Search

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.scenes.columns import Columns
from mtrl.scenes.snapshots import Snapshots, make_snapshots
from mtrl.scenes.task import Layout, SceneTask

EXACT = 1e-9
"""Largest difference that is allowed in double precision."""
RESET_FIELDS = ("qpos", "qvel", "qacc_warmstart", "mocap_pos", "ctrl")


@dataclass
class Differences:
    """Largest absolute differences, by what was compared, and where they are."""

    largest: dict[str, float] = field(default_factory=dict)
    where: dict[str, tuple] = field(default_factory=dict)

    def note(self, what: str, ours: object, theirs: object, place: object) -> None:
        """Compares two arrays of numbers."""
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        gap = float(np.max(np.abs(a - b), initial=0.0))
        if not gap <= self.largest.get(what, -1.0):
            self.largest[what], self.where[what] = gap, (place, a.tolist(), b.tolist())

    def most(self, *names: str) -> float:
        """The largest difference, of all or of some."""
        return max((self.largest[name] for name in names or self.largest), default=0.0)

    def wrong(self) -> dict[str, tuple]:
        """What differs by more than is allowed."""
        return {what: (gap, self.where[what]) for what, gap in self.largest.items() if not gap < EXACT}


@dataclass
class Played:
    """One task, played on upstream.

    Attributes:
        task: Its name.
        states: After each step.
        search: Holds the states that are made up, and those at thresholds.
        starts: Differences at the starts, and of the commanded hand.
    """

    task: str
    states: States
    search: Search
    starts: Differences


def action_of(expert: Any, observation: np.ndarray, kind: int, generator: np.random.Generator) -> np.ndarray:
    """Of the expert (kind 0), of the expert with noise (1), or at random (2). Some lie outside [-1, 1]."""
    if kind == 2:
        return generator.uniform(-1.2, 1.2, 4)
    action = np.clip(expert.get_action(observation.copy()), -1, 1)  # some experts write into what they see
    return action + generator.normal(0, 0.4, 4) * (kind == 1)


def play(name: str, episodes: int, steps: int, goal_seed: int = 0, each: int = 4, made_every: int = 10) -> Played:
    """Plays `episodes` at once, of kinds 0, 1, 2, 0, ... as `action_of` has them.

    Args:
        name: The task.
        episodes: How many, each with a goal of its own.
        steps: Of each.
        goal_seed: Fixes goals, actions and made-up states.
        each: Pairs of states at each threshold.
        made_every: Steps from one made-up state to the next.
    """
    task, goals = TASKS[name].scene_task, TASKS[name].goals.sample(name, episodes, goal_seed)
    snapshots, stages = make_snapshots(task, goals), [Stage(name, goal) for goal in goals]
    played = Played(name, States(), Search(each), Differences())
    _compare_starts(played.starts, task, snapshots, stages)
    evaluator = task.rules.lay_out(Layout((task,), (episodes,)))
    memory = Columns(torch.from_numpy(snapshots.memory.copy()), task.rules.memory)
    views = Columns.empty(episodes, task.rules.views, torch.float64, torch.device("cpu"))
    experts = [ENV_POLICY_MAP[name]() for _ in range(episodes)]
    generator = np.random.default_rng(goal_seed)
    last: list[tuple[Point, Notes] | None] = [None] * episodes
    for step in range(steps):
        actions = np.stack([action_of(experts[w], stages[w].observation, w % 3, generator) for w in range(episodes)])
        control = evaluator.control(torch.from_numpy(actions), memory)
        kept = memory.table.numpy().copy()
        for world, stage in enumerate(stages):
            said = stage.step(actions[world])
            played.starts.note("hand target", control["mocap_pos"][world], stage.env.data.mocap_pos[0], (world, step))
            point, remembered, search = Point(stage.read(), actions[world]), kept[world], played.search
            views.table[world] = torch.from_numpy(point.views)
            _, notes = stage.judge(point)
            search.see(notes)
            played.states.add(point, remembered, stage.observation, said, notes)
            if before := last[world]:  # in the first step upstream may not know yet what it remembers
                search.between(stage, *before, point, notes, remembered)
                if (step * episodes + world) % made_every == 0:
                    search.make_up(stage, point, notes, remembered, generator)
            last[world] = point, notes
        evaluator.evaluate(views, torch.from_numpy(actions), memory)  # for what it remembers
    return played


def _compare_starts(found: Differences, task: SceneTask, snapshots: Snapshots, stages: Sequence[Stage]) -> None:
    model = task.scene.compile(stripped=True)
    data = mujoco.MjData(model)
    for world, stage in enumerate(stages):
        found.note("reset observation", snapshots.visible[world], stage.observation, world)
        mujoco.mj_setState(model, data, snapshots.state[world], mujoco.mjtState.mjSTATE_INTEGRATION)
        for name in RESET_FIELDS:
            found.note(f"reset {name}", getattr(data, name), getattr(stage.env.data, name), world)
