"""The 50 tasks as gymnasium environments: interface, goals, seeds, purity."""

import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import PassiveEnvChecker

import mtrl.envs
from mtrl.envs.metaworld.catalogue import DESCRIPTIONS
from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.tasks import TASKS

NAMES = list(DESCRIPTIONS)


class Forms:
    """A task with its goal visible and hidden, built once for all tests of the task."""

    def __init__(self, name):
        self.definition = TASKS.get(name)
        self.visible, self.hidden = self.definition.make(True), self.definition.make(False)


@pytest.fixture(scope="module", params=NAMES)
def forms(request):
    pair = Forms(request.param)
    yield pair
    pair.visible.close()
    pair.hidden.close()


def actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 4)).astype(np.float32)


def rollout(environment, goal, steps):
    observation, _ = environment.reset(options={"goal": goal})
    trace = [observation]
    for action in steps:
        observation, reward, terminated, truncated, info = environment.step(action)
        trace.append(np.concatenate([observation, [reward, terminated, truncated, info["success"]]]))
    return np.concatenate(trace)


def test_there_are_fifty():
    assert len(NAMES) == 50


def test_gymnasium_finds_no_fault(forms):
    for environment in (forms.visible, forms.hidden):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Objects have no bounds, and a hidden goal is always zero: both are so.
            warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is.*infinity")
            warnings.filterwarnings("ignore", message=".*observation space maximum and minimum values are equal")
            check_env(environment, skip_render_check=True, skip_close_check=True)
        assert environment.observation_space.shape == (forms.definition.obs_dim,)
        assert environment.action_space.shape == (forms.definition.action_dim,)


def test_steps_pass_the_passive_checker_and_stay_in_the_space(forms):
    checked = PassiveEnvChecker(forms.visible)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity")
        checked.reset(seed=0)
        for action in actions(5):
            observation, reward, terminated, truncated, info = checked.step(action)
            assert observation in forms.visible.observation_space
            assert 0 <= reward <= 10
            assert not terminated
            assert not truncated
            assert info["success"] in (0.0, 1.0)


def test_same_goal_same_episode_whatever_came_before(forms):
    """In the same environment after another goal, and in another environment."""
    first, second = forms.definition.sample_goals(2, 3)
    steps = actions(12)
    trace = rollout(forms.visible, first, steps)
    assert not np.array_equal(rollout(forms.visible, second, actions(15, seed=1)), trace)
    assert np.array_equal(rollout(forms.visible, first, steps), trace)
    rollout(forms.hidden, second, actions(7, seed=2))
    hidden = rollout(forms.hidden, first, steps)
    goal_at = np.concatenate([np.arange(36, 39), *(39 + 43 * step + np.arange(36, 39) for step in range(len(steps)))])
    assert np.all(hidden[goal_at] == 0)
    assert np.array_equal(np.delete(hidden, goal_at), np.delete(trace, goal_at))


def test_visible_goal_is_the_target_and_is_never_clipped(forms):
    upstream = forms.visible.unwrapped._upstream
    generator = np.random.default_rng(0)
    low, high = forms.visible.observation_space.low[-3:], forms.visible.observation_space.high[-3:]
    for _ in range(60):
        upstream.draw_goal(generator)
        assert np.all((low <= upstream._target_pos) & (upstream._target_pos <= high))
    observation, _ = forms.visible.reset(seed=1)
    assert np.array_equal(observation[-3:], upstream._target_pos)
    after, *_ = forms.visible.step(np.zeros(4, np.float32))
    assert np.array_equal(after[-3:], upstream._target_pos)
    assert np.any(observation[-3:] != 0)


def test_seeds_fix_goals_and_traces(forms):
    def trace(seed):
        goals = [forms.visible.reset(seed=seed)[1]["goal"], forms.visible.reset()[1]["goal"]]
        return np.concatenate([*goals, forms.visible.step(np.ones(4, np.float32))[0]])

    assert np.array_equal(trace(0), trace(0))
    assert not np.array_equal(trace(0), trace(1))
    goals = trace(0)
    size = (len(goals) - 39) // 2
    assert not np.array_equal(goals[:size], goals[size : 2 * size])


@pytest.mark.parametrize("name", ["reach-v3", "drawer-open-v3", "stick-push-v3"])
def test_truncation_at_the_horizon_and_no_step_beyond(name):
    environment = TASKS.get(name).make(True)
    environment.reset(seed=0)
    ends = [environment.step(np.zeros(4, np.float32))[2:4] for _ in range(500)]
    assert ends == [(False, False)] * 499 + [(False, True)]
    with pytest.raises(UserError, match="reset"):
        environment.step(np.zeros(4, np.float32))
    environment.reset()
    assert environment.step(np.zeros(4, np.float32))[3] is False


