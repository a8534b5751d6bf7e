"""The contract of trackers, their registry, and the group that keeps a failing one from harming a run."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtrl.config import TrackingConfig
from mtrl.logger.console import warn
from mtrl.registry import Registry


@dataclass(frozen=True)
class RunInfo:
    """What a tracker may know of the run when it starts.

    Attributes:
        folder: The run folder.
        name: Short name, such as `MT3 quick seed 0`.
        group: Runs that belong together: suite and agent.
        document: The content of `config.json`.
        tracking: What the user configured.
        env_step: Where the run goes on from; 0 for a new one.
    """

    folder: Path
    name: str
    group: str
    document: dict[str, Any]
    tracking: TrackingConfig
    env_step: int


class Tracker(abc.ABC):
    """Follows one run. Only `log` must be written; whatever it raises switches the tracker off and nothing else."""

    @abc.abstractmethod
    def log(self, env_step: int, metrics: dict[str, float]) -> None:
        """Takes in numbers by name, at so many environment steps over all tasks."""

    def log_video(self, env_step: int, task: str, path: Path) -> None:  # noqa: B027 - optional
        """Takes in the film of an episode, an mp4 file."""

    def close(self, exit_code: int) -> None:  # noqa: B027 - optional
        """The run ends here: 0 as planned, 130 by Ctrl-C (it can be resumed), 1 by an error."""


TRACKERS: Registry[Callable[[RunInfo], Tracker]] = Registry("tracker")
"""Trackers by name; each entry starts one for a run."""


class Trackers:
    """All trackers of a run. One that fails gets a single warning and is left out from then on.

    Args:
        starts: Name and start of each.
        info: The run.
    """

    def __init__(self, starts: Sequence[tuple[str, Callable[[RunInfo], Tracker]]], info: RunInfo) -> None:
        self._trackers: dict[str, Tracker] = {}
        for name, start in starts:
            self._guarded(name, lambda name=name, start=start: self._trackers.update({name: start(info)}))

    def log(self, env_step: int, metrics: dict[str, Any]) -> None:
        """Hands on all entries that are numbers."""
        numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        self._each(lambda tracker: tracker.log(env_step, numbers))

    def log_video(self, env_step: int, task: str, path: Path) -> None:
        """Hands on the film of an episode."""
        self._each(lambda tracker: tracker.log_video(env_step, task, path))

    def close(self, exit_code: int) -> None:
        """Closes all."""
        self._each(lambda tracker: tracker.close(exit_code))

    def _each(self, use: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, lambda tracker=tracker: use(tracker))

    def _guarded(self, name: str, use: Callable[[], None]) -> None:
        try:
            use()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - no fault of a tracker may stop training
            self._trackers.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            warn(f"tracker '{name}' failed and is off from here on ({reason}); the run folder's jsonl files go on")
