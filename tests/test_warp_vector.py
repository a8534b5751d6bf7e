"""The warp engine's vector environment on the CPU: contract, masked resets, faults, no waiting, exact resume."""

import gc
import importlib.util
import io
import resource
import subprocess
import sys

import numpy as np
import pytest
import scene_tasks
import torch
import warp
from no_sync import no_sync
from scene_tasks import HORIZON, actions, equal, play

from mtrl.envs.suites import MT50
from mtrl.errors import UserError
from mtrl.goals import INACTIVE, EachGoalOnce, GoalSet
from mtrl.scenes.warp import program
from mtrl.scenes.warp.settings import WarpSettings
from mtrl.scenes.warp.vector import REPORT_EVERY, UNSOUND, WarpVectorEnv
from mtrl.vector.checker import check_vector_env


@pytest.fixture
def roll(tmp_path, monkeypatch):
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path))
    with scene_tasks.registered() as task:
        yield task


def build(names=("roll",), slots=3, goals=4, **settings):
    return scene_tasks.build(names, slots, goals, engine="warp", warp=WarpSettings(**settings))


def array(env, field, group=0):
    """One of mujoco_warp's arrays, `[row, n]`, live."""
    return warp.to_torch(env._engine.groups[group].flat(field))


def test_the_contract_holds(roll):
    env = build()
    assert isinstance(env, WarpVectorEnv) and env.report_every == REPORT_EVERY
    assert check_vector_env(env) == []