def test_goals_are_distinct_and_depend_on_task_and_seed_alone():
    definition = TASKS.get("push-v3")
    before = np.random.get_state()[1].copy()
    rows = definition.sample_goals(100, 0)
    assert np.array_equal(np.random.get_state()[1], before)
    assert rows.dtype == np.float64
    assert len(np.unique(rows, axis=0)) == 100
    np.random.seed(5)
    assert np.array_equal(definition.sample_goals(100, 0), rows)
    assert np.array_equal(definition.sample_goals(50, 0), rows[:50])
    assert not np.array_equal(definition.sample_goals(100, 1), rows)
    assert not np.array_equal(TASKS.get("push-wall-v3").sample_goals(5, 0)[:, :2], rows[:5, :2])
    alone, _ = make_goal_sets([definition], 10, 0)
    train, heldout = make_goal_sets([TASKS.get("reach-v3"), definition], 10, 0)
    assert np.array_equal(alone.rows[0], train.rows[1])
    assert not {row.tobytes() for row in train.rows[1]} & {row.tobytes() for row in heldout.rows[1]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.1, 0.2], r"shape \(2,\)"),
        ([9.0] * 6, "outside its range"),
        ([np.nan] * 6, "outside its range"),
        ([0.0, 0.7, 0.02, 0.0, 0.8, 0.015], "rejects this goal"),
    ],
)
def test_impossible_goals_are_refused(row, message):
    environment = TASKS.get("push-v3").make(True)
    with pytest.raises(UserError, match=message):
        environment.reset(options={"goal": row})
    environment.reset(seed=0)
    environment.step(np.zeros(4, np.float32))


@pytest.mark.parametrize("action", [[0.0, 0.0], [np.nan] * 4, [0, 0, np.inf, 0]])
def test_impossible_actions_are_refused(action):
    environment = TASKS.get("reach-v3").make(True)
    environment.reset(seed=0)
    with pytest.raises(UserError, match="4 finite numbers"):
        environment.step(np.array(action))


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(UserError, match="reach-v3"):
        mtrl.envs.metaworld.make_environment("reech-v3")
    with pytest.raises(UserError, match="corner"):
        mtrl.envs.metaworld.make_environment("reach-v3", camera_name="cornr")
    with pytest.raises(UserError, match="rgb_array"):
        mtrl.envs.metaworld.make_environment("reach-v3", render_mode="human")
    with pytest.raises(UserError, match="0 or more"):
        TASKS.get("reach-v3").sample_goals(5, -1)


def test_gymnasium_ids():
    visible, hidden = gymnasium.make("MTRL/reach-v3"), gymnasium.make("MTRL/reach-v3", goal_visible=False)
    assert visible.spec.max_episode_steps == 500
    assert np.any(visible.reset(seed=0)[0][-3:] != 0)
    assert np.all(hidden.reset(seed=0)[0][-3:] == 0)
    assert all(f"MTRL/{name}" in gymnasium.registry for name in NAMES)
    with pytest.raises(gymnasium.error.Error, match="make_vec"):
        gymnasium.make("MTRL/MT10-v0")


def test_definitions_survive_pickling():
    definition = pickle.loads(pickle.dumps(TASKS.get("reach-v3")))
    assert definition.make(False).reset(seed=0)[0].shape == (39,)
    assert definition.sample_goals(2, 0).shape == (2, 6)


def test_importing_is_cheap_and_stepping_needs_no_torch_and_no_opengl():
    script = (
        "import sys, mtrl.envs; from mtrl.tasks import TASKS; TASKS.get('reach-v3')\n"
        "heavy = {'mujoco', 'metaworld', 'scipy', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "environment = TASKS.get('reach-v3').make(True)\n"
        "environment.reset(seed=0); environment.step([0, 0, 0, 0])\n"
        "assert 'torch' not in sys.modules\n"
        "assert environment._camera._renderer is None\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_pictures_are_upright():
    """The table, brown, fills the lower half; what is behind it, grey, the upper one."""
    environment = mtrl.envs.metaworld.make_environment("reach-v3", width=64, height=48)
    environment.reset(seed=0)
    try:
        picture = environment.render()
    except UserError as error:
        pytest.skip(str(error))
    finally:
        environment.close()
    assert picture.shape == (48, 64, 3)
    assert picture.dtype == np.uint8
    redness = picture[..., 0].astype(int) - picture[..., 2]
    assert redness[30:40, 20:50].mean() > redness[2:8, 40:].mean() + 15
