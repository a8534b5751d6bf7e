"""Progress of a run: a bar on a terminal, otherwise one plain line an interval."""

import os
import sys
import time
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from mtrl.evaluation import EvaluationResult, format_steps
from mtrl.logger.console import say


class Progress:
    """Shows how far a run is and how it does.

    Args:
        title: Suite, agent and seed.
        target: Environment steps of each task to reach.
        reached: Those that are done already.
    """

    def __init__(self, title: str, target: int, reached: int) -> None:
        self._title, self._target, self._reached = title, target, reached
        self._bar: tqdm[None] | None = None
        if target > reached and sys.stderr.isatty():
            # Some terminals claim to have no room at all, and tqdm would believe them and show nothing.
            unknown = 0 in os.get_terminal_size(sys.stderr.fileno())
            size: dict[str, Any] = {"ncols": 120, "nrows": 24} if unknown else {"dynamic_ncols": True}
            self._bar = tqdm(total=target, initial=reached, desc=title, unit="step/task", unit_scale=True, **size)

    def step(self, reached: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(reached - self._reached)
        self._reached = reached

    def report(self, record: dict[str, float], steps_per_second: float) -> None:
        """Shows a line of metrics; `steps_per_second` counts each task's steps and gives the time that is left."""
        success, outcome = record["train/success"], record["train/return"]
        speed = f"{record['speed/env_steps_per_s']:.0f} steps/s, {record['speed/updates_per_s']:.0f} updates/s"
        result = f"success {_number(success, '.2f')}, return {_number(outcome, '.0f')}"
        if self._bar is not None:
            self._bar.set_postfix_str(f"{speed}, {result}")
            return
        left = (self._target - self._reached) / steps_per_second if steps_per_second > 0 else float("nan")
        eta = str(timedelta(seconds=round(left))) if left == left else "?"
        steps = f"{format_steps(self._reached)}/{format_steps(self._target)} steps/task"
        say(f"{time.strftime('%H:%M:%S')} {self._title}: {steps}, {speed}, ETA {eta}, {result}")

    def close(self) -> None:
        """Leaves the bar as it is."""
        if self._bar is not None:
            self._bar.close()


def describe_evaluation(result: EvaluationResult, steps_per_task: int) -> str:
    """An evaluation in one line."""
    return (
        f"{result.label(steps_per_task)}: success {result.success_any:.3f} (at the end {result.success_end:.3f}), "
        f"return {result.mean_return:.1f}, {len(result.episodes)} episodes"
    )


def _number(value: float, form: str) -> str:
    return "?" if value != value else format(value, form)
