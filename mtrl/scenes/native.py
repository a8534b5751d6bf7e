# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""The native engine: worlds on the CPU, one `mujoco.batch.Batch` a scene, stepped by its own threads."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import mujoco
import mujoco.batch
import numpy as np
import torch

from mtrl.scenes.columns import Columns
from mtrl.scenes.reading import copies
from mtrl.scenes.scene import Scene, stripped_model
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import Layout, SceneTask
from mtrl.types import State

BOUND = 1e4
"""A view beyond this, m, means that the physics has failed: nothing on a table gets there."""
_FORWARD = int(mujoco.mjtStage.mjSTAGE_ACC.value)
"""Everything is computed anew after the last physics step. Upstream does so as well, and thereby overwrites the warm
start of the next step; a shallower stage would be faster and lead elsewhere."""

Copies = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Share:
    """The worlds of one task: rows of a batch, and worlds of the environment."""

    number: int
    task: SceneTask
    first_row: int
    first_world: int
    count: int

    @property
    def rows(self) -> slice:
        """Rows of the batch."""
        return slice(self.first_row, self.first_row + self.count)

    @property
    def worlds(self) -> slice:
        """Worlds of the environment."""
        return slice(self.first_world, self.first_world + self.count)


class Group:
    """All worlds of one scene.

    Args:
        scene: The scene.
        shares: Whose worlds they are, in the order of the rows.
        threads: Threads that step them.
    """

    def __init__(self, scene: Scene, shares: Sequence[Share], threads: int) -> None:
        self.scene, self.shares = scene, tuple(shares)
        self.frame_skip = shares[0].task.frame_skip
        self.count = sum(share.count for share in shares)
        self.batch = mujoco.batch.Batch(stripped_model(scene), self.count, min(threads, self.count))
        self.body_pos: np.ndarray = self.batch.expand("body_pos")
        self._active: np.ndarray | None = None

    def flat(self, field: str, share: Share) -> np.ndarray:
        """A share's rows of one of MuJoCo's arrays, `[row, n]`, live."""
        rows = self.batch.bind(field)[share.rows]
        return rows.reshape(share.count, -1)

    def step(self) -> np.ndarray | None:
        """One step of the tasks; returns the rows in which MuJoCo raised an error, if any: they stay as they were."""
        try:
            self.batch.step(self._active, self.frame_skip, _FORWARD)
        except mujoco.batch.SimulationError as error:
            return error.ids
        return None

    def keep_active(self, active: np.ndarray) -> None:
        """Steps these rows alone from now on, `[row]` bool."""
        self._active = None if active.all() else np.flatnonzero(active).astype(np.int32)


