"""The NumPy form, against gymnasium's own vector environment over the same single environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from toy_envs import toy_task

import mtrl.envs  # noqa: F401 - registers the gymnasium ids
from mtrl.errors import UserError
from mtrl.suites import Suite
from mtrl.tasks import TASKS
from mtrl.vector.numpy_form import make

SUITE = Suite("TOYS", ("near", "far"), test_tasks=("near",), goals_per_task=4, leaks=True)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._entries))
    monkeypatch.setattr(TASKS, "_descriptions", dict(TASKS._descriptions))
    for task in (toy_task("near", horizon=4), toy_task("far", horizon=6, obs_dim=5)):
        TASKS.register(task.name, task, task.description)


@pytest.mark.parametrize(("num_envs", "slots"), [(1, 1), (2, 1), (6, 3)])
def test_slots(registered, num_envs, slots):
    env = make(SUITE, num_envs)
    assert env.num_envs == 2 * slots
    assert env.task_id.tolist() == [0] * slots + [1] * slots
    assert env.reset(seed=0)[0].shape == env.observation_space.shape == (2 * slots, 5)
    env.close()


def test_everything_is_numpy_of_gymnasium_types(registered):
    env = make(SUITE, slots_per_task=2, workers=2)
    obs, infos = env.reset(seed=1)
    assert env.observation_space.contains(obs)
    assert infos["goal_index"].shape == (4,)
    for _ in range(7):
        obs, reward, terminated, truncated, infos = env.step(env.action_space.sample())
        assert env.observation_space.contains(obs)
        assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)
        assert infos["success"].dtype == np.bool_
    env.close()


def test_infos_have_the_form_of_gymnasium(registered):
    ours = make(SUITE)
    theirs = SyncVectorEnv(
        [lambda: TASKS.get("near").make(True), lambda: TASKS.get("near").make(True)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    ours.reset(seed=0)
    theirs.reset(seed=0)
    for step in range(1, 13):
        obs, _, _, truncated, infos = ours.step(np.zeros((2, 2), np.float32))
        expected = theirs.step(np.zeros((2, 2), np.float32))[4]
        ended = [step % 4 == 0, step % 6 == 0]
        assert truncated.tolist() == ended
        assert ("final_obs" in infos) == any(ended)
        if any(ended):
            assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == ended
            assert infos["final_info"]["_success"].tolist() == ended
            for slot in range(2):
                assert (infos["final_obs"][slot] is not None) == ended[slot]
                if ended[slot]:
                    assert not np.array_equal(infos["final_obs"][slot], obs[slot])
        if step % 4 == 0:
            assert infos["final_obs"].dtype == expected["final_obs"].dtype
            assert set(expected) - set(infos) == set()
            assert set(expected["final_info"]) - set(infos["final_info"]) == set()
            assert type(infos["final_obs"][0]) is type(expected["final_obs"][0])
    ours.close()
    theirs.close()


def test_seeds(registered):
    env = make(SUITE)
    first = [env.reset(seed=4)[0], env.reset()[0], env.reset()[0]]
    again = [env.reset(seed=4)[0], env.reset()[0], env.reset()[0]]
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])
    env.close()


def test_goals_and_tasks_can_be_chosen(registered):
    def goals(**options):
        env = make(SUITE, **options)
        rows = [table.tolist() for table in env.env.goal_set.rows]
        env.close()
        return rows

    assert goals() == goals(goal_seed=42)
    assert goals() != goals(goal_seed=43)
    assert goals(goals="heldout")[0][0] not in goals()[0]
    assert goals(tasks="test") == goals()[:1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 3}, "num_envs is 3: suite 'TOYS' has 2 tasks, so use a multiple of 2"),
        ({"num_envs": 0}, "num_envs is 0"),
        ({"num_envs": 4, "slots_per_task": 1}, "num_envs is 4 but 1 slots x 2 tasks"),
        ({"slots_per_task": 0}, "slots_per_task is 0"),
        ({"tasks": "tset"}, "tasks is 'tset': choose 'train' or 'test'"),
        ({"goals": "old"}, "goals is 'old'"),
        ({"render_mode": "human"}, "render_mode is 'human': choose None or 'rgb_array'"),
    ],
)
def test_impossible_arguments_are_refused(registered, options, message):
    with pytest.raises(UserError, match=message):
        make(SUITE, **options)


def test_a_suite_without_test_tasks_says_so(registered):
    with pytest.raises(UserError, match="has no test tasks"):
        make("near,far", tasks="test")


def test_images(registered):
    env = make(SUITE, render_mode="rgb_array")
    env.reset()
    assert [image.shape for image in env.render()] == [(4, 6, 3)] * 2
    env.close()


def test_make_vec_gives_meta_world():
    env = gymnasium.make_vec("MTRL/MT3-v0", num_envs=3)
    assert env.unwrapped.spec.id == "MTRL/MT3-v0"

    def trace(seed):
        env.action_space.seed(0)
        steps = [env.reset(seed=seed)[0]]
        return np.array(steps + [env.step(env.action_space.sample())[0] for _ in range(10)])

    first = trace(0)
    assert first.shape == (11, 3, 39)
    assert np.array_equal(first, trace(0))
    assert not np.array_equal(first, trace(1))
    env.close()
