"""Our definitions of the tasks, and the native engine, against upstream's classes on the same MuJoCo."""

import zlib

import mujoco
import numpy as np
import pytest
import torch
from metaworld.policies import ENV_POLICY_MAP
from parity import check, compare
from upstream_play import play
from upstream_states import upstream

from mtrl.envs.metaworld.catalogue import DESCRIPTIONS
from mtrl.envs.metaworld.tasks.families import FAMILIES, TASKS
from mtrl.goals import EachGoalOnce, GoalSet
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.snapshots import make_snapshots
from mtrl.scenes.vector import SceneVectorEnv
from mtrl.tasks import TASKS as REGISTERED

pytestmark = pytest.mark.filterwarnings("ignore:Constant.s. may be too high")  # the experts' actions are clipped
ALL = pytest.mark.parametrize("name", DESCRIPTIONS)


def test_all_fifty_are_declared_once():
    assert sorted(TASKS) == sorted(DESCRIPTIONS)
    assert sum(len(family.tasks) for family in FAMILIES) == 50


@ALL
def test_functions_equal_upstream(name):
    """Also on both sides of upstream's thresholds, and in single precision; `experiments/parity.py` is longer."""
    result = check(name, episodes=3, steps=60, each=1, made_every=2)
    assert result.count["played"] == 180 and result.count["made up"] >= 80
    assert result.both_sides >= 2
    assert not result.wrong()


def test_a_threshold_that_is_off_by_a_billionth_is_noticed(monkeypatch):
    name = "window-close-v3"
    played = play(name, episodes=1, steps=100)
    assert {row[1] for row in played.search.close.outcome} == {0.0, 1.0}
    assert not compare(name, played.search.close).wrong()
    monkeypatch.setitem(TASKS[name].scene_task.constants, "slide_success", 0.05 + 1e-9)
    assert not compare(name, played.states).wrong()
    assert list(compare(name, played.search.close).wrong()) == ["success"]


@ALL
def test_goals_equal_those_of_upstreams_own_reset(name):
    env, generator = upstream(name), np.random.default_rng([3, zlib.crc32(name.encode())])
    drawn = [env.draw_goal(generator) for _ in range(12)]
    np.testing.assert_array_equal(TASKS[name].goals.sample(name, 12, 3), drawn)


def starts_equal(name, count):
    goals = TASKS[name].goals.sample(name, count, 42)
    starts = make_snapshots(TASKS[name].scene_task, goals, threads=2)
    env, stripped = upstream(name), stripped_model(TASKS[name].scene_task.scene)
    body_pos = starts.body_pos[0]
    for row, goal in enumerate(goals):
        np.testing.assert_array_equal(starts.visible[row], env.reset_to(goal))
        assert not starts.hidden[row, -3:].any()
        np.testing.assert_array_equal(starts.hidden[row, :-3], starts.visible[row, :-3])
        np.testing.assert_array_equal(starts.body_pos[row], env.model.body_pos)
        body_pos = starts.body_pos[row]
        mujoco.mj_forward(env.model, env.data)
        for index in range(stripped.ngeom):
            theirs = env.data.geom(stripped.geom(index).name) if stripped.geom(index).name else None
            if theirs is not None:
                pose = np.concatenate((theirs.xpos, theirs.xmat))
                np.testing.assert_array_equal(starts.geom_pose[row, index], pose, err_msg=stripped.geom(index).name)
    assert body_pos.shape == env.model.body_pos.shape


@ALL
def test_starts_equal_upstream(name):
    starts_equal(name, 3)


@pytest.mark.slow
@ALL
def test_starts_of_fifty_goals_equal_upstream(name):
    starts_equal(name, 50)


def steps_equal(name, steps):
    """One world by the expert, one at random; states are compared to the last bit after each step."""
    definition = REGISTERED.get(name)
    goals = GoalSet("two", (definition.sample_goals(2, 7),))
    env = SceneVectorEnv([definition], goal_set=goals, slots_per_task=2, workers=1)
    obs, _ = env.reset(seed=0, options={"schedule": EachGoalOnce([0, 0], [2])})
    oracles = [upstream(name) for _ in range(2)]
    theirs = [oracle.reset_to(goal) for oracle, goal in zip(oracles, goals.rows[0], strict=True)]
    batch, generator, expert = env._engine.groups[0].batch, np.random.default_rng(1), ENV_POLICY_MAP[name]()
    for step in range(steps):
        np.testing.assert_array_equal(obs.numpy(), np.float32(theirs))
        actions = np.float32([np.clip(expert.get_action(theirs[0]), -1, 1), generator.uniform(-1.1, 1.1, 4)])
        obs, reward, terminated, truncated, info = env.step(torch.from_numpy(actions))
        results = [oracle.step(action) for oracle, action in zip(oracles, actions, strict=True)]
        theirs = [result[0] for result in results]
        for field in ("qpos", "qvel", "qacc_warmstart", "mocap_pos", "ctrl"):
            expected = [getattr(oracle.data, field) for oracle in oracles]
            np.testing.assert_array_equal(batch.bind(field), expected, err_msg=f"{field} after step {step}")
        np.testing.assert_allclose(reward, [result[1] for result in results], rtol=1e-6, atol=1e-6)
        assert info["success"].tolist() == [bool(result[4]["success"]) for result in results]
        assert not terminated.any() and not truncated.any()
    env.close()


@ALL
def test_steps_equal_upstream(name):
    steps_equal(name, 25)


@pytest.mark.slow
@ALL
def test_five_hundred_steps_equal_upstream(name):
    steps_equal(name, 499)


def test_a_stripped_scene_keeps_what_collides():
    task = TASKS["reach-v3"].scene_task
    whole, stripped = (task.scene.compile(stripped=value) for value in (False, True))
    assert stripped.ngeom < whole.ngeom
    colliding = [name(whole, index) for index in range(whole.ngeom) if whole.geom_contype[index]]
    kept = [name(stripped, index) for index in range(stripped.ngeom)]
    assert set(colliding) <= set(kept)


def name(model, index):
    return mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, index)
