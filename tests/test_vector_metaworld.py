"""Meta-World's suites as vector environments: upstream's classes in the worker pool, and the native engine."""

import os
import signal

import pytest
import torch
from toy_envs import worker_processes

from mtrl.goals import make_goal_sets
from mtrl.suites import SUITES, resolve_suite
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.checker import check_vector_env


def build(suite, goals=50, **options):
    suite = resolve_suite(suite)
    train, _ = make_goal_sets([TASKS.get(name) for name in suite.train_tasks], goals, 42)
    return make_vector_env(suite.train_tasks, goal_set=train, goal_visible=suite.goal_visible, **options)


@pytest.fixture
def mt3():
    env = build("MT3", engine="official")
    yield env
    env.close()


def test_mt3_keeps_the_contract_on_upstreams_classes(mt3):
    assert check_vector_env(mt3) == []


LARGE = 15
"""Tasks above which a suite takes long to check."""


@pytest.mark.parametrize(
    "suite",
    [
        pytest.param(name, marks=pytest.mark.slow if len(SUITES.get(name).train_tasks) > LARGE else ())
        for name in ("MT3", "MT10", "MT25", "MT50", "ML10", "ML25", "ML45")
    ],
)
def test_every_suite_keeps_the_contract_natively(suite):
    env = build(suite, goals=3)
    assert {task.engine for task in env.tasks} == {"native"}
    assert check_vector_env(env) == []
    env.close()


def test_both_engines_play_the_same(mt3):
    """The same goals, actions and ends of episodes; rewards differ by upstream's arithmetic in single precision."""
    native = build("MT3", engine="native")
    actions = torch.rand((520, 3, 4), generator=torch.Generator().manual_seed(2)) * 2.2 - 1.1
    first = [env.reset(seed=4)[0] for env in (native, mt3)]
    assert torch.equal(*first)
    for action in actions:
        (obs, reward, _, truncated, info), theirs = native.step(action), mt3.step(action)
        assert torch.equal(obs, theirs[0])
        assert torch.allclose(reward, theirs[1], atol=2e-6)
        assert torch.equal(truncated, theirs[3])
        for key, value in info.items():
            assert torch.equal(value, theirs[4][key]), key


def test_a_killed_worker_of_mt3_is_replaced_without_a_trace(mt3):
    actions = torch.rand((60, 3, 4), generator=torch.Generator().manual_seed(0)) * 2 - 1
    mt3.reset(seed=1)
    expected = [mt3.step(action) for action in actions]
    mt3.reset(seed=1)
    for number, (action, step) in enumerate(zip(actions, expected, strict=True)):
        mt3.step_async(action)
        if number == 50:
            os.kill(worker_processes(os.getpid())[-1], signal.SIGKILL)
        obs, reward, *_ = mt3.step_wait()
        assert torch.equal(obs, step[0])
        assert torch.equal(reward, step[1])
