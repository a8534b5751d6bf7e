"""The parent's side of worker processes: starting them, talking to them, and what to do when one dies."""

import contextlib
import logging
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, Protocol, runtime_checkable

from mtrl.errors import UserError, WorkerDied
from mtrl.vector.shared import SharedArrays
from mtrl.vector.worker import DONE, TaskFault, WorkerSetup

logger = logging.getLogger("mtrl")

MAX_RESTARTS = 3
"""How often one worker is started again before the pool gives up."""
CLOSE_SECONDS = 2.0
"""How long a worker may take to close its environments."""
ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}
# A fresh interpreter rather than multiprocessing's spawn, which would run the caller's main module in each worker.
BOOTSTRAP = """
import pickle, sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
sys.path[:] = pickle.loads(connection.recv_bytes())
from mtrl.vector.worker import serve
serve(connection, int(sys.argv[2]))
"""


@runtime_checkable
class Restorer(Protocol):
    """Knows where the slots are in their episodes."""

    def message(self, slots: Sequence[int]) -> bytes:
        """What to send to a worker so that it brings these slots there."""
        ...

    def verify(self, slots: Sequence[int]) -> None:
        """Raises a UserError if the slots came out elsewhere."""
        ...


class RemoteTracebackError(Exception):
    """Shows a worker's traceback as the cause of the error in the parent."""

    def __init__(self, trace: str) -> None:
        super().__init__(f"in a worker process:\n{trace}")


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Lets Ctrl-C wait for the end of a few lines: after half a message, sent or read, nothing could go on.

    Python runs handlers of signals in the main thread alone, so nothing has to wait in others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[FrameType | None] = []
    handler = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda _, frame: pressed.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler if handler is not None else signal.SIG_DFL)
        if pressed:
            signal.raise_signal(signal.SIGINT)


