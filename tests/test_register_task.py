"""Users' environments as tasks."""

import itertools
import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
import user_envs

import mtrl
from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.tasks import TASKS, TaskDefinition
from mtrl.vector.build import make_vector_env

_numbers = itertools.count()


def register(env, **options) -> str:
    name = f"user-{next(_numbers)}"
    mtrl.register_task(name, env, description="for a test", **options)
    return name


def define(env, **options) -> TaskDefinition:
    return TASKS.get(register(env, **options))


def reset(task: TaskDefinition, goal, seed: int = 0, visible: bool = True):
    env = task.make(visible)
    return env, env.reset(seed=seed, options={"goal": np.array(goal, np.float64)})[0]


def test_a_gymnasium_id_plays_as_the_environment_itself():
    task = define("Pendulum-v1")
    assert (task.obs_dim, task.action_dim, task.horizon, task.engine) == (3, 1, 200, "gymnasium")
    ours, obs = reset(task, [12345])
    theirs = gymnasium.make("Pendulum-v1")
    expected, _ = theirs.reset(seed=12345)
    np.testing.assert_array_equal(obs, expected)
    for step, action in enumerate(np.random.default_rng(0).uniform(-1, 1, (200, 1))):
        obs, reward, terminated, truncated, info = ours.step(action.astype(np.float32))
        torque = (2 * action.astype(np.float32).astype(np.float64)).astype(np.float32)  # its bounds are -2 and 2
        expected, expected_reward, *ends, _ = theirs.step(torque)
        np.testing.assert_array_equal(obs, expected)
        assert reward == pytest.approx(float(expected_reward)) and [terminated, truncated] == ends == [
            False,
            step == 199,
        ]
        assert info["success"] is False


@pytest.mark.parametrize("horizon", [50, 300])
def test_a_horizon_replaces_the_limit_of_an_id(horizon):
    env, _ = reset(define("Pendulum-v1", horizon=horizon), [1])
    ends = [env.step(np.zeros(1))[3] for _ in range(horizon)]
    assert ends == [False] * (horizon - 1) + [True]


def test_actions_are_scaled_to_uneven_bounds_of_any_shape_and_clipped():
    env, _ = reset(define(user_envs.Recorder, horizon=9, goals=([0, 0], [1, 1])), [0.25, 0.5])
    for action, expected in (
        ([-1, -1, -1, -1], [0, -5, -1, 10]),
        ([1, 1, 1, 1], [2, 5, 1, 11]),
        ([0, 0, 0, 0], [1, 0, 0, 10.5]),
        ([-9, 9, 0.5, -0.5], [0, 5, 0.5, 10.25]),
    ):
        obs = env.step(np.array(action, np.float32))[0]
        np.testing.assert_allclose(obs, [*expected, 0.25, 0.5])
        assert obs.dtype == np.float32 and obs.shape == (6,)


def test_dictionaries_are_flattened_and_their_goal_can_be_hidden():
    task = define(user_envs.GoalDict, horizon=5, goals=([-1, -1], [1, 1]))
    assert task.obs_dim == 7
    env, obs = reset(task, [0.5, -0.25])
    place = obs[:2]
    np.testing.assert_allclose(obs, [*place, 0.5, -0.25, 1, *place])  # keys in the order of the alphabet
    assert obs in env.observation_space
    hidden, blank = reset(task, [0.5, -0.25], visible=False)
    np.testing.assert_allclose(blank, [*place, 0, 0, 1, *place])
    np.testing.assert_array_equal(hidden.step(np.ones(1))[0][2:4], [0, 0])
    assert hidden.step(np.ones(1))[1] == pytest.approx(-abs(place[0] + 0.6 - 0.5), abs=0.3)  # the goal still counts


def test_the_goal_part_of_a_plain_observation_can_be_named():
    options = {"horizon": 5, "goals": ([1, 1], [2, 2])}
    _, obs = reset(define(user_envs.Recorder, goal_part=(4, 6), **options), [1.5, 2], visible=False)
    np.testing.assert_array_equal(obs[4:], [0, 0])
    _, obs = reset(define(user_envs.Recorder, **options), [1.5, 2], visible=False)
    np.testing.assert_array_equal(obs[4:], [1.5, 2])
    with pytest.raises(UserError, match="goal_part"):
        reset(define(user_envs.Recorder, goal_part=(4, 7), **options), [1.5, 2], visible=False)


def test_success_comes_from_the_info_or_from_a_function():
    env, _ = reset(define(user_envs.GoalDict, horizon=20, goals=([-1, 0], [1, 0])), [0.9, 0])
    seen = [env.step(np.ones(1))[4]["success"] for _ in range(6)]
    assert seen[0] is False and seen[2] is True and seen[5] is False
    env, _ = reset(define(user_envs.Mute, horizon=20, success=user_envs.solved_by_reward), [0])
    pairs = [env.step(np.full(1, -np.sign(env._env.place)))[1::3] for _ in range(15)]
    assert all(info["success"] is (reward > -0.05) for reward, info in pairs)
    assert {info["success"] for _, info in pairs} == {True, False}


