"""Starts of episodes, made once: for every goal the state of the simulation, of the rules, and what is observed."""

from dataclasses import dataclass

import numpy as np
import torch

from mtrl.errors import UserError
from mtrl.plain_types import GoalRows
from mtrl.scenes.columns import Columns
from mtrl.scenes.reading import read
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import Layout, SceneTask

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Snapshots:
    """The starts of a task, one row a goal.

    Attributes:
        state: MuJoCo's whole integration state, warm start included, `[goal_index, n]` float64.
        body_pos: Where bodies stand within their parents, `[goal_index, body, 3]` m: what moves fixtures.
        geom_pose: Position and rotation matrix of every geom of the stripped scene, `[goal_index, geom, 12]`: for
            engines that never move static geometry by themselves.
        memory: What the rules remember, `[goal_index, n]`.
        visible: The first observation, `[goal_index, obs]`, goal visible.
        hidden: The same, goal hidden.
    """

    state: np.ndarray
    body_pos: np.ndarray
    geom_pose: np.ndarray
    memory: np.ndarray
    visible: np.ndarray
    hidden: np.ndarray

    def __len__(self) -> int:
        return len(self.state)


def make_snapshots(task: SceneTask, goals: GoalRows, threads: int = 1) -> Snapshots:
    """Brings one simulation a goal to its start.

    Args:
        task: The task.
        goals: `[n, goal]`.
        threads: Threads that step the simulations.

    Raises:
        UserError: The task's start does not do what it must.
    """
    simulation = Simulation(stripped_model(task.scene), len(goals), threads)
    simulation.reset()
    remembered = dict(task.start(simulation, goals))
    remembered.setdefault("goal", goals)
    memory = Columns.empty(len(goals), task.rules.memory, torch.float64, CPU)
    for name, width in task.rules.memory.items():
        if name in remembered:
            value = np.asarray(remembered[name], np.float64).reshape(len(goals), -1)
            if value.shape[1] != width:
                raise UserError(
                    f"task '{task.name}': its start gave {value.shape[1]} numbers as '{name}', its rules take {width}"
                )
            memory[name].view(len(goals), -1)[:] = torch.from_numpy(value)
    if not np.isfinite(simulation.batch.state).all():
        raise UserError(f"task '{task.name}': its start leads to a state that is not finite; check the goals")
    observations = [_begin(task, simulation, memory, goal_visible) for goal_visible in (False, True)]
    return Snapshots(
        state=simulation.batch.state.copy(),
        body_pos=simulation.body_pos.copy(),
        geom_pose=simulation.final_geometry(),
        memory=memory.table.numpy(),
        visible=observations[1],
        hidden=observations[0],
    )


def _begin(task: SceneTask, simulation: Simulation, memory: Columns, goal_visible: bool) -> np.ndarray:
    """The first observation, of what was last computed: a start may leave it stale, as some of upstream's do."""
    views = Columns.empty(simulation.count, task.rules.views, torch.float64, CPU)
    read(simulation.model, task.views, views.span, simulation.array, views.table.numpy())
    evaluator = task.rules.lay_out(Layout((task,), (simulation.count,), goal_visible))
    return evaluator.begin(views, memory).numpy()