class NativeEngine:
    """Steps worlds and keeps the views of their rules up to date.

    Args:
        layout: The worlds, of tasks with equal rules.
        threads: Threads of the physics.
    """

    def __init__(self, layout: Layout, threads: int) -> None:
        self.layout = layout
        rules = layout.tasks[0].rules
        self._table = np.zeros((layout.worlds, sum(rules.views.values())))
        self.views = Columns(torch.from_numpy(self._table), rules.views)
        self.groups = _group(layout, threads)
        self._where = {share.number: (group, share) for group in self.groups for share in group.shares}
        # Where there are groups enough, each thread steps whole groups; otherwise threads share the worlds of each.
        self._helpers = threads - 1 if _shared_out(len(self.groups), threads) else 0
        self._pool = ThreadPoolExecutor(max(1, self._helpers), "mtrl-groups")
        self._reads: Copies = []
        for group in self.groups:
            for share in group.shares:
                self._reads += copies(
                    group.batch.model,
                    share.task.views,
                    self.views.span,
                    lambda field, group=group, share=share: group.batch.bind(field)[share.rows],
                    self._table[share.worlds],
                )
        self._inputs: dict[str, tuple[torch.Tensor, Copies]] = {}

    def step(self, controls: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Writes the controls, `[world, n]` each, moves the physics on and reads the views.

        Returns:
            `[world]` bool, where the physics has failed; None where it has nowhere.
        """
        for field, value in controls.items():
            buffer, writes = self._inputs.get(field) or self._open(field, value.shape[1])
            buffer.copy_(value)
            for target, source in writes:
                np.copyto(target, source)
        errors = self._step_groups()
        for target, source in self._reads:
            np.copyto(target, source)
        sound = self.views.table.abs().amax(dim=1) <= BOUND  # not so where anything is NaN
        for group, rows in errors:
            for share in group.shares:
                own = rows[(rows >= share.first_row) & (rows < share.first_row + share.count)]
                sound[share.first_world + own - share.first_row] = False
        return None if bool(sound.all()) else ~sound

    def _step_groups(self) -> list[tuple[Group, np.ndarray]]:
        """Steps all groups; returns those in which MuJoCo raised an error, with the rows."""
        remaining, errors = iter(self.groups), []

        def work() -> None:
            for group in remaining:  # shared by the threads: each takes the next one that is left
                rows = group.step()
                if rows is not None:
                    errors.append((group, rows))

        helpers = [self._pool.submit(work) for _ in range(self._helpers)]
        work()
        for helper in helpers:
            helper.result()
        return errors

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()

    def _open(self, field: str, width: int) -> tuple[torch.Tensor, Copies]:
        """A buffer of one of MuJoCo's inputs, and where it goes; what a scene has no room for is left out."""
        rows = np.zeros((self.layout.worlds, width))
        writes: Copies = []
        for group in self.groups:
            for share in group.shares:
                target = group.flat(field, share)
                room = min(width, target.shape[1])
                writes.append((target[:, :room], rows[share.worlds, :room]))
        with torch.inference_mode(False):  # it is written to in any mode
            self._inputs[field] = (torch.from_numpy(rows), writes)
        return self._inputs[field]

    def place(self, task: int, worlds: np.ndarray, snapshots: Snapshots, goals: np.ndarray) -> None:
        """Puts some worlds of a task at the starts of some goals.

        Args:
            task: Number of the task in the layout.
            worlds: Which, counted from the task's first.
            snapshots: The task's starts.
            goals: Row of each world's start.
        """
        group, share = self._where[task]
        rows = share.first_row + worlds
        group.batch.state[rows] = snapshots.state[goals]
        group.body_pos[rows] = snapshots.body_pos[goals]

    def keep_active(self, active: np.ndarray) -> None:
        """Leaves the other worlds where they are from now on; `[world]` bool."""
        for group in self.groups:
            group.keep_active(np.concatenate([active[share.worlds] for share in group.shares]))

    def simulation_of(self, task: int, world: int) -> tuple[Scene, np.ndarray, np.ndarray]:
        """What one world of a task needs to be drawn: its scene, its state row and where its bodies stand."""
        group, share = self._where[task]
        row = share.first_row + world
        return group.scene, group.batch.state[row], group.body_pos[row]

    def get_state(self) -> list[State]:
        """Everything of all worlds."""
        return [
            {
                "state": torch.from_numpy(group.batch.state.copy()),
                "body_pos": torch.from_numpy(group.body_pos.copy()),
            }
            for group in self.groups
        ]

    def set_state(self, states: Sequence[State]) -> None:
        """Goes on from a state of an equal engine."""
        for group, state in zip(self.groups, states, strict=True):
            group.batch.state[:] = state["state"].numpy()
            group.body_pos[:] = state["body_pos"].numpy()


def _shared_out(groups: int, threads: int) -> bool:
    """Whether threads take whole groups."""
    return threads > 1 and groups >= 2 * threads


def _group(layout: Layout, threads: int) -> list[Group]:
    """Tasks with equal scenes share a group."""
    members: dict[tuple[Scene, int], list[Share]] = {}
    for number, (task, first, count) in enumerate(zip(layout.tasks, layout.bounds, layout.counts, strict=False)):
        shares = members.setdefault((task.scene, task.frame_skip), [])
        shares.append(Share(number, task, sum(share.count for share in shares), first, count))
    each = 1 if _shared_out(len(members), threads) else threads
    return [Group(scene, shares, each) for (scene, _), shares in members.items()]
