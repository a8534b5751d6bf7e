"""What runs in a worker process: the environments of some slots, stepped on command.

Imports no torch and nothing that does: a worker starts in a fraction of a second and stays small. It is started by
`mtrl.vector.pool` with a connection to the parent, whose end, however it comes, ends the worker too.
"""

import contextlib
import os
import pickle
import select
import signal
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from mtrl.goals import INACTIVE
from mtrl.plain_types import GoalRows
from mtrl.vector.shared import SharedArrays

STEP = b"step"
"""The one message that is not pickled, since it is sent so often."""
DONE = b""
"""The reply when all went well and there is nothing to say."""
GRACE_SECONDS = 5.0
"""How long an environment may go on after the parent has ended."""


@dataclass(frozen=True)
class WorkerTask:
    """A task as a worker needs it.

    Attributes:
        name: Registered name.
        make: Pickled `TaskDefinition.make`; unpickled in the worker, so that a failure there can name the task.
        obs_dim: Numbers in an observation.
        action_dim: Numbers in an action.
        goals: `[goal_index, goal]`.
    """

    name: str
    make: bytes
    obs_dim: int
    action_dim: int
    goals: GoalRows


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker is told at its start.

    Attributes:
        tasks: The tasks that its slots use, by task id.
        task_of_slot: Slot number to task id, for the slots of this worker.
        goal_visible: Passed on to the tasks.
        shape: Slots of the whole pool, and the largest observation and action.
    """

    tasks: dict[int, WorkerTask]
    task_of_slot: dict[int, int]
    goal_visible: bool
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Episode:
    """The current episode of a slot: enough to begin it and to bring it to where it is.

    Attributes:
        slot: Slot number in the pool.
        goal: Goal index.
        seed: Seed of the reset.
        actions: `[time, act]` float32, all actions since.
    """

    slot: int
    goal: int
    seed: int
    actions: np.ndarray


@dataclass(frozen=True)
class TaskFault:
    """The reply when a task raised.

    Attributes:
        task: Its name.
        doing: What it was asked for, such as `step`.
        reason: Last line of the traceback.
        trace: The whole traceback.
    """

    task: str
    doing: str
    reason: str
    trace: str


class _TaskRaisedError(Exception):
    def __init__(self, task: str, doing: str) -> None:
        self.task, self.doing = task, doing


class _raised_by:  # noqa: N801 - reads as a statement; a class because a generator costs a microsecond each time
    """Marks whatever is raised inside with the task and what it was doing."""

    def __init__(self, task: str, doing: str) -> None:
        self._task, self._doing = task, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            raise _TaskRaisedError(self._task, self._doing) from error


class _Slot:
    """One environment and its rows of the shared arrays."""

    def __init__(self, number: int, task: WorkerTask, make: Callable[[], gymnasium.Env], arrays: SharedArrays) -> None:
        self.task = task
        self._building, self._resetting = _raised_by(task.name, "make"), _raised_by(task.name, "reset")
        self._stepping, self._rendering = _raised_by(task.name, "step"), _raised_by(task.name, "render")
        with self._building:
            self.env = make()
            self._check_spaces()
        self._dtype = self.env.action_space.dtype
        self._number, self._arrays = number, arrays
        self._action = arrays.action[number, : task.action_dim]
        self._obs = arrays.obs[number, : task.obs_dim]
        self._final_obs = arrays.final_obs[number, : task.obs_dim]

    def _check_spaces(self) -> None:
        for kind, size in (("observation", self.task.obs_dim), ("action", self.task.action_dim)):
            space = getattr(self.env, f"{kind}_space")
            if space.shape != (size,):
                raise ValueError(f"its {kind} space has shape {space.shape}, its registration says ({size},)")

    def begin(self, goal: int, seed: int) -> None:
        """Starts an episode and writes its first observation."""
        with self._resetting:
            row = self.task.goals[goal].copy()
            obs, _ = self.env.reset(seed=seed, options={"goal": row})
            self._write(self._obs, obs)

    def replay(self, episode: Episode) -> None:
        """Brings the slot to where the episode is."""
        self.begin(episode.goal, episode.seed)
        with self._stepping:
            obs = None
            for step, action in enumerate(episode.actions[:, : self.task.action_dim]):
                obs, _, terminated, truncated, _ = self.env.step(action.astype(self._dtype))
                if terminated or truncated:
                    raise RuntimeError(f"the task is not deterministic: replayed, its episode ended after step {step}")
            if obs is not None:
                self._write(self._obs, obs)

    def step(self) -> None:
        """One step and, where it ends the episode, the reset to the next."""
        arrays, number = self._arrays, self._number
        with self._stepping:
            # A copy, since an environment may keep the action it was given.
            obs, reward, terminated, truncated, info = self.env.step(self._action.astype(self._dtype))
            arrays.reward[number] = reward
            arrays.terminated[number], arrays.truncated[number] = terminated, truncated
            arrays.success[number] = float(info.get("success", info.get("is_success", False))) > 0
            self._write(self._final_obs if terminated or truncated else self._obs, obs)
        if terminated or truncated:
            goal = int(arrays.next_goal[number])
            if goal == INACTIVE:
                self._obs[:] = 0
            else:
                self.begin(goal, int(arrays.next_seed[number]))

    def _write(self, target: np.ndarray, obs: np.ndarray) -> None:
        if np.shape(obs) != target.shape:
            raise ValueError(f"its observation has shape {np.shape(obs)}, its registration says {target.shape}")
        target[:] = obs

    def render(self) -> np.ndarray:
        """The environment's image."""
        with self._rendering:
            image = np.asarray(self.env.render())
            if image.ndim != 3 or image.shape[2] != 3:
                raise ValueError("it gave no RGB image: build it with render_mode 'rgb_array'")
            return image.astype(np.uint8)


