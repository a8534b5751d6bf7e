"""Suites against upstream's own lists."""

import importlib.util
from pathlib import Path

import pytest
from metaworld import env_dict

import mtrl
from mtrl.errors import UserError
from mtrl.suites import SUITES, Suite, resolve_suite
from mtrl.tasks import TASKS

spec = importlib.util.spec_from_file_location("floors", Path(__file__).parents[1] / "experiments" / "floors.py")
floors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(floors)

MULTI_TASK = {"MT10": env_dict.MT10_V3, "MT25": env_dict.MT25_V3, "MT50": env_dict.MT50_V3}
META = {"ML10": env_dict.ML10_V3, "ML25": env_dict.ML25_V3, "ML45": env_dict.ML45_V3}


@pytest.mark.parametrize("name", MULTI_TASK)
def test_multi_task_suites_equal_upstreams_in_order(name):
    suite = SUITES.get(name)
    assert suite.train_tasks == tuple(MULTI_TASK[name])
    assert suite.test_tasks == ()
    assert suite.goal_visible
    assert suite.goals_per_task == 50


@pytest.mark.parametrize("name", META)
def test_meta_suites_equal_upstreams_without_the_leak(name):
    suite = SUITES.get(name)
    train, test = tuple(META[name]["train"]), tuple(META[name]["test"])
    leak = set(train) & set(test)
    assert leak == ({"basketball-v3"} if name == "ML25" else set())
    assert suite.train_tasks == train
    assert suite.test_tasks == tuple(task for task in test if task not in leak)
    assert not set(suite.train_tasks) & set(suite.test_tasks)
    assert not suite.goal_visible


def test_the_leaky_suite_is_upstreams():
    suite = SUITES.get("ML25-leaky")
    assert suite.train_tasks == tuple(META["ML25"]["train"]) and suite.test_tasks == tuple(META["ML25"]["test"])
    assert suite.new_tasks == suite.test_tasks and not suite.goal_visible
    assert (
        SUITES.get("ML10").new_tasks == SUITES.get("ML10").test_tasks and resolve_suite("ML1:push-v3").new_tasks == ()
    )


def test_what_is_trained_on_is_not_tested_on():
    with pytest.raises(UserError, match="suite 'X' tests on 'b', which it trains on"):
        Suite("X", ("a", "b"), ("b", "c"))
    mtrl.register_suite("leaking", ["reach-v3", "push-v3"], test_tasks=["push-v3"], description="for a test")
    with pytest.raises(UserError, match="tests on 'push-v3'"):
        SUITES.get("leaking")


def test_sizes_are_what_the_names_say():
    for name in ("MT3", *MULTI_TASK, *META):
        assert len(SUITES.get(name).train_tasks) == int(name[2:])


def test_mt3_holds_reach_and_every_task_is_registered():
    assert "reach-v3" in SUITES.get("MT3").train_tasks
    for name in ("MT3", *MULTI_TASK, *META):
        suite = SUITES.get(name)
        assert all(TASKS.get(task).name == task for task in suite.train_tasks + suite.test_tasks)
        assert len(set(suite.train_tasks)) == len(suite.train_tasks)
        assert SUITES.describe(name)


def test_one_task_and_lists_of_tasks_are_suites():
    for text in ("reach-v3", "MT1:reach-v3"):
        suite = resolve_suite(text)
        assert (suite.train_tasks, suite.test_tasks, suite.goal_visible) == (("reach-v3",), (), True)
    suite = resolve_suite("ML1:push-v3")
    assert (suite.train_tasks, suite.test_tasks, suite.goal_visible) == (("push-v3",), ("push-v3",), False)
    assert resolve_suite("push-v3, reach-v3").train_tasks == ("push-v3", "reach-v3")
    assert resolve_suite("MT10") is SUITES.get("MT10")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MT11", "MT10"),
        ("reech-v3", "reach-v3"),
        ("ML1:pusch-v3", "push-v3"),
        ("reach-v3,reach-v3", "twice"),
        ("", "no suite"),
    ],
)
def test_wrong_names_get_the_nearest(text, message):
    with pytest.raises(UserError, match=message):
        resolve_suite(text)


def test_mt3_is_not_solved_by_chance():
    """Idle, random and repeated actions stay at or under 0.15; the full table is in docs/environments.md."""
    for task in SUITES.get("MT3").train_tasks:
        for policy, (success_any, _) in floors.floors(task, goals=14, goal_seed=0).items():
            assert success_any <= 0.15, (task, policy)


@pytest.mark.slow
@pytest.mark.parametrize("goal_seed", [0, 3])
def test_mt3_is_not_solved_by_chance_on_fifty_goals(goal_seed):
    for task in SUITES.get("MT3").train_tasks:
        for policy, (success_any, _) in floors.floors(task, goals=50, goal_seed=goal_seed).items():
            assert success_any <= 0.15, (task, policy)


def test_docs_name_the_tasks_of_mt3():
    page = (Path(__file__).parents[1] / "docs" / "environments.md").read_text()
    row = next(line for line in page.splitlines() if line.startswith("| `MT3`"))
    assert row.split("|")[2].strip() == ", ".join(task.removesuffix("-v3") for task in SUITES.get("MT3").train_tasks)


def test_floors_find_a_task_that_chance_solves():
    assert floors.floors("drawer-close-v3", goals=8, goal_seed=0)["repeat"][0] > 0


def test_floors_table_goes_between_its_markers():
    text = floors.table({"reach-v3": {"zero": (0, 0), "random": (0.05, 0), "repeat": (0.1, 0.1)}}, 20)
    page = floors.insert(f"before\n{floors.BEGIN}\nold\n{floors.END}\nafter\n", text)
    assert "old" not in page
    assert page.startswith("before\n")
    assert page.endswith(f"{floors.END}\nafter\n")
    assert "| reach-v3 | 0.00 (0.00) | 0.05 (0.00) | 0.10 (0.10) |" in page
