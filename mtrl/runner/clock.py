"""Where the time of a run goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Spent:
    """Seconds of a run over all its sessions, what was lost with a kill left out.

    Attributes:
        setup_s: Until training could begin: goals and their states, compiling, loading a checkpoint.
        wall_s: Of training.
        cpu_s: That the process's threads worked in training.
        evaluation_s: Of evaluations.
    """

    setup_s: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    evaluation_s: float = 0.0

    def rounded(self) -> dict[str, float]:
        """By name, for records."""
        return {name: round(seconds, 3) for name, seconds in vars(self).items()}


class Clock:
    """Counts the seconds of one thing at a time; begins with setting up.

    Args:
        began: When that began, by `time.perf_counter`.
    """

    def __init__(self, began: float) -> None:
        self._spent, self._part = Spent(), "setup_s"
        self._mark, self._work = began, time.process_time()

    def read(self) -> Spent:
        """As it is now."""
        gone = {self._part: getattr(self._spent, self._part) + time.perf_counter() - self._mark}
        if self._part == "wall_s":
            gone["cpu_s"] = self._spent.cpu_s + time.process_time() - self._work
        return replace(self._spent, **gone)

    def add(self, earlier: Any) -> None:
        """Takes in what earlier sessions spent, as `vars` of a `Spent`."""
        now = vars(self._spent)
        self._spent = Spent(**{name: now[name] + float(seconds) for name, seconds in earlier.items()})

    def begin(self, part: str) -> None:
        """From now on time goes to `wall_s` or `evaluation_s`."""
        self._spent = self.read()
        self._part, self._mark, self._work = part, time.perf_counter(), time.process_time()

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Time within goes to evaluations."""
        before = self._part
        self.begin("evaluation_s")
        try:
            yield
        finally:
            self.begin(before)