class WorkerHandle:
    """One worker process.

    Attributes:
        number: Place in the pool.
        slots: The slots it holds.
        tasks: Names of their tasks.
        restarts: How often it was started again.
        awaiting: Whether a reply is due.
    """

    def __init__(self, number: int, setup: WorkerSetup, arrays: SharedArrays) -> None:
        self.number = number
        self.slots = list(setup.task_of_slot)
        self.tasks = [task.name for task in setup.tasks.values()]
        self.restarts = 0
        self.awaiting = False
        self._setup = pickle.dumps(setup)
        self._descriptor = arrays.descriptor
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._readable = select.poll()

    def start(self) -> None:
        """Starts the process and sends the setup; its reply comes when all environments are built."""
        ours, theirs = socket.socketpair()
        with theirs:
            inherited = (theirs.fileno(), self._descriptor)
            self._process = subprocess.Popen(
                [sys.executable, "-c", BOOTSTRAP, *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                env={**os.environ, **ONE_THREAD},
                process_group=0,  # A terminal's Ctrl-C must not reach it, not even while it starts.
            )
        self._connection = Connection(ours.detach())
        self._readable = select.poll()
        self._readable.register(self._connection, select.POLLIN)
        self.send(pickle.dumps([os.path.abspath(place) for place in sys.path]))
        self.send(self._setup)

    def send(self, message: bytes) -> None:
        """Sends a message; that a worker has died shows when its reply is due."""
        with whole():
            self.awaiting = True
            with contextlib.suppress(ConnectionError):
                self._live().send_bytes(message)

    def receive(self) -> bytes:
        """Waits for the reply.

        Raises:
            EOFError: The worker has died.
        """
        try:
            self._live()
            self._readable.poll()
            with whole():
                self.awaiting = False
                return self._live().recv_bytes()
        except (ConnectionError, EOFError) as error:
            self.awaiting = False
            raise EOFError from error

    def _live(self) -> Connection:
        if self._connection is None:
            raise EOFError
        return self._connection

    def disconnect(self) -> None:
        """Closes the connection, which asks the process to end."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def end(self) -> str:
        """Waits for the process to end, kills it if it does not, and says how it ended."""
        self.disconnect()
        if self._process is None:
            return "never started"
        try:
            code = self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def __str__(self) -> str:
        shown = ", ".join(self.tasks[:5])
        more = f" and {len(self.tasks) - 5} more" if len(self.tasks) > 5 else ""
        return f"worker {self.number} (task{'s' if len(self.tasks) > 1 else ''} {shown}{more})"


class WorkerPool:
    """All workers of a vector environment.

    Attributes:
        workers: The workers; their slots follow each other.
    """

    def __init__(self, setups: Sequence[WorkerSetup], arrays: SharedArrays) -> None:
        """Starts the workers side by side and waits until all have built their environments."""
        self._arrays = arrays
        self._closed = False
        self.workers = [WorkerHandle(number, setup, arrays) for number, setup in enumerate(setups)]
        try:
            for worker in self.workers:
                worker.start()
            self._gather(self.workers, None, None)
        except BaseException:
            self.close()
            raise

    def begin(self, messages: Sequence[bytes]) -> None:
        """Sends one message to each worker."""
        self.drain()
        for worker, message in zip(self.workers, messages, strict=True):
            worker.send(message)

    def finish(self, messages: Sequence[bytes], restorer: Restorer | None) -> None:
        """Waits for the replies to `begin` with the same messages.

        Args:
            messages: What was sent, to send again where a worker had to be started again.
            restorer: Brings a new worker to where the old one was; None where the message itself does so.

        Raises:
            UserError: A task raised.
            WorkerDied: A worker died too often.
        """
        self._gather(self.workers, messages, restorer)

    def ask(self, worker: WorkerHandle, message: bytes, restorer: Restorer) -> Any:
        """Sends a message to one worker and waits for what it answers; raises as `finish`."""
        self.drain()
        worker.send(message)
        (reply,) = self._gather([worker], [message], restorer)
        return pickle.loads(reply)

    def drain(self) -> None:
        """Drops replies that nobody waited for, as after an interrupt."""
        for worker in self.workers:
            if worker.awaiting:
                with contextlib.suppress(EOFError):
                    worker.receive()

    def _gather(
        self,
        workers: Sequence[WorkerHandle],
        messages: Sequence[bytes] | None,
        restorer: Restorer | None,
    ) -> list[bytes]:
        replies = []
        for place, worker in enumerate(workers):
            message = None if messages is None else messages[place]
            try:
                replies.append(worker.receive())
            except EOFError:
                replies.append(self._recover(worker, message, restorer))
        for reply in replies:
            if reply != DONE:
                _raise_fault(reply)
        return replies

    def _recover(self, worker: WorkerHandle, message: bytes | None, restorer: Restorer | None) -> bytes:
        """Starts a dead worker again, as often as allowed, and repeats the message; its reply."""
        while True:
            how = worker.end()
            if worker.restarts == MAX_RESTARTS:
                self.close()
                raise WorkerDied(
                    f"{worker} died with {how}, {MAX_RESTARTS + 1} times in all: look at its tasks or, if memory "
                    "ran out, use fewer workers or slots"
                )
            worker.restarts += 1
            logger.warning("%s died with %s: started again (%d of %d)", worker, how, worker.restarts, MAX_RESTARTS)
            with contextlib.suppress(EOFError):
                worker.start()
                reply = worker.receive()
                if reply == DONE and message is not None and restorer is not None:
                    worker.send(restorer.message(worker.slots))
                    reply = worker.receive()
                    if reply == DONE:
                        restorer.verify(worker.slots)
                if reply == DONE and message is not None:
                    worker.send(message)
                    reply = worker.receive()
                return reply

    def close(self) -> None:
        """Ends all workers and gives the shared memory back."""
        if self._closed:
            return
        self._closed = True
        for worker in self.workers:
            worker.disconnect()
        for worker in self.workers:
            worker.end()
        self._arrays.close()


def _raise_fault(reply: bytes) -> None:
    """Raises the error that a reply holds, if it holds one."""
    fault = pickle.loads(reply)
    if isinstance(fault, TaskFault):
        message = f"task '{fault.task}' failed in {fault.doing}: {fault.reason}"
        raise UserError(message) from RemoteTracebackError(fault.trace)