class Worker:
    """The slots of one worker process and the commands on them."""

    def __init__(self, setup: WorkerSetup, descriptor: int) -> None:
        arrays = SharedArrays(*setup.shape, descriptor)
        self._goal = arrays.goal
        makers: dict[int, Callable[[bool], gymnasium.Env]] = {}
        for number, task in setup.tasks.items():
            with _raised_by(task.name, "unpickling"):
                makers[number] = pickle.loads(task.make)
        self._slots: dict[int, _Slot] = {}
        for slot, number in setup.task_of_slot.items():
            task, make = setup.tasks[number], makers[number]
            self._slots[slot] = _Slot(slot, task, lambda make=make: make(setup.goal_visible), arrays)

    def step(self) -> None:
        """Steps every active slot."""
        for number, slot in self._slots.items():
            if self._goal[number] != INACTIVE:
                slot.step()

    def restore(self, episodes: list[Episode]) -> None:
        """Brings slots to where the episodes are; without actions that is a reset."""
        for episode in episodes:
            self._slots[episode.slot].replay(episode)

    def render(self, number: int) -> np.ndarray:
        """An image of one slot."""
        return self._slots[number].render()

    def close(self) -> None:
        """Closes all environments; what they raise now helps nobody."""
        for slot in self._slots.values():
            with contextlib.suppress(Exception):
                slot.env.close()


def _end_with_parent(descriptor: int) -> None:
    """Ends this process, some seconds after the parent has ended, even when an environment hangs."""

    def watch() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)
        poll.poll()
        time.sleep(GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _answer(handle: Callable[[], Any]) -> bytes:
    """Runs a command; the reply to send."""
    try:
        result = handle()
    except _TaskRaisedError as error:
        cause = error.__cause__
        lines = traceback.format_exception(cause)
        reason = traceback.format_exception_only(cause)[-1].strip().splitlines()[0]
        return pickle.dumps(TaskFault(error.task, error.doing, reason, "".join(lines)))
    return DONE if result is None else pickle.dumps(result)


def serve(connection: Connection, descriptor: int) -> None:
    """The life of a worker: builds its environments, then answers commands until the parent closes the connection.

    Args:
        connection: To the parent; every message is answered once.
        descriptor: File of the shared arrays.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    _end_with_parent(connection.fileno())
    workers: list[Worker] = []
    try:
        setup = pickle.loads(connection.recv_bytes())
        connection.send_bytes(_answer(lambda: workers.append(Worker(setup, descriptor))))
        while True:
            message = connection.recv_bytes()
            if message == STEP:
                connection.send_bytes(_answer(workers[0].step))
            else:
                command, argument = pickle.loads(message)
                handler = getattr(workers[0], command)
                connection.send_bytes(_answer(lambda handler=handler, argument=argument: handler(argument)))
    except (EOFError, ConnectionError):
        for worker in workers:
            worker.close()
    # Without the interpreter's own clean-up: libraries for graphics like to complain there.
    os._exit(0)