def test_it_plays_what_the_native_engine_plays(roll):
    """Every number of a task without contacts, over several episodes and goals, within single precision."""
    native, env = scene_tasks.build(slots=3), build(slots=3)
    for one in (native, env):
        one.reset(seed=4, options={"random_progress": True})
    for ours, theirs in zip(play(env, 3 * HORIZON), play(native, 3 * HORIZON), strict=True):
        torch.testing.assert_close(ours[0], theirs[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours[1], theirs[1], rtol=1e-4, atol=1e-5)
        assert torch.equal(ours[3], theirs[3])
        torch.testing.assert_close(ours[4]["final_obs"], theirs[4]["final_obs"], rtol=1e-4, atol=1e-5)
        for key in ("success", "final_mask", "goal_index", "active"):
            assert torch.equal(ours[4][key], theirs[4][key]), key


def test_slots_lie_as_the_suite_has_them_whatever_the_rules_want():
    names = ("push-v3", "reach-v3", "window-close-v3")
    native, env = (scene_tasks.build(names, 2, 3, engine=engine) for engine in ("native", "warp"))
    assert env._world_of_slot is not None
    for one in (native, env):
        one.reset(seed=1)
    for ours, theirs in zip(play(env, 3), play(native, 3), strict=True):
        assert float((ours[0] - theirs[0]).abs().max()) < 2e-3  # an orientation, of a puck that settles
        assert float((ours[1] - theirs[1]).abs().max()) < 1e-3
        assert torch.equal(ours[4]["goal_index"], theirs[4]["goal_index"])
    metrics, expected = env.metrics, native.metrics
    assert float((metrics["obj_to_target"] - expected["obj_to_target"]).abs().max()) < 1e-3


@pytest.mark.parametrize("names", [("roll",), ("reach-v3", "door-open-v3")])
def test_a_reset_leaves_other_worlds_alone_and_nothing_behind(roll, names):
    """Worlds that are reset in the middle: others keep every bit, and the reset ones are as in a new environment."""
    env, calm, new = (build(names, slots=3) for _ in range(3))
    for one in (env, calm):
        one.reset(seed=7)
    play(env, 5), play(calm, 5)
    hurried = [world for world in range(env.num_envs) if world % 3 == 1]
    env._episodes.elapsed[hurried] = env._episodes._horizon[hurried] - 1
    (ended,), (other,) = play(env, 1, seed=5), play(calm, 1, seed=5)
    slots = [slot for slot in range(env.num_envs) if env._world[slot] in hurried]
    rest = [slot for slot in range(env.num_envs) if slot not in slots]
    assert ended[3].nonzero().flatten().tolist() == slots and not other[3].any()
    goals = env._episodes.goal.tolist()

    class Same:
        """Begins where the environment is now."""

        def first(self, slot):
            return goals[env._world[slot]]

        following = first

        def get_state(self):
            return {}

    new.reset(options={"schedule": Same()})
    for ours, theirs, fresh in zip(play(env, 6, seed=2), play(calm, 6, seed=2), play(new, 6, seed=2), strict=True):
        for part in (0, 1):
            assert torch.equal(ours[part][rest], theirs[part][rest])
            assert torch.equal(ours[part][slots], fresh[part][slots])


@pytest.mark.parametrize("value", [np.nan, 1e12, 1e7])
def test_a_failing_world_is_reset_counted_and_nobody_else_notices(roll, value):
    calm, hurt = build(slots=4), build(slots=4)
    for env in (calm, hurt):
        env.reset(seed=3)
    before = play(calm, 4), play(hurt, 4)
    assert equal(*before)
    array(hurt, "qvel")[hurt._world[2]] = value
    (sound,), (failed,) = play(calm, 1, seed=9), play(hurt, 1, seed=9)
    obs, reward, terminated, truncated, info = failed
    assert truncated.tolist() == [False, False, True, False] and not terminated.any()
    assert float(reward[2]) == 0 and not bool(info["success"][2])
    assert torch.equal(info["final_obs"][2], before[1][-1][0][2])
    assert torch.isfinite(obs).all() and torch.isfinite(info["final_obs"]).all()
    assert hurt.faults.tolist() == [1] and calm.faults.tolist() == [0]
    assert hurt.fault_reasons == {UNSOUND: 1} and calm.fault_reasons == {}
    others = [0, 1, 3]
    assert torch.equal(obs[others], sound[0][others])
    for ours, theirs in zip(play(hurt, 6, seed=4), play(calm, 6, seed=4), strict=True):
        assert torch.equal(ours[0][others], theirs[0][others]) and torch.equal(ours[1][others], theirs[1][others])
        assert torch.isfinite(ours[0]).all()


def test_a_world_that_fails_at_every_step_goes_on_failing_and_nothing_else(roll):
    """More failures between two looks of the host than there are goals ahead."""
    env = build(slots=2)
    env.reset(seed=3)
    for action, _ in zip(actions(env), range(2 * REPORT_EVERY), strict=False):
        array(env, "qvel")[1] = np.nan
        obs, _, _, truncated, info = env.step(action)
        assert truncated[1] and torch.isfinite(obs).all() and 0 <= int(info["goal_index"][1]) < 4
    assert env.faults.tolist() == [2 * REPORT_EVERY]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"constraints": 4}, "constraint rows"),
        ({"contacts": 1, "spare_contacts": 0}, "contacts did not fit"),
    ],
)
def test_what_does_not_fit_ends_episodes_and_is_named(settings, reason):
    """A puck on a table needs 16 rows of constraints and four contacts in every world."""
    env = build(("push-v3",), slots=2, grouping="scene", **settings)
    env.reset(seed=0)
    for _ in range(20):
        obs, reward, _, truncated, _ = env.step(torch.zeros(2, 4))
        if truncated.any():
            break
    assert truncated.any() and not reward[truncated].any() and torch.isfinite(obs).all()
    assert env.faults[0] == int(truncated.sum())
    assert any(name.startswith(reason) for name in env.fault_reasons), env.fault_reasons
    assert all("raise --warp." in name for name in env.fault_reasons if name.startswith(reason))


def test_a_fault_in_a_recording_is_named_and_changes_nothing_else(roll, monkeypatch, capsys):
    sound = build()

    def fail(self):
        raise RuntimeError("no graphs\ntoday")

    monkeypatch.setattr(program.WarpProgram, "_captured", fail)
    env = build()
    assert sound._engine.recorded and not env._engine.recorded
    for one in (sound, env):
        one.reset(seed=1)
    assert sound.recording_faults == []
    assert len(env.recording_faults) == 2 and env.recording_faults[0] == "step of roll: no graphs today"
    warning = capsys.readouterr().err
    assert "2 programs of the warp engine could not be recorded" in warning and "no graphs today" in warning
    assert equal(play(env, 2 * HORIZON), play(sound, 2 * HORIZON))


def test_a_step_never_waits_for_the_device():
    """All 50 tasks: controls, physics, judgement, endings, new episodes; the host looks every so many steps alone."""
    env = build(MT50, slots=1, goals=2)
    env.reset(seed=0, options={"random_progress": True})
    env._episodes.elapsed[:] = env._episodes._horizon - 3  # so that episodes end meanwhile
    action = torch.zeros(env.num_envs, 4)
    ended = torch.zeros(env.num_envs, dtype=torch.bool)
    for _ in range(6):
        assert env._episodes._steps % env.report_every != env.report_every - 1
        with no_sync():
            _, _, _, _, info = env.step(action)
            ended |= info["final_mask"]
    assert ended.all()


