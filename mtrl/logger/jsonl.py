"""The jsonl files of a run folder: the truth about a run, one JSON object a line."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mtrl.errors import UserError
from mtrl.logger.console import warn
from mtrl.run_folder import to_json


class JsonlFile:
    """An append-only file that outlives a full disk: lines that cannot be written now are written with the next.

    Args:
        path: The file; it is made if it is not there.
        length: Cut it to so many bytes first, which is what it had at the checkpoint that the run goes on from.

    Raises:
        UserError: The file cannot be opened.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
            present = os.fstat(self._descriptor).st_size
            if present < length:
                warn(f"{path} has lost its last {length - present} bytes since the checkpoint; going on without them")
            self._length = min(present, length)
            os.ftruncate(self._descriptor, self._length)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}") from error
        self._waiting: list[bytes] = []
        self._warned = False

    def append(self, record: dict[str, Any]) -> None:
        """Adds one line; it is in the file (if not yet on the disk) when this returns, unless writing failed."""
        self._waiting.append(to_json(record) + b"\n")
        self._flush()

    def sync(self) -> int:
        """Waits until all lines are on the disk; returns the length in bytes."""
        self._flush()
        with suppress(OSError):
            os.fsync(self._descriptor)
        return self._length

    @property
    def waiting(self) -> bool:
        """Whether some lines could not be written yet."""
        return bool(self._waiting)

    def close(self) -> None:
        """Ends writing."""
        self.sync()
        os.close(self._descriptor)

    def _flush(self) -> None:
        data = b"".join(self._waiting)
        try:
            written = 0
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self._length + written)
        except OSError as error:
            with suppress(OSError):  # so that no reader meets half a line
                os.ftruncate(self._descriptor, self._length)
            if not self._warned:
                warn(f"cannot write {self.path} ({error.strerror}): its lines are kept and tried again with the next")
            self._warned = True
            return
        self._length += len(data)
        self._waiting.clear()
