"""The native engine's vector environment: contract, bank, failing physics, exact resume."""

import io
import shutil

import numpy as np
import pytest
import scene_tasks
import torch
from scene_tasks import actions, build, equal, play

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, EachGoalOnce, GoalSet, make_goal_sets
from mtrl.mjcf import MJCFEnv
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.checker import check_vector_env


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path))


@pytest.fixture
def roll():
    with scene_tasks.registered() as task:
        yield task


def test_the_contract_holds(roll):
    assert check_vector_env(build()) == []


def test_the_contract_holds_for_tasks_of_several_families_in_any_order():
    env = build(("push-v3", "reach-v3", "window-close-v3"), slots=2, goals=3)
    assert [task.name for task in env.tasks] == ["push-v3", "reach-v3", "window-close-v3"]
    for task, name in enumerate(("push-v3", "reach-v3", "window-close-v3")):
        alone = build((name,), slots=2, goals=3)
        schedule = EachGoalOnce([0, 0], [3])
        goal = alone.reset(options={"schedule": schedule})[1]["goal_index"]
        assert goal.tolist() == [0, 1]
        env.reset(options={"schedule": EachGoalOnce(env.task_id.tolist(), [3, 3, 3])})
        steps, single = play(env, 30), []
        for _, action in zip(range(30), actions(env), strict=False):
            single.append(alone.step(action[2 * task : 2 * task + 2]))
        for together, apart in zip(steps, single, strict=True):
            rows = slice(2 * task, 2 * task + 2)
            assert torch.equal(together[0][rows], apart[0])
            assert torch.equal(together[1][rows], apart[1])
            assert torch.equal(together[4]["success"][rows], apart[4]["success"])


def test_threads_and_asynchronous_steps_change_nothing(roll):
    def run(workers, asynchronous):
        goal_set = make_goal_sets([roll], 4, 0)[0]
        env = make_vector_env(["roll"], goal_set=goal_set, slots_per_task=5, workers=workers)
        env.reset(seed=1)
        found = []
        for _, action in zip(range(20), actions(env), strict=False):
            if asynchronous:
                env.step_async(action)
            found.append(env.step_wait() if asynchronous else env.step(action))
        return found

    assert equal(run(1, False), run(3, True))


def test_threads_that_share_groups_out_change_nothing():
    names = ("reach-v3", "push-v3", "window-close-v3", "button-press-v3", "door-open-v3")

    def run(workers):
        goal_set = make_goal_sets([TASKS.get(name) for name in names], 3, 0)[0]
        env = make_vector_env(names, goal_set=goal_set, slots_per_task=2, workers=workers)
        assert (env._engine._helpers > 0) == (workers > 1)
        env.reset(seed=1)
        steps = play(env, 25)
        env.close()
        return steps

    assert equal(run(1), run(2))


def test_it_equals_an_environment_of_mujocos_own_bindings(roll):
    """The same task in plain NumPy, one world at a time."""
    goals = make_goal_sets([roll], 3, 0)[0]

    def set_up(model, data, goal, _):
        data.qpos[:] = -goal
        model.body("post").pos = [*(1.5 * goal), 0.1]

    def distance(data, goal):
        return np.linalg.norm(data.body("ball").xpos[:2] - goal)

    env = build(slots=3, goals=3)
    obs, _ = env.reset(options={"schedule": EachGoalOnce([0] * 3, [3])})
    for slot, goal in enumerate(goals.rows[0]):
        plain = MJCFEnv(
            scene_tasks.XML,
            observe=lambda model, data, goal: [*data.body("ball").xpos[:2], *data.qvel, *goal],
            reward=lambda model, data, goal: 1 - distance(data, goal) / (2 * np.linalg.norm(goal)),
            success=lambda model, data, goal: distance(data, goal) < 0.05,
            frame_skip=5,
            reset=set_up,
            terminated=None,
            control=None,
            action_dim=None,
            example_goal=goal,
            camera=None,
        )
        first, _ = plain.reset(options={"goal": goal})
        np.testing.assert_array_equal(obs[slot], np.float32(first))
        env.reset(options={"schedule": EachGoalOnce([0] * 3, [3])})
        for _, action in zip(range(8), actions(env), strict=False):
            ours, theirs = env.step(action), plain.step(action[slot].numpy())
            np.testing.assert_allclose(ours[0][slot], theirs[0], rtol=1e-6, atol=1e-7)
            assert float(ours[1][slot]) == pytest.approx(theirs[1], abs=1e-6)


def poison(env, slot, value):
    """Makes a slot's next physics step fail."""
    env._engine.groups[0].batch.bind("qvel")[env._world[slot]] = value


