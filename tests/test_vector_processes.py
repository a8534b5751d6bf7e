"""Environments in worker processes, against single environments stepped here."""

import functools
import os
import signal
import threading

import gymnasium
import numpy as np
import pytest
import torch
from toy_envs import (
    DyingEnv,
    DyingOnceEnv,
    IsSuccessEnv,
    RaisingEnv,
    RandomEnv,
    SilentEnv,
    SpyEnv,
    refuse,
    toy_goals,
    toy_task,
    vanish,
    worker_processes,
)

from mtrl.errors import UserError, WorkerDied
from mtrl.goals import EachGoalOnce, ResampleGoals
from mtrl.tasks import TaskDefinition
from mtrl.vector.processes import ProcessVectorEnv

WALLED = toy_task("walled", wall=0.7, horizon=12)
WIDE = toy_task("wide", obs_dim=6, action_dim=3, horizon=7)
GOALS = toy_goals(WALLED, WIDE)


def make(*tasks, goals=None, slots=1, **options):
    return ProcessVectorEnv(tasks, goal_set=goals or toy_goals(*tasks), slots_per_task=slots, **options)


@pytest.fixture
def opened():
    """Builds environments and closes them."""
    envs = []

    def build(*tasks, **options):
        envs.append(make(*tasks, **options))
        return envs[-1]

    yield build
    for env in envs:
        env.close()


def random_actions(steps, slots, size, seed=0):
    return list(torch.rand((steps, slots, size), generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8)


def flat(step):
    obs, reward, terminated, truncated, info = step
    return [obs, reward, terminated, truncated, *info.values()]


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for left, right in zip(one, other, strict=True)
        for a, b in zip(flat(left), flat(right), strict=True)
    )


def by_hand(task, rows, slot, seed, actions):
    """One of four slots played without any vector environment."""
    env = task.make(True)
    schedule = ResampleGoals([5] * 4, seed)

    def begin(episode, goal):
        words = np.random.SeedSequence([seed, slot, episode]).generate_state(1)
        return env.reset(seed=int(words[0] >> 1), options={"goal": rows[goal]})[0]

    episode, goal = 0, schedule.first(slot)
    yield begin(0, goal)
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action[slot, : task.action_dim].numpy())
        played, last = goal, obs
        if terminated or truncated:
            episode, goal = episode + 1, schedule.following(slot)
            obs = begin(episode, goal)
        yield obs, reward, terminated, truncated, info["success"], last, played


