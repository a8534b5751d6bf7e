"""What first observations give away: the measure against known answers, and that nothing of ours adds to it."""

import numpy as np
import pytest
import torch
from reset_leaks import GOAL, Leak, fit, measure, page

from mtrl.algorithm import AGENTS
from mtrl.config import from_dict
from mtrl.goals import make_goal_sets
from mtrl.runner.experiment import prepare
from mtrl.suites import resolve_suite
from mtrl.tasks import TASKS


def test_the_fit_finds_what_is_there_and_nothing_else():
    generator = np.random.default_rng(0)
    obs = np.concatenate([generator.normal(size=(300, 5)), np.full((300, 3), 7.0)], axis=1)
    told = np.stack([obs[:, 0] - 2.0 * obs[:, 1], obs[:, 2] ** 2, np.ones(300)], axis=1)
    assert np.abs(fit(obs[:200], told[:200])(obs[200:]) - told[200:]).max() < 0.02
    noise = generator.normal(size=(300, 3))
    wrong = np.abs(fit(obs[:200], noise[:200])(obs[200:]) - noise[200:]).mean()
    assert wrong > 0.7  # as wrong as not looking
    assert np.allclose(fit(obs[:, 5:], noise)(obs[:1, 5:]), noise.mean(axis=0))  # nothing that varies


def test_reach_hides_its_goal_and_a_drawer_shows_it():
    found = measure(("reach-v3", "drawer-open-v3"), 30, 0)
    assert found["reach-v3"].verdict == "hidden" and found["drawer-open-v3"].verdict == "given away"
    assert found["drawer-open-v3"].task == 1.0
    text = page(found, 30, "command")
    assert "(1 tasks)" in text and "| drawer-open-v3 | " in text
    assert Leak(0.0, 0.0, 1.0).verdict == "always the same" and Leak(6.0, 1.0, 1.0).verdict == "partly"


@pytest.mark.parametrize("agent", ["rl2-small", "maml-small", "pearl-small"])
@pytest.mark.parametrize("suite", ["ML1:drawer-open-v3", "ML10"])
def test_meta_agents_see_upstreams_numbers_and_what_they_did_and_no_more(agent, suite):
    defaults = AGENTS.get(agent).defaults
    experiment = prepare(from_dict(defaults, {"suite": suite, "agent": agent, "workers": 1, "slots_per_task": 1}))
    for split, goals in experiment.goal_sets().items():
        first = type(goals)(split, tuple(rows[:1] for rows in goals.rows))
        env = experiment.build_evaluation_env(first, 1)
        obs, _ = env.reset(seed=0)
        tasks = [TASKS.get(name) for name in experiment.tasks_of(split)]
        assert obs.shape[1] == 39 + 4 + 3 and len(tasks) == len(obs)
        for row, task, own in zip(obs, tasks, first.rows, strict=True):
            upstream = task.make(False).reset(options={"goal": own[0]})[0]
            assert torch.equal(row[:39], torch.as_tensor(np.asarray(upstream), dtype=torch.float32))
            assert not row[GOAL].any() and row[39:].tolist() == [0.0] * 6 + [1.0]
        env.close()


def test_goals_and_tasks_of_tests_are_never_trained_on():
    for name in ("ML1:push-v3", "ML10", "ML25", "ML45"):
        suite = resolve_suite(name)
        assert not set(suite.train_tasks) & set(suite.new_tasks)
        train, heldout = make_goal_sets([TASKS.get(task) for task in suite.train_tasks[:2]], 50, 42)
        for seen, new in zip(train.rows, heldout.rows, strict=True):
            assert not {tuple(row) for row in seen} & {tuple(row) for row in new}
