"""Suites: named lists of tasks with a protocol, as plain data."""

import difflib
from dataclasses import dataclass

from mtrl.errors import UserError
from mtrl.registry import Registry
from mtrl.tasks import TASKS


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
        name: Name as on the command line, such as `MT10`.
        train_tasks: Names of the tasks that are trained on; their order gives the task ids.
        test_tasks: Held-out tasks of a meta suite, none of them among the training tasks unless it is an ML1 (same
            task, other goals); empty in a multi-task suite.
        goal_visible: Whether observations hold the goal (multi-task) or zeros in its place (meta).
        goals_per_task: Goals in the training set and, again, in the held-out set.
        protocol: Letter of the evaluation protocol, see docs/evaluation.md.
    """

    name: str
    train_tasks: tuple[str, ...]
    test_tasks: tuple[str, ...] = ()
    goal_visible: bool = True
    goals_per_task: int = 50
    protocol: str = "A"


SUITES: Registry[Suite] = Registry("suite")


def resolve_suite(text: str) -> Suite:
    """The suite that a command line argument means.

    Args:
        text: A suite (`MT10`), one task (`reach-v3`, an MT1; `ML1:reach-v3`, an ML1), or tasks joined by commas. What a
            module of the user's registers is `MODULE:NAME`; the suite that is returned has the names alone.

    Raises:
        UserError: Nothing of that name is registered, or a task is listed twice.
    """
    if text.startswith(("ML1:", "MT1:")):
        task = TASKS.get(text[4:]).name
        meta = text.startswith("ML1:")
        return Suite(text[:4] + task, (task,), (task,) if meta else (), goal_visible=not meta)
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if len(names) == 1 and names[0] in SUITES:
        return SUITES.get(names[0])
    if len(names) == 1 and names[0] not in TASKS:
        raise _unknown_name(names[0])
    if not names:
        raise UserError("no suite given: name one, such as MT3, or tasks joined by commas (`mtrl list suites`)")
    names = tuple(TASKS.get(name).name for name in names)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise UserError(f"task '{repeated[0]}' is listed twice: each task once; use --slots-per-task for more slots")
    return Suite(f"MT1:{names[0]}" if len(names) == 1 else ",".join(names), names)


def _unknown_name(name: str) -> UserError:
    """The error for what is neither a suite nor a task; it speaks of the kind that has the nearest name."""
    short = name.rpartition(":")[2].lower()
    known = {entry.lower(): registry for registry in (TASKS, SUITES) for entry in registry}
    close = difflib.get_close_matches(short, known, n=1, cutoff=0.5)
    try:
        (known[close[0]] if close else SUITES).get(name)
    except UserError as error:
        return error
    raise AssertionError("unreachable")
