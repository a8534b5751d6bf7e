"""`mtrl check`: sound tasks pass, and each fault is found and explained."""

import dataclasses
import itertools
import re

import pytest
import user_envs
from toy_envs import toy_task

import mtrl
from mtrl.check import check_suite, check_task, run
from mtrl.errors import UserError
from mtrl.tasks import TASKS

_numbers = itertools.count()


def register(env, **options) -> str:
    name = f"checked-{next(_numbers)}"
    given = {"description": "for a test", "horizon": 12, "goals": ([-1], [1])}
    mtrl.register_task(name, env, **{**given, **options})
    return name


def levels(findings) -> dict[str, str]:
    return {finding.check: finding.level for finding in findings if finding.level != "passed"}


@pytest.mark.parametrize(
    ("env", "options"),
    [
        (user_envs.Simple, {}),
        (user_envs.Simple, {"goals": "seed"}),
        (user_envs.GoalDict, {"goals": ([-1, -1], [1, 1])}),
        ("Pendulum-v1", {"horizon": None, "goals": "seed", "success": user_envs.solved_by_reward}),
    ],
)
def test_a_sound_task_passes(env, options):
    findings = check_task(register(env, **options))
    assert levels(findings) in ({"images": "warning"}, {})
    assert [finding.check for finding in findings][-1] == "vector"


@pytest.mark.parametrize(
    ("env", "options", "check", "level", "words"),
    [
        (user_envs.Discrete, {}, "build", "failed", "ActionWrapper"),
        (user_envs.Forgetful, {}, "reset", "failed", "self.np_random"),
        (user_envs.Leftover, {}, "reset", "failed", "two episodes, one after the other"),
        (user_envs.NotANumber, {}, "numbers", "failed", "rewards are not finite"),
        (user_envs.Short, {}, "horizon", "failed", "truncated after 4 steps, its horizon is 12"),
        (user_envs.Mute, {}, "success", "failed", r"info\['success'\]"),
        (user_envs.Moody, {}, "gymnasium", "failed", "TypeError"),
        (user_envs.Crashing, {}, "episodes", "failed", r"ZeroDivisionError: .* \(user_envs.py, line \d+\)"),
        (user_envs.Deaf, {}, "actions", "warning", "does step use its action"),
        (user_envs.Deaf, {}, "variation", "warning", "all goals give the same episode"),
        (user_envs.Secretive, {}, "variation", "warning", "an agent cannot see what it is to do"),
        (user_envs.EndsWhenSolved, {}, "termination", "warning", "episodes end where the task is solved"),
        (user_envs.EndsWhenSolved, {}, "success", "warning", "random actions solve it every time"),
        (user_envs.Simple, {"goals": user_envs.three_goals}, "goals", "failed", "gave shape"),
        (user_envs.Simple, {"goals": lambda count, seed: [[0.0]] * count}, "goals", "failed", "1 of 16 are distinct"),
        (user_envs.Simple, {"goals": lambda n, seed: [[i] for i in range(n)]}, "goals", "warning", "another goal seed"),
        (user_envs.Simple, {"goal_part": (1, 3)}, "hidden goal", "failed", "outside 0 to 2"),
        (user_envs.Holder(), {}, "pickling", "failed", "inside the environment"),
        (user_envs.Simple, {"horizon": 5000}, "horizon", "warning", "more than the 2000"),
    ],
)
def test_each_fault_is_found_and_explained(env, options, check, level, words):
    findings = check_task(register(env, **options))
    found = [finding for finding in findings if finding.check == check and finding.level == level]
    assert found and re.search(words, found[0].message), findings
    assert all("\n" not in finding.message for finding in findings)


def test_a_definition_that_contradicts_its_environment_is_found():
    for field, value, check in (("obs_dim", 9, "spaces"), ("action_dim", 9, "spaces"), ("horizon", 6, "horizon")):
        task = dataclasses.replace(toy_task(f"contradicting-{field}"), **{field: value})
        TASKS.register(task.name, task, "for a test")
        assert levels(check_task(task.name))[check] == "failed"


def test_a_suite_is_checked_task_by_task_and_together(capsys):
    sound = [register(user_envs.Simple), register(user_envs.GoalDict, goals=([-1, -1], [1, 1]))]
    mtrl.register_suite("checked-suite", sound, description="for a test", goals_per_task=5)
    findings = check_suite("checked-suite")
    assert findings[-1].check == "vector" and "padded to 7 and 1" in findings[-1].message
    assert not any(finding.level == "failed" for finding in findings)
    assert run("checked-suite") == 0
    broken = register(user_envs.Forgetful)
    assert run(f"{sound[0]},{broken}") == 1
    printed = capsys.readouterr().out
    assert f"FAILED   {broken}, gymnasium:" in printed and "2 failed" in printed


def test_too_few_goals_for_a_suite_are_found():
    name = register(user_envs.Simple, goals=lambda count, seed: [[i % 20 + seed] for i in range(count)])
    mtrl.register_suite("thirsty-suite", [name], description="for a test", goals_per_task=50)
    found = {finding.check: finding for finding in check_suite("thirsty-suite")}
    assert "fewer than 100 distinct goals" in found["goals of the suite"].message


def test_run_says_what_it_found(capsys):
    assert run(register(user_envs.Simple)) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("14 passed, 1 warned, 0 failed")
    assert run(f"ML1:{register(user_envs.Simple, goal_part=(1, 2))}") == 0
    assert "2 slots stepped together" in capsys.readouterr().out
    assert run(register(user_envs.Mute)) == 1
    assert "FAILED   success: no step says" in capsys.readouterr().out
    with pytest.raises(UserError, match="unknown"):
        run("checked-nothing")


def test_goals_that_a_suite_should_hide_and_does_not_are_found():
    shown, hidden = register(user_envs.Simple), register(user_envs.Simple, goal_part=(1, 2))
    for visible, warned in ((True, set()), (False, {f"{shown}, hidden goal"})):
        name = f"suite-of-{shown}-{visible}"
        mtrl.register_suite(name, [shown, hidden], description="for a test", goal_visible=visible, goals_per_task=4)
        found = levels(check_suite(name))
        assert {check for check in found if "hidden" in check} == warned
    assert "goal_part=" in {finding.check: finding.message for finding in check_task(shown)}["hidden goal"]
    blanked = {finding.check: finding.message for finding in check_task(hidden)}["hidden goal"]
    assert "1 observation numbers are blanked" in blanked
