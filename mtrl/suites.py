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
        test_tasks: Held-out tasks of a meta suite, none of them among the training tasks unless it has one task alone
            (an ML1: same task, other goals) or leaks; empty in a multi-task suite.
        goal_visible: Whether observations hold the goal (multi-task) or zeros in its place (meta).
        goals_per_task: Goals in the training set and, again, in the held-out set.
        protocol: Letter of the evaluation protocol, see docs/evaluation.md.
        leaks: Some test tasks are trained on, since the published suite is like that; they are tested on, too.

    Raises:
        UserError: A test task is trained on, and the suite neither is an ML1 nor leaks.
    """

    name: str
    train_tasks: tuple[str, ...]
    test_tasks: tuple[str, ...] = ()
    goal_visible: bool = True
    goals_per_task: int = 50
    protocol: str = "A"
    leaks: bool = False

    def __post_init__(self) -> None:
        seen = [task for task in self.test_tasks if task in self.train_tasks]
        if seen and not self.leaks and self.test_tasks != self.train_tasks:
            raise UserError(
                f"suite '{self.name}' tests on '{seen[0]}', which it trains on: leave it out of one of the two"
            )

    @property
    def new_tasks(self) -> tuple[str, ...]:
        """Test tasks beside the held-out goals of the training tasks; an ML1 has none."""
        return self.test_tasks if self.leaks else tuple(t for t in self.test_tasks if t not in self.train_tasks)


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
