"""Meta-World's own tasks through the worker pool."""

import os
import signal

import pytest
import torch
from toy_envs import worker_processes

from mtrl.goals import make_goal_sets
from mtrl.suites import resolve_suite
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.checker import check_vector_env


@pytest.fixture
def mt3():
    names = resolve_suite("MT3").train_tasks
    train, _ = make_goal_sets([TASKS.get(name) for name in names], 50, 42)
    env = make_vector_env(names, goal_set=train)
    yield env
    env.close()


def test_mt3_keeps_the_contract(mt3):
    assert check_vector_env(mt3) == []


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
