"""Our rules beside metaworld 3.1.1 on MuJoCo 3.3.0, of which tests/golden/make_golden.py has recorded states.

Our rules are fed with upstream's states, so no physics takes part: neither the installed metaworld's code nor the
installed MuJoCo's solver. Where a start needs physics, the recorded states take its place.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl.envs.metaworld.catalogue import DESCRIPTIONS
from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.envs.metaworld.tasks.family import METRICS
from mtrl.scenes import scene, simulation
from mtrl.scenes.columns import Columns
from mtrl.scenes.task import Layout

GOLDEN = Path(__file__).parent / "golden"
VIEWS = json.loads((GOLDEN / "views.json").read_text())
OBS, FRAME = 39, 18
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "metaworld-3.1.1.npz") as episodes, np.load(GOLDEN / "states-3.1.1.npz") as states:
        return {key: episodes[key] for key in ("tasks", "goals", "goal_widths")} | {
            key: states[key] for key in states.files
        }


def start(name, goals, pauses, monkeypatch):
    """Our start's memory `[episode, n]`, with upstream's recorded states in place of physics steps."""
    task = TASKS[name].scene_task
    model = scene.stripped_model(task.scene)
    worlds = simulation.Simulation(model, len(goals))
    waiting = list(np.moveaxis(pauses, 1, 0))

    def step(self, steps):
        if self._rehearsing:
            return
        before, after, velocity = np.split(waiting.pop(0), [model.nq, 2 * model.nq], axis=1)
        self.qpos[:] = before
        self.forward()  # what is computed stays that of the state before the last step
        self.qpos[:], self.qvel[:] = after, velocity

    monkeypatch.setattr(simulation.Simulation, "step", step)
    worlds.reset()
    remembered = {"goal": goals, **task.start(worlds, goals)}
    assert not waiting, "our start takes fewer steps than upstream's"
    memory = Columns.empty(len(goals), task.rules.memory, torch.float64, torch.device("cpu"))
    for entry in task.rules.memory.keys() & remembered.keys():
        value = np.asarray(remembered[entry], np.float64).reshape(len(goals), -1)
        memory[entry].view(len(goals), -1)[:] = torch.from_numpy(value)
    return memory


def views_of(name, table):
    """The recorded views `[world, ...]` as our rules read them."""
    columns = Columns.empty(len(table), TASKS[name].scene_task.rules.views, torch.float64, torch.device("cpu"))
    position = OBS
    for view, (_, _, width) in VIEWS[name].items():
        first, last = columns.span(view)
        columns.table[:, first:last] = torch.from_numpy(table[:, position : position + width])
        position += width
    assert position == table.shape[1], "the golden file was made with other views: make it anew"
    return columns


def test_views_are_those_of_the_tasks():
    declared = {
        name: {key: [view.field, view.name, view.width] for key, view in task.scene_task.views.items()}
        for name, task in TASKS.items()
    }
    assert declared == VIEWS, "run tests/golden/list_views.py and tests/golden/make_golden.py"


def test_golden_files_hold_all_tasks(golden):
    assert sorted(golden["tasks"].tolist()) == sorted(DESCRIPTIONS)
    assert "metaworld 3.1.1" in golden["versions"] and "mujoco 3.3.0" in golden["versions"]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_rules_equal_the_oracle(name, golden, monkeypatch):
    index = golden["tasks"].tolist().index(name)
    goals = golden["goals"][index, :, : golden["goal_widths"][index]]
    memory = start(name, goals, golden[f"start/{name}"], monkeypatch)
    task = TASKS[name].scene_task
    evaluator = task.rules.lay_out(Layout((task,), (len(goals),)))
    resets = golden[f"reset/{name}"]
    rows = golden[f"rows/{name}"].reshape(len(goals), -1, resets.shape[1])
    observation = evaluator.begin(views_of(name, resets), memory)
    np.testing.assert_allclose(observation, resets[:, :OBS], rtol=0, atol=TOLERANCE, err_msg="reset observation")
    steps = golden["steps"].reshape(len(goals), -1)[0]
    actions = golden["actions"][index].reshape(len(goals), len(steps), -1)
    outcomes = golden["outcomes"][index].reshape(len(goals), len(steps), -1)
    for number, step in enumerate(steps):
        table = rows[:, number]
        if number and steps[number - 1] != step - 1:  # the frame before was not recorded as a state
            memory["frame"][:] = torch.from_numpy(table[:, FRAME : 2 * FRAME])
        action = torch.from_numpy(actions[:, number]).double()
        outcome = evaluator.evaluate(views_of(name, table), action, memory)
        ours = torch.cat([outcome.reward[:, None], outcome.success[:, None].double(), outcome.metrics()], dim=1)
        where = f"after step {step}"
        np.testing.assert_allclose(outcome.observation, table[:, :OBS], rtol=0, atol=TOLERANCE, err_msg=where)
        np.testing.assert_allclose(
            ours, outcomes[:, number], rtol=0, atol=TOLERANCE, err_msg=f"reward, success, {METRICS} {where}"
        )