def test_terminal_states_are_passed_on():
    env, _ = reset(define(user_envs.GoalDict, horizon=20), [1])
    ends = [env.step(np.ones(1))[2:4] for _ in range(7)]
    assert ends[-1] == (True, False) and ends[0] == (False, False)


def test_arguments_and_factories():
    env, _ = reset(define(user_envs.Recorder, horizon=3, arguments={"bonus": 100.0}), [1])
    assert 100 <= env.step(np.zeros(4))[1] <= 101
    assert env.render().shape == (4, 6, 3) and env.render_mode == "rgb_array"
    assert define(user_envs.build_pendulum).horizon == 200
    assert define(lambda: user_envs.Simple(), horizon=3).obs_dim == 2


def test_goals_are_seeds_vectors_or_rows_of_your_own():
    seeds = define(user_envs.Simple, horizon=3)
    rows = seeds.sample_goals(100, 7)
    assert rows.shape == (100, 1) and len(set(rows[:, 0])) == 100 and (rows == rows.astype(np.int64)).all()
    np.testing.assert_array_equal(rows, seeds.sample_goals(100, 7))
    assert not np.isin(rows, seeds.sample_goals(100, 8)).any()
    assert reset(seeds, rows[0])[1][0] == reset(seeds, rows[0], seed=99)[1][0] != reset(seeds, rows[1])[1][0]
    box = define(user_envs.Recorder, horizon=3, goals=([-1, 5], [1, 6])).sample_goals(2000, 0)
    np.testing.assert_allclose(box.mean(axis=0), [0, 5.5], atol=0.05)
    assert (box >= [-1, 5]).all() and (box <= [1, 6]).all()
    few = define(user_envs.Simple, horizon=3, goals=user_envs.three_goals)
    np.testing.assert_array_equal(few.sample_goals(3, 0), [[0], [1], [2]])
    with pytest.raises(UserError, match=r"gave shape \(3, 1\), expected \(100, numbers\)"):
        make_goal_sets([few], 50, 0)


def test_the_episode_depends_on_seed_and_goal_alone():
    task = define(user_envs.Simple, horizon=3, goals=([-1], [1]))
    env, first = reset(task, [0.5], seed=3)
    env.step(np.ones(1))
    again = env.reset(seed=3, options={"goal": np.array([0.5])})[0]
    np.testing.assert_array_equal(first, again)
    assert reset(task, [0.5], seed=4)[1][0] != first[0]


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (user_envs.Discrete, {"horizon": 5}, r"actions of Discrete\(3\).*ActionWrapper"),
        (user_envs.Unbounded, {"horizon": 5}, r"actions without bounds.*finite"),
        (user_envs.Wordy, {"horizon": 5}, r"observations of Sequence"),
        (user_envs.Simple, {}, r"no limit of steps.*horizon=STEPS"),
        (user_envs.build_pendulum, {"horizon": 500}, r"after 200 steps, before horizon=500"),
        (user_envs.build_nothing, {"horizon": 5}, r"not a gymnasium.Env"),
        (user_envs.Simple, {"horizon": 5, "arguments": {"size": 3}}, r"cannot be built: TypeError: Simple\(\) takes"),
        ("Pendulim-v1", {}, r"no environment 'Pendulim-v1'.*Pendulum"),
        ("no_such_package:Thing-v0", {}, r"No module named 'no_such_package'"),
    ],
)
def test_what_is_wrong_with_an_environment_shows_at_its_first_use(env, options, message):
    name = register(env, **options)
    for _ in range(2):
        with pytest.raises(UserError, match=f"task '{name}'.*{message}"):
            TASKS.get(name)


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (user_envs.Simple(), {}, "built already: give its class"),
        (3, {}, "env is a int"),
        (user_envs.Simple, {"horizon": 0}, "horizon 0 is impossible"),
        (user_envs.Simple, {"goals": "random"}, "goals='random' is none of"),
        (user_envs.Simple, {"goals": ([0, 0], [1])}, "two vectors of one length"),
        (user_envs.Simple, {"goals": ([1], [0])}, "low below high"),
    ],
)
def test_impossible_arguments_are_refused_at_once(env, options, message):
    with pytest.raises(UserError, match=message):
        register(env, **options)


def test_names_must_be_free_and_plain():
    name = register(user_envs.Simple, horizon=5)
    with pytest.raises(UserError, match="already registered"):
        mtrl.register_task(name, user_envs.Simple, description="again")
    for bad in ("", "a b", "a,b", "a:b", "a/b"):
        with pytest.raises(UserError, match="cannot register task"):
            mtrl.register_task(bad, user_envs.Simple, description="bad name")
    with pytest.raises(UserError, match="description"):
        mtrl.register_task("nameless", user_envs.Simple, description=" ")


