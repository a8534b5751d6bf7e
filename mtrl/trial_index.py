"""Where the newest trials of every goal lie in a replay buffer."""

import torch
from jaxtyping import Bool, Int64

from mtrl.types import Flags, State

KEPT = 64
"""Trials of each goal."""


class TrialIndex:
    """The newest trials of every task and goal, by the step that they began with; nothing waits for the device.

    Args:
        task_id: Task of every world.
        goals: Goals of every task, at most.
        device: Where it lives.
    """

    def __init__(self, task_id: Int64[torch.Tensor, " world"], goals: int, device: torch.device) -> None:
        self._offset, self._tasks = task_id * goals, int(task_id.max()) + 1
        rows = self._tasks * goals + 1  # the last one is for what belongs nowhere
        self._first, self._world, self._length = (
            torch.zeros((rows, KEPT), dtype=torch.int64, device=device) for _ in range(3)
        )
        self._count = torch.zeros(rows, dtype=torch.int64, device=device)
        self._began = torch.zeros(len(task_id), dtype=torch.int64, device=device)
        self._numbers = torch.arange(len(task_id), device=device)

    def add(self, step: int, ended: Flags, goal_index: Int64[torch.Tensor, " world"]) -> None:
        """Takes in a step of every world.

        Args:
            step: Its number.
            ended: Where a trial ended with it.
            goal_index: What was played.
        """
        nowhere = len(self._count) - 1
        row = torch.where(ended & (goal_index >= 0), self._offset + goal_index, nowhere)
        # Worlds that end trials of one goal in the same step get places one after the other.
        together, order = row.sort(stable=True)
        before = torch.empty_like(row)
        before[order] = self._numbers - torch.searchsorted(together, together)
        place = row * KEPT + (self._count[row] + before) % KEPT
        for table, value in (
            (self._first, self._began),
            (self._world, self._numbers),
            (self._length, step + 1 - self._began),
        ):
            table.view(-1)[place] = value
        self._count.index_add_(0, row, torch.ones_like(row))
        self._count[nowhere] = 0
        self._began = torch.where(ended, step + 1, self._began)

    def begin_anew(self, step: int) -> None:
        """Forgets the trials under way: those of all worlds begin with a step."""
        self._began.fill_(step)

    def draw_goals(self, count: int, generator: torch.Generator) -> Int64[torch.Tensor, " row"]:
        """Goals `[task * count]` that have trials, drawn with replacement and sorted by task; any where none has."""
        there = (self._count[:-1] > 0).to(torch.float32).view(self._tasks, -1)
        weight = torch.where(there.any(dim=1, keepdim=True), there, torch.ones_like(there))
        drawn = torch.multinomial(weight, count, replacement=True, generator=generator)
        return (drawn + torch.arange(self._tasks, device=drawn.device)[:, None] * there.shape[1]).flatten()

    def draw_trials(
        self, goal: Int64[torch.Tensor, " row"], each: int, oldest: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Bool[torch.Tensor, "row each"]]:
        """Trials of some goals: first step, last step and world, `[row, each]`, and whether there is one.

        Args:
            goal: As `draw_goals` gave them.
            each: Trials of each.
            oldest: Step that is still held.
            generator: On the device.
        """
        draw = torch.rand((len(goal), each), generator=generator, device=goal.device, dtype=torch.float64)
        held = self._count[goal].clamp(max=KEPT)[:, None]
        place = goal[:, None] * KEPT + (draw * held).to(torch.int64)
        first, world, length = (table.view(-1)[place] for table in (self._first, self._world, self._length))
        return first, first + length - 1, world, (held > 0) & (first >= oldest)

    def get_state(self) -> State:
        """All of it, on the CPU."""
        return {name: value.cpu().clone() for name, value in self._tables().items()}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        for name, value in self._tables().items():
            value.copy_(state[name])

    def _tables(self) -> dict[str, torch.Tensor]:
        names = ("first", "world", "length", "count", "began")
        return {name: getattr(self, f"_{name}") for name in names}