@pytest.mark.parametrize("steps", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_memory_does_not_grow(roll, steps):
    env = build(slots=1)
    env.reset(seed=0)
    action = torch.zeros(1, 2)
    for _ in range(500):
        env.step(action)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(steps):
        env.step(action)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000  # kB


def test_goals_are_dealt_out_in_time_for_the_shortest_episodes(roll):
    """Episodes of one step, more of them than the queue holds: the same goals as on the native engine."""
    scene_tasks.register("roll-short", horizon=1)
    native, env = (scene_tasks.build(("roll-short",), 2, 4, engine=engine) for engine in ("native", "warp"))
    for one in (native, env):
        one.reset(seed=11)
    steps = 5 * REPORT_EVERY
    for ours, theirs in zip(play(env, steps), play(native, steps), strict=True):
        assert torch.equal(ours[4]["goal_index"], theirs[4]["goal_index"])
        assert ours[3].all()


def test_tasks_may_end_episodes_themselves(roll):
    scene_tasks.register("roll-end", terminated=lambda situation: situation["ball"][:, 0] > 0.2, goals=([0, 0], [1, 1]))
    native, env = (scene_tasks.build(("roll-end",), 3, 4, engine=engine) for engine in ("native", "warp"))
    for one in (native, env):
        one.reset(seed=2)
    push = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    ends = 0
    for _ in range(3 * HORIZON):
        ours, theirs = env.step(push), native.step(push)
        assert torch.equal(ours[2], theirs[2]) and torch.equal(ours[3], theirs[3])
        ends += int(ours[2].sum())
    assert ends > 0


def test_state_goes_through_a_file_and_resumes_to_the_last_bit(roll):
    env, twin = build(), build()
    env.reset(seed=5)
    play(env, 17)
    file = io.BytesIO()
    torch.save(env.get_state(), file)
    expected = play(env, 3 * REPORT_EVERY, seed=1)
    file.seek(0)
    twin.set_state(torch.load(file, weights_only=True))
    assert equal(play(twin, 3 * REPORT_EVERY, seed=1), expected)
    with pytest.raises(UserError, match="other tasks, slots or another engine"):
        build(slots=2).set_state(env.get_state())
    with pytest.raises(UserError, match="other tasks, slots or another engine"):
        scene_tasks.build().set_state(env.get_state())


def test_a_scene_with_contacts_resumes_to_the_last_bit():
    env, twin = (build(("push-v3", "door-open-v3"), slots=2, goals=2) for _ in range(2))
    env.reset(seed=5)
    play(env, 25)
    state = env.get_state()
    expected = play(env, 10, seed=1)
    twin.set_state(state)
    assert equal(play(twin, 10, seed=1), expected)


def test_what_is_returned_may_be_written_to(roll):
    env, twin = build(), build()
    for one in (env, twin):
        one.reset(seed=2)
    for _, action in zip(range(30), actions(env), strict=False):
        given, expected = env.step(action), twin.step(action)
        assert equal([given], [expected])
        for tensor in (*given[:4], *given[4].values()):
            tensor.fill_(1)
    assert torch.equal(env.get_state()["obs"], twin.get_state()["obs"])


def test_worlds_without_a_goal_rest(roll):
    env = build(slots=2, goals=3)
    env.reset(options={"schedule": EachGoalOnce([0, 0], [3])})
    play(env, HORIZON)
    assert env._episodes.goal.tolist() == [2, INACTIVE]
    array(env, "qvel")[1] = np.nan  # nobody plays there, so nobody minds
    for step in play(env, 2):
        assert step[4]["active"].tolist() == [True, False]
        assert not step[0][1].any() and not step[1][1] and not step[3][1] and not step[4]["final_obs"][1].any()
    assert env.faults.tolist() == [0]


def test_goals_can_be_drawn_anew(roll):
    env = build(slots=2, goals=3)
    env.reset(seed=0)
    fresh = GoalSet("fresh", (roll.sample_goals(3, 99),))
    env.set_goals(fresh)
    last = play(env, HORIZON)[-1]
    np.testing.assert_array_equal(last[0][:, 4:6], np.float32(fresh.rows[0][env._episodes.goal.numpy()]))


def test_pictures_are_those_of_the_native_engine(roll):
    native, env = scene_tasks.build(slots=2), build(slots=2)
    for one in (native, env):
        one.reset(seed=0)
        play(one, 3)
    ours, theirs = env.render_slot(1).astype(int), native.render_slot(1).astype(int)
    assert theirs.std() > 1 and np.abs(ours - theirs).mean() < 0.5


@pytest.mark.slow
def test_settings_change_nothing_but_how():
    """Groupings and determinism: the same physics, within what rounding does in a few steps."""
    names, runs = ("reach-v3", "push-v3", "drawer-open-v3", "window-open-v3"), {}
    for label, settings in {
        "scene": {"grouping": "scene"},
        "topology": {"grouping": "topology"},
        "layout": {"grouping": "layout"},
        "deterministic": {"grouping": "scene", "deterministic": True},
    }.items():
        env = build(names, slots=2, goals=2, **settings)
        env.reset(seed=1)
        runs[label] = torch.stack([step[0] for step in play(env, 3)])
    for label, run in runs.items():
        assert float((run - runs["scene"]).abs().max()) < 2e-3, label


def test_without_the_extra_the_error_says_what_to_do(roll, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "mujoco_warp" else find(name, *rest)
    )
    with pytest.raises(UserError, match=r"needs mujoco-warp, not installed: pip install 'mtrl-suite\[gpu\]'") as error:
        build()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_the_error_says_what_to_do(roll):
    with pytest.raises(UserError, match="torch finds no CUDA device: give --device cpu") as error:
        scene_tasks.build(engine="warp", device="cuda")
    assert "\n" not in str(error.value)


def test_nothing_else_imports_warp():
    code = (
        "import sys, importlib.util as u\n"
        "import mtrl, mtrl.envs, mtrl.agents, mtrl.cli, mtrl.scenes.warp.vector, mtrl.vector.build\n"
        "assert not {'warp', 'mujoco_warp'} & set(sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    ("settings", "culprit"), [({"grouping": "best"}, "--warp.grouping best is unknown"), ({"streams": 0}, "streams")]
)
def test_impossible_settings_are_refused(roll, settings, culprit):
    with pytest.raises(UserError, match=culprit):
        build(**settings)


def test_tasks_without_a_scene_are_refused():
    import user_envs  # noqa: F401 - registers nothing by itself

    from mtrl.tasks import TASKS, TaskDefinition

    plain = TaskDefinition(
        "without-a-scene", "Nothing.", lambda _: None, lambda count, seed: np.zeros((count, 1)), 1, 1, 5, "gymnasium"
    )
    TASKS.register("without-a-scene", plain, "Nothing.")
    try:
        with pytest.raises(UserError, match="has no MuJoCo scene"):
            scene_tasks.make_vector_env(
                ["without-a-scene"], goal_set=GoalSet("train", (np.zeros((1, 1)),)), slots_per_task=1, engine="warp"
            )
    finally:
        del TASKS._entries["without-a-scene"]
        TASKS._descriptions.pop("without-a-scene", None)


def test_scenes_that_mujoco_warp_cannot_run_are_refused(roll):
    activated = scene_tasks.XML.replace('<motor joint="x" ', '<general joint="x" dyntype="filter" dynprm="0.1" ')
    words = 'timestep="0.01" noslip_iterations="3" integrator="discrete"'
    midpoint = scene_tasks.XML.replace('timestep="0.01"', words)
    for name, xml, reason in (("roll-filter", activated, "activations"), ("roll-noslip", midpoint, "noslip")):
        scene_tasks.register(name, xml=xml)
        with pytest.raises(UserError, match=f"cannot run the MJCF text: .*{reason}.*choose --engine native"):
            build((name,))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_a_gpu_plays_what_the_cpu_plays():
    host, device = (scene_tasks.build(("reach-v3",), 4, 4, engine="warp", device=name) for name in ("cpu", "cuda"))
    for env in (host, device):
        env.reset(seed=0)
    for _, action in zip(range(5), actions(host), strict=False):
        ours, theirs = device.step(action.cuda()), host.step(action)
        torch.testing.assert_close(ours[1].cpu(), theirs[1], rtol=1e-3, atol=1e-3)