def test_the_decorator_leaves_the_class_as_it_is():
    class Mine(user_envs.Simple):
        pass

    assert mtrl.task("decorated-v0", description="for a test", horizon=4)(Mine) is Mine
    assert TASKS.get("decorated-v0").horizon == 4


def test_registering_builds_nothing():
    name = register(user_envs.build_nothing, horizon=5)
    assert name in TASKS and name in list(TASKS) and TASKS.describe(name) == "for a test"


SCRIPT = """
import gymnasium, numpy as np, torch, mtrl
from mtrl.goals import make_goal_sets
from mtrl.tasks import TASKS

@mtrl.task("line-v0", description="a line", horizon=5)
class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros(1)
        return self.place.copy(), {}
    def step(self, action):
        self.place = self.place + action
        return self.place.copy(), 0.0, False, False, {"success": False}

gymnasium.register("Line-v1", entry_point="__main__:Line", max_episode_steps=4)
mtrl.register_task("line-v1", "Line-v1", description="the same by its id")
names = ["line-v0", "line-v1"]
GUARD
    env = mtrl.make_vector_env(names, goal_set=make_goal_sets([TASKS.get(n) for n in names], 2, 0)[0], workers=2)
    env.reset(seed=0)
    for _ in range(3):
        obs = env.step(torch.full((2, 1), 0.5))[0]
    env.close()
    print("places", obs.flatten().tolist())
"""


@pytest.mark.parametrize("guard", ["if __name__ == '__main__':", "if True:"], ids=["guarded", "unguarded"])
def test_tasks_of_a_script_reach_the_workers(tmp_path, guard):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("GUARD", guard))
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.stdout == "places [1.5, 1.5]\n", result.stderr


@pytest.mark.parametrize("how", [["naming.py"], ["-m", "naming"]])
def test_a_script_may_name_itself(tmp_path, how):
    (tmp_path / "naming.py").write_text(
        "import mtrl, user_envs\n"
        "mtrl.register_task('named', user_envs.Simple, description='for a test', horizon=3)\n"
        "if __name__ == '__main__':\n"
        "    from mtrl.tasks import TASKS\n"
        "    print(TASKS.get('naming:named').horizon)\n"
    )
    inside = {**os.environ, "PYTHONPATH": os.path.dirname(__file__)}
    command = [sys.executable, *how]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=inside)
    assert result.stdout == "3\n", result.stderr


MODULE = """
import mtrl
from user_envs import Simple
mtrl.register_task("{name}", Simple, description="in a module", horizon=5)
mtrl.register_suite("{name}-suite", ["{name}"], description="in a module")
"""


def test_what_a_module_registers_is_found_by_module_and_name(tmp_path, monkeypatch):
    from mtrl.suites import resolve_suite

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    (tmp_path / "module_of_tasks.py").write_text(MODULE.format(name="from-module"))
    with pytest.raises(UserError, match=r"unknown task 'from-module'.*MODULE:from-module"):
        TASKS.get("from-module")
    assert TASKS.get("module_of_tasks:from-module").name == "from-module"
    assert resolve_suite("module_of_tasks:from-module").train_tasks == ("from-module",)
    assert resolve_suite("ML1:module_of_tasks:from-module").name == "ML1:from-module"
    assert resolve_suite("reach-v3,module_of_tasks:from-module").name == "reach-v3,from-module"
    assert resolve_suite("module_of_tasks:from-module-suite").train_tasks == ("from-module",)
    with pytest.raises(UserError, match="did you mean from-module"):
        TASKS.get("module_of_tasks:from-modul")
    with pytest.raises(UserError, match="there is no module 'absent_module'"):
        TASKS.get("absent_module:x")
    (tmp_path / "broken_module.py").write_text("import numpy_of_another_kind")
    with pytest.raises(UserError, match=r"'broken_module' of .* cannot be imported: No module named 'numpy_of"):
        TASKS.get("broken_module:x")
    (tmp_path / "faulty_module.py").write_text("1 / 0")
    with pytest.raises(UserError, match="cannot be imported: ZeroDivisionError"):
        TASKS.get("faulty_module:x")


def test_vector_environments_mix_sizes_and_built_in_tasks():
    import torch

    names = [register(user_envs.GoalDict, horizon=4, goals=([-1, -1], [1, 1])), register("Pendulum-v1"), "reach-v3"]
    goals = make_goal_sets([TASKS.get(name) for name in names], 2, 0)[0]
    env = make_vector_env(names, goal_set=goals, workers=1)
    try:
        obs, _ = env.reset(seed=1)
        assert obs.shape == (3, 39) and env.obs_mask.sum(dim=1).tolist() == [7, 3, 39]
        assert env.action_mask.sum(dim=1).tolist() == [1, 1, 4]
        assert (obs[0, 7:] == 0).all() and (obs[1, 3:] == 0).all()
        for _ in range(4):
            _, reward, _, truncated, _ = env.step(torch.zeros(3, 4))
        assert truncated.tolist() == [True, False, False] and torch.isfinite(reward).all()
    finally:
        env.close()