@pytest.mark.parametrize("value", [np.nan, 1e12, 1e7])
def test_a_failing_world_is_reset_counted_and_nobody_else_notices(roll, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes its warnings to a file in the working folder
    calm, hurt = build(slots=4), build(slots=4)
    for env in (calm, hurt):
        env.reset(seed=3)
    before = play(calm, 4), play(hurt, 4)
    assert equal(*before)
    poison(hurt, 2, value)
    (sound,), (failed,) = play(calm, 1, seed=9), play(hurt, 1, seed=9)
    obs, reward, terminated, truncated, info = failed
    assert truncated.tolist() == [False, False, True, False] and not terminated.any()
    assert float(reward[2]) == 0 and not bool(info["success"][2])
    assert torch.equal(info["final_obs"][2], before[1][-1][0][2])
    assert torch.isfinite(obs).all() and torch.isfinite(info["final_obs"]).all()
    assert hurt.faults.tolist() == [1] and calm.faults.tolist() == [0]
    others = [0, 1, 3]
    assert torch.equal(obs[others], sound[0][others])
    for ours, theirs in zip(play(hurt, 6, seed=4), play(calm, 6, seed=4), strict=True):
        assert torch.equal(ours[0][others], theirs[0][others]) and torch.equal(ours[1][others], theirs[1][others])
        assert torch.isfinite(ours[0]).all()


def test_a_world_that_fails_in_its_last_episode_rests_at_zero(roll, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = build(slots=2, goals=2)
    env.reset(options={"schedule": EachGoalOnce([0, 0], [2])})
    poison(env, 1, np.nan)
    assert play(env, 1)[0][3].tolist() == [False, True]
    for obs, reward, _, truncated, info in play(env, 3):
        assert info["active"].tolist() == [True, False] and not truncated.any()
        assert not obs[1].any() and float(reward[1]) == 0 and torch.isfinite(info["final_obs"]).all()
    assert env.faults.tolist() == [1]


def test_state_goes_through_a_file_and_resumes_to_the_last_bit(roll):
    env, twin = build(), build()
    env.reset(seed=5)
    play(env, 17)
    file = io.BytesIO()
    torch.save(env.get_state(), file)
    expected = play(env, 20, seed=1)
    file.seek(0)
    twin.set_state(torch.load(file, weights_only=True))
    assert equal(play(twin, 20, seed=1), expected)
    with pytest.raises(UserError, match="other tasks, slots or another engine"):
        build(slots=2).set_state(env.get_state())


def test_what_is_returned_may_be_written_to(roll):
    env, twin = build(), build()
    for one in (env, twin):
        one.reset(seed=2)
    for _, action in zip(range(30), actions(env), strict=False):
        given = env.step(action)
        expected = twin.step(action)
        final = given[4]["final_obs"].clone()
        given[0].fill_(9)
        assert torch.equal(given[4]["final_obs"], final) and torch.equal(final, expected[4]["final_obs"])
        for tensor in (*given[1:4], *given[4].values()):
            tensor.fill_(1)
    assert torch.equal(env.get_state()["obs"], twin.get_state()["obs"])


def test_random_progress_spreads_the_ends_of_episodes(roll):
    env = build(slots=30)
    env.reset(seed=0, options={"random_progress": True})
    ends = [int(step[3].sum()) for step in play(env, scene_tasks.HORIZON)]
    assert sum(ends) == 30 and max(ends) < 15 and sum(end > 0 for end in ends) > 5
    env.reset(seed=0)
    assert [int(step[3].sum()) for step in play(env, scene_tasks.HORIZON)][-1] == 30


def test_goals_can_be_drawn_anew(roll):
    env = build(slots=2, goals=3)
    env.reset(seed=0)
    fresh = GoalSet("fresh", (roll.sample_goals(3, 99),))
    env.set_goals(fresh)
    last = play(env, scene_tasks.HORIZON)[-1]
    index = env._episodes.goal
    np.testing.assert_array_equal(last[0][:, 4:6], np.float32(fresh.rows[0][index]))
    with pytest.raises(UserError, match="keep the numbers"):
        env.set_goals(GoalSet("more", (roll.sample_goals(4, 99),)))


def test_worlds_without_a_goal_rest(roll):
    env = build(slots=2, goals=3)
    env.reset(options={"schedule": EachGoalOnce([0, 0], [3])})
    play(env, scene_tasks.HORIZON)
    assert env._episodes.goal.tolist() == [2, INACTIVE]
    qpos = env._engine.groups[0].batch.bind("qpos")
    rows = qpos.copy()
    step = play(env, 1)[0]
    assert step[4]["active"].tolist() == [True, False]
    assert not step[0][1].any() and not step[1][1]
    assert not np.array_equal(qpos[0], rows[0])
    np.testing.assert_array_equal(qpos[1], rows[1])


def test_pictures_show_the_whole_scene(roll):
    from mtrl.scenes.scene import Viewpoint

    scene_tasks.register("roll-above", viewpoint=Viewpoint(camera="above"))
    env = build(("roll-above",), slots=2)
    env.reset(seed=0)
    first = env.render_slot(0)
    assert first.shape == (480, 480, 3) and first.dtype == np.uint8 and first.std() > 1
    assert not np.array_equal(first, env.render_slot(1))
    with pytest.raises(UserError, match="slot 2 plays nothing"):
        env.render_slot(2)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_rules_give_the_same_within_rounding():
    plain, fast = (build(("reach-v3", "door-close-v3"), slots=2, goals=3) for _ in range(2))
    fast.compile()
    for env in (plain, fast):
        env.reset(seed=1)
    for ours, theirs in zip(play(fast, 20), play(plain, 20), strict=True):
        for a, b in zip([*ours[:4], *ours[4].values()], [*theirs[:4], *theirs[4].values()], strict=True):
            assert torch.allclose(a.double(), b.double(), atol=1e-6)
    for name, value in plain.metrics.items():
        assert torch.allclose(fast.metrics[name], value, atol=1e-9)


def test_compiling_without_a_compiler_is_explained(roll, monkeypatch):
    monkeypatch.setenv("CXX", "nowhere")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("nowhere",))
    monkeypatch.setenv("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1")
    env = build()
    env.compile()
    env.reset()
    with pytest.raises(UserError, match="install a C\\+\\+ compiler"):
        play(env, 1)
