"""Ctrl-C and SIGTERM: finish the step, save, stop."""

import signal
import threading
from types import FrameType
from typing import Any

from mtrl.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Within this context, a first signal is remembered and a second one ends the process as usual."""

    def __init__(self) -> None:
        self.made = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread handle signals
            self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def check(self) -> None:
        """Raises where a signal has come.

        Raises:
            Interrupted: One has.
        """
        if self.made:
            raise Interrupted("stopped by a signal")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.made = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._handle:  # or else somebody has taken it over
                signal.signal(number, handler)
        self._before = {}