@pytest.mark.parametrize("workers", [1, 3, 9])
def test_equal_to_single_environments(opened, workers):
    env = opened(WALLED, WIDE, goals=GOALS, slots=2, workers=workers)
    actions = random_actions(40, 4, 3)
    obs, _ = env.reset(seed=11)
    trace = [env.step(action) for action in actions]
    assert env.task_id.tolist() == [0, 0, 1, 1]
    ends = {"terminated": 0, "truncated": 0}
    for slot, task in enumerate((WALLED, WALLED, WIDE, WIDE)):
        truth = by_hand(task, GOALS.rows[slot // 2], slot, 11, actions)
        size = task.obs_dim
        assert np.array_equal(obs[slot, :size], next(truth).astype(np.float32))
        for (got, reward, terminated, truncated, info), expected in zip(trace, truth, strict=True):
            first, true_reward, true_terminated, true_truncated, success, last, goal = expected
            assert np.array_equal(got[slot, :size], first.astype(np.float32))
            assert not got[slot, size:].any()
            assert reward[slot] == np.float32(true_reward)
            assert bool(terminated[slot]) == true_terminated
            assert bool(truncated[slot]) == true_truncated
            assert bool(info["success"][slot]) == success
            assert bool(info["final_mask"][slot]) == (true_terminated or true_truncated)
            assert np.array_equal(info["final_obs"][slot, :size], last.astype(np.float32))
            assert info["goal_index"][slot] == goal
            ends["terminated"] += true_terminated
            ends["truncated"] += true_truncated
    assert all(ends.values()), "both kinds of end must occur for this test to mean anything"


def test_a_seed_fixes_the_trace_and_another_changes_it(opened):
    env = opened(WALLED, WIDE, slots=2)
    actions = random_actions(20, 4, 3)

    def trace(**seed):
        obs, _ = env.reset(**seed)
        return obs, [env.step(action) for action in actions]

    first_obs, first = trace(seed=5)
    again_obs, again = trace(seed=5)
    kept_obs, kept = trace()
    assert torch.equal(first_obs, again_obs)
    assert torch.equal(first_obs, kept_obs)
    assert same(first, again)
    assert same(first, kept)
    assert not torch.equal(trace(seed=6)[0], first_obs)
    with pytest.raises(UserError, match="seed -1"):
        env.reset(seed=-1)


def test_the_goal_can_be_hidden(opened):
    hidden, seen = opened(toy_task(), goal_visible=False), opened(toy_task())
    assert not hidden.reset(seed=1)[0][0, 2:].any()
    assert seen.reset(seed=1)[0][0, 2:].all()


def test_where_success_is_read(opened):
    env = opened(toy_task("flag", IsSuccessEnv), toy_task("none", SilentEnv))
    env.reset()
    successes = [env.step(torch.zeros(2, 2))[4]["success"].tolist() for _ in range(4)]
    assert successes == [[True, False], [False, False], [True, False], [False, False]]


def test_inactive_slots_return_zeros(opened):
    env = opened(toy_task(horizon=3), slots=3)
    schedule = EachGoalOnce(env.task_id.tolist(), [4])
    obs, info = env.reset(options={"schedule": schedule})
    played = [[], [], []]
    for step in range(7):
        obs, reward, _, truncated, info = env.step(torch.ones(3, 2))
        for slot in range(3):
            if info["final_mask"][slot]:
                played[slot].append(int(info["goal_index"][slot]))
        expected = [True] * 3 if step < 3 else [step < 6, False, False]
        assert info["active"].tolist() == expected
        for slot in range(3):
            if not expected[slot]:
                assert info["goal_index"][slot] == -1
                assert not any(t[slot].any() for t in (obs, reward, truncated, info["final_obs"], info["success"]))
    assert played == [[0, 3], [1], [2]]


def test_what_was_returned_is_never_written_again(opened):
    env = opened(toy_task(horizon=4))
    env.reset()
    kept = [flat(env.step(action)) for action in random_actions(9, 1, 2)]
    copies = [[tensor.clone() for tensor in step] for step in kept]
    for action in random_actions(9, 1, 2, seed=1):
        env.step(action)
    env.reset(seed=3)
    for step, copied in zip(kept, copies, strict=True):
        assert all(torch.equal(tensor, copy) for tensor, copy in zip(step, copied, strict=True))


def test_workers_load_no_torch_use_one_thread_and_rerun_no_main_module(opened):
    env = opened(toy_task("spy", SpyEnv))
    torch_loaded, threads, has_main_file, _ = env.reset()[0][0].tolist()
    assert (torch_loaded, threads, has_main_file) == (0, 1, 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_state_is_plain_data_and_goes_on_exactly(opened, tmp_path, workers):
    env = opened(WALLED, WIDE, goals=GOALS, slots=2)
    env.reset(seed=4)
    before = [env.step(action) for action in random_actions(33, 4, 3)][-1]
    torch.save(env.get_state(), tmp_path / "state.pt")
    expected = [env.step(action) for action in random_actions(33, 4, 3, seed=1)]
    fresh = opened(WALLED, WIDE, goals=GOALS, slots=2, workers=workers)
    assert torch.equal(fresh.set_state(torch.load(tmp_path / "state.pt", weights_only=True)), before[0])
    assert same([fresh.step(action) for action in random_actions(33, 4, 3, seed=1)], expected)
    # And so does the environment that the state came from.
    env.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same([env.step(action) for action in random_actions(33, 4, 3, seed=1)], expected)


def test_a_long_episode_is_remembered_whole(opened):
    env = opened(toy_task(horizon=200))
    env.reset(seed=2)
    obs = [env.step(action)[0] for action in random_actions(150, 1, 2)][-1]
    assert torch.equal(env.set_state(env.get_state()), obs)
    expected = [env.step(action) for action in random_actions(10, 1, 2)]
    env.reset(seed=2)
    for action in random_actions(150, 1, 2):
        env.step(action)
    assert same([env.step(action) for action in random_actions(10, 1, 2)], expected)


def test_the_state_of_an_evaluation_goes_on(opened):
    env = opened(toy_task(horizon=3), slots=2)
    env.reset(options={"schedule": EachGoalOnce([0, 0], [5])})
    for _ in range(7):
        env.step(torch.zeros(2, 2))
    state = env.get_state()
    expected = [env.step(torch.zeros(2, 2)) for _ in range(5)]
    fresh = opened(toy_task(horizon=3), slots=2)
    with pytest.raises(UserError, match="EachGoalOnce over 2 slots"):
        fresh.set_state(state)
    fresh.reset(options={"schedule": EachGoalOnce([0, 0], [5])})
    fresh.set_state(state)
    assert same([fresh.step(torch.zeros(2, 2)) for _ in range(5)], expected)
    assert [step[4]["active"].tolist() for step in expected[:3]] == [[True, False], [True, False], [False, False]]


def test_a_task_that_is_not_deterministic_is_named(opened):
    env = opened(toy_task("steady"), toy_task("dice", RandomEnv))
    env.reset()
    for _ in range(3):
        env.step(torch.zeros(2, 2))
    with pytest.raises(UserError, match="task 'dice' is not deterministic"):
        env.set_state(env.get_state())


def test_the_state_of_another_environment_is_refused(opened):
    env, other = opened(WIDE), opened(WALLED, slots=2)
    env.reset()
    with pytest.raises(UserError, match="1 slots of other tasks than these 2"):
        other.set_state(env.get_state())


def test_an_error_in_a_task_names_it_and_shows_where(opened):
    env = opened(toy_task("good"), toy_task("bad", RaisingEnv), workers=2)
    env.reset()
    env.step(torch.zeros(2, 2))
    env.step(torch.zeros(2, 2))
    with pytest.raises(
        UserError, match=r"^task 'bad' failed in step: ZeroDivisionError: the point fell off$"
    ) as caught:
        env.step(torch.zeros(2, 2))
    assert "toy_envs.py" in str(caught.value.__cause__)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(torch.zeros(2, 2))
    env.reset()
    env.step(torch.zeros(2, 2))


def test_an_image_of_a_slot_and_an_error_instead(opened):
    env = opened(toy_task("blind", RaisingEnv), toy_task("seen"))
    env.reset()
    env.step(torch.zeros(2, 2))
    image = env.render_slot(1)
    assert image.dtype == np.uint8
    assert image.shape == (4, 6, 3)
    assert (image == 1).all()
    with pytest.raises(UserError, match="task 'blind' failed in render: RuntimeError: no GL here"):
        env.render_slot(0)
    env.step(torch.zeros(2, 2))  # an image that failed harms nothing
    with pytest.raises(UserError, match="slot 7"):
        env.render_slot(7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs_dim": 5}, r"task 'toy' failed in make: ValueError: its observation space has shape \(4,\)"),
        ({"action_dim": 1}, r"task 'toy' failed in make: ValueError: its action space has shape \(2,\)"),
        ({"make": refuse}, "task 'toy' failed in make: FileNotFoundError: scene.xml"),
        ({"make": functools.partial(refuse, threading.Lock())}, "task 'toy' cannot be sent to a worker"),
    ],
)
def test_a_task_that_cannot_be_built_is_named(change, message):
    before = worker_processes(os.getpid())
    task = toy_task()
    broken = TaskDefinition(**{**task.__dict__, **change})
    with pytest.raises(UserError, match=message):
        make(broken, goals=toy_goals(task), slots=2, workers=2)
    assert worker_processes(os.getpid()) == before


def test_steps_out_of_turn_are_refused(opened):
    env = opened(toy_task())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(torch.zeros(1, 2))
    env.reset()
    with pytest.raises(gymnasium.error.NoAsyncCallError):
        env.step_wait()
    with pytest.raises(ValueError, match=r"\(1, 3\), expected \(1, 2\)"):
        env.step(torch.zeros(1, 3))
    env.step_async(torch.zeros(1, 2))
    with pytest.raises(RuntimeError, match="between steps"):
        env.get_state()
    env.reset(seed=1)  # drops the step that is under way
    assert torch.equal(env.step(torch.zeros(1, 2))[0], (env.reset(), env.step(torch.zeros(1, 2)))[1][0])


@pytest.mark.parametrize("when", ["between", "during", "idle"])
def test_a_killed_worker_is_replaced_without_a_trace(opened, when, caplog):
    env = opened(WALLED, WIDE, goals=GOALS, slots=2, workers=2)
    actions = random_actions(30, 4, 3)
    env.reset(seed=9)
    expected = [env.step(action) for action in actions]
    env.reset(seed=9)
    trace = []
    for number, action in enumerate(actions):
        if when == "between" and number in (5, 20):
            os.kill(worker_processes(os.getpid())[number % 2], signal.SIGKILL)
        env.step_async(action)
        if when == "during" and number in (5, 20):
            os.kill(worker_processes(os.getpid())[number % 2], signal.SIGKILL)
        trace.append(env.step_wait())
    if when == "idle":
        os.kill(worker_processes(os.getpid())[0], signal.SIGKILL)
        assert env.render_slot(0).shape == (4, 6, 3)
        os.kill(worker_processes(os.getpid())[0], signal.SIGKILL)
        env.reset(seed=9)
        trace = [env.step(action) for action in actions]
    assert same(trace, expected)
    assert "died with signal SIGKILL: started again (1 of 3)" in caplog.text
    assert "walled" in caplog.text


def test_a_worker_that_dies_within_a_step_repeats_it(opened, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MTRL_TEST_DIED", str(tmp_path / "died"))
    task = toy_task("once", DyingOnceEnv)
    env = opened(toy_task("calm"), task, workers=1)
    env.reset(seed=1)
    actions = random_actions(8, 2, 2)
    trace = [env.step(action) for action in actions]
    assert (tmp_path / "died").exists()
    env.reset(seed=1)
    assert same([env.step(action) for action in actions], trace)
    assert caplog.text.count("started again") == 1


def test_a_recovered_task_that_is_not_deterministic_is_named(opened):
    env = opened(toy_task("dice", RandomEnv))
    env.reset()
    for _ in range(3):
        env.step(torch.zeros(1, 2))
    os.kill(worker_processes(os.getpid())[0], signal.SIGKILL)
    with pytest.raises(UserError, match="task 'dice' is not deterministic"):
        env.step(torch.zeros(1, 2))


@pytest.mark.parametrize(("action", "how"), [(1.0, "signal SIGKILL"), (-1.0, "exit code 7")])
def test_a_worker_that_always_dies_is_given_up(opened, action, how):
    before = worker_processes(os.getpid())
    env = opened(toy_task("calm"), toy_task("deadly", DyingEnv), workers=2)
    env.reset()
    env.step(torch.zeros(2, 2))
    with pytest.raises(WorkerDied, match=rf"^worker 1 \(task deadly\) died with {how}, 4 times in all: \S.*$"):
        env.step(torch.full((2, 2), action))
    assert worker_processes(os.getpid()) == before
    env.close()


def test_a_worker_that_dies_while_it_builds_is_given_up():
    before = worker_processes(os.getpid())
    task = toy_task("crash")
    with pytest.raises(WorkerDied, match=r"worker 0 \(task crash\) died with exit code 3, 4 times"):
        make(TaskDefinition(**{**task.__dict__, "make": vanish}), goals=toy_goals(task))
    assert worker_processes(os.getpid()) == before


def test_returned_tensors_live_on_the_device_and_workers_end_with_close():
    before = worker_processes(os.getpid())
    env = make(toy_task(), slots=2, workers=2, device="cpu")
    assert len(worker_processes(os.getpid())) == len(before) + 2
    assert env.reset()[0].device == torch.device("cpu")
    env.close()
    env.close()
    assert worker_processes(os.getpid()) == before
