"""Contract checks of tasks and suites (`mtrl check my_tasks:point`), each failure explained with its remedy."""

from contextlib import closing
from dataclasses import replace

from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.suites import SUITES, Suite, resolve_suite
from mtrl.task_checks import CHECKS, GOALS, LONGEST, NEEDED, NOTHING_HIDDEN, SEED, Finding, reason_of
from mtrl.tasks import TASKS, TaskDefinition
from mtrl.vector.build import make_vector_env
from mtrl.vector.checker import check_vector_env


def check_task(name: str) -> list[Finding]:
    """Checks a registered task against the contract of `TaskDefinition`.

    Args:
        name: Task, or `MODULE:NAME`.

    Raises:
        UserError: No task of that name is registered.
    """
    if name not in TASKS:
        TASKS.get(name)  # raises, with the nearest names
    try:
        definition = TASKS.get(name)
        env = definition.make(True)
    except Exception as error:  # noqa: BLE001 - a task may fail in any way, and that is to be told, not raised
        return [Finding("failed", "build", reason_of(error))]
    sizes = f"{definition.obs_dim} observation and {definition.action_dim} action numbers"
    findings = [Finding("passed", "build", sizes)]
    with closing(env):
        for title, check in CHECKS.items():
            try:
                found = list(check(definition, env))
            except Exception as error:  # noqa: BLE001 - as above
                found = [Finding("failed", title, reason_of(error))]
            findings += found
            if title in NEEDED and _any_failed(found):
                break
    return findings if _any_failed(findings) else findings + _vector([definition], goal_visible=True)


def check_suite(name: str) -> list[Finding]:
    """Checks all tasks of a suite, and that they can be stepped together.

    Args:
        name: Suite, task names joined by commas, or `MODULE:NAME`.

    Raises:
        UserError: Nothing of that name is registered.
    """
    suite = resolve_suite(name)
    findings: list[Finding] = []
    for task in dict.fromkeys((*suite.train_tasks, *suite.test_tasks)):
        found = [_leak(one) if not suite.goal_visible else one for one in check_task(task)]
        findings += [
            Finding(one.level, f"{task}, {one.check}", one.message) for one in found if one.level != "passed"
        ] or [Finding("passed", task, f"all {len(found)} checks")]
    if _any_failed(findings):
        return findings
    definitions = [TASKS.get(task) for task in suite.train_tasks]
    return findings + _suite_goals(suite, definitions) + _vector(definitions, suite.goal_visible)


def run(name: str) -> int:
    """Checks a task or a suite and prints what was found.

    Args:
        name: Task, suite, task names joined by commas, or `MODULE:NAME`.

    Returns:
        Exit code: 1 if a check failed.

    Raises:
        UserError: Nothing of that name is registered.
    """
    single = "," not in name and not name.startswith(("MT1:", "ML1:")) and name in TASKS and name not in SUITES
    findings = check_task(name) if single else check_suite(name)
    marks = {"passed": "ok     ", "warning": "warning", "failed": "FAILED "}
    for finding in findings:
        print(f"{marks[finding.level]}  {finding.check}: {finding.message}")
    counts = {level: sum(finding.level == level for finding in findings) for level in marks}
    print(f"\n{name}: {counts['passed']} passed, {counts['warning']} warned, {counts['failed']} failed")
    return 1 if counts["failed"] else 0


def _leak(finding: Finding) -> Finding:
    """The finding as it counts in a suite that hides goals."""
    return replace(finding, level="warning") if finding.message == NOTHING_HIDDEN else finding


def _any_failed(findings: list[Finding]) -> bool:
    return any(finding.level == "failed" for finding in findings)


def _suite_goals(suite: Suite, definitions: list[TaskDefinition]) -> list[Finding]:
    try:
        make_goal_sets(definitions, suite.goals_per_task, SEED)
    except UserError as error:
        return [Finding("failed", "goals of the suite", str(error))]
    return [Finding("passed", "goals of the suite", f"{suite.goals_per_task} a task to train on, and as many held out")]


def _vector(definitions: list[TaskDefinition], goal_visible: bool) -> list[Finding]:
    """The contract of vector environments, with two slots a task."""
    names = [definition.name for definition in definitions]
    if max(definition.horizon for definition in definitions) > LONGEST:
        return [Finding("warning", "vector", f"not checked: a horizon is above {LONGEST} steps")]
    goals = make_goal_sets(definitions, GOALS // 2, SEED)[0]
    try:
        env = make_vector_env(names, goal_set=goals, slots_per_task=2, workers=1, goal_visible=goal_visible)
    except UserError as error:
        return [Finding("failed", "vector", str(error))]
    try:
        with closing(env):
            faults = check_vector_env(env)
    except UserError as error:
        faults = [str(error)]
    if faults:
        return [Finding("failed", "vector", fault) for fault in faults]
    sizes = f"{env.single_observation_space.shape[0]} and {env.single_action_space.shape[0]}"  # type: ignore[index]
    return [Finding("passed", "vector", f"{env.num_envs} slots stepped together, padded to {sizes} numbers")]
