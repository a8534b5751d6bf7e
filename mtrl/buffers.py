"""Replay: one ring of transitions a task, sampled in equal parts."""

import torch
from jaxtyping import Bool, Int64

from mtrl.algorithm import Batch
from mtrl.errors import UserError
from mtrl.types import Actions, Observations, Rewards, TaskIds

_COLUMNS = ("obs", "action", "reward", "next_obs", "terminated")


class TaskReplayBuffer:
    """Keeps the newest `capacity_per_task` transitions of every task.

    Rings are addressed by absolute row numbers: row `r` of a task lies at `r % capacity_per_task`, and `written[task]`
    is the number of rows that it was ever given. A span of absolute rows can therefore be saved and put back anywhere.

    Args:
        num_tasks: Tasks in the suite.
        capacity_per_task: Rows of each ring.
        obs_dim: Numbers in a padded observation.
        action_dim: Numbers in a padded action.
        device: Where the rings live; batches come from there.

    Raises:
        UserError: The rings do not fit in memory.
    """

    def __init__(
        self, num_tasks: int, capacity_per_task: int, obs_dim: int, action_dim: int, device: torch.device
    ) -> None:
        self.num_tasks, self.capacity, self.device = num_tasks, capacity_per_task, device
        widths = {"obs": (obs_dim,), "action": (action_dim,), "reward": (), "next_obs": (obs_dim,), "terminated": ()}
        rows = num_tasks * capacity_per_task
        try:
            self._data = {name: torch.zeros((rows, *width), device=device) for name, width in widths.items()}
        except RuntimeError as error:
            gigabytes = 4 * rows * (2 * obs_dim + action_dim + 2) / 1e9
            raise UserError(
                f"a replay buffer of {capacity_per_task} transitions for each of {num_tasks} tasks needs "
                f"{gigabytes:.1f} GB and does not fit on {device}: lower --replay.capacity-per-task"
            ) from error
        self.written = torch.zeros(num_tasks, dtype=torch.int64, device=device)
        self._every_task_has_rows = False
        self._base = torch.arange(num_tasks, device=device) * capacity_per_task
        self._layout: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def add(
        self,
        obs: Observations,
        action: Actions,
        reward: Rewards,
        next_obs: Observations,
        terminated: Bool[torch.Tensor, " env"],
        task_id: TaskIds,
    ) -> None:
        """Adds one transition for every slot.

        Args:
            obs: Before the step.
            action: That was taken.
            reward: Of the step.
            next_obs: After the step, `final_obs` where the episode ended.
            terminated: Where no value follows (a truncation is not one).
            task_id: Task of each slot.
        """
        rank, count = self._ranks(task_id)
        place = self._base[task_id] + (self.written[task_id] + rank) % self.capacity
        values = (obs, action, reward, next_obs, terminated.to(torch.float32))
        for name, value in zip(_COLUMNS, values, strict=True):
            self._data[name][place] = value.to(self.device)
        self.written += count

    def sample(self, per_task: int, generator: torch.Generator) -> Batch:
        """Draws `per_task` transitions of every task with replacement, sorted by task.

        Raises:
            UserError: A task has no transition yet.
        """
        size = self.size()
        if not self._every_task_has_rows:  # asked until it is so, since the answer waits for the device
            if not bool((size > 0).all()):
                raise UserError("a task has no transitions to sample from yet: raise --warmup-steps")
            self._every_task_has_rows = True
        draw = torch.rand((self.num_tasks, per_task), generator=generator, device=self.device, dtype=torch.float64)
        index = (self._base[:, None] + (draw * size[:, None]).to(torch.int64)).flatten()
        columns = {name: values.index_select(0, index) for name, values in self._data.items()}
        task_id = torch.arange(self.num_tasks, device=self.device).repeat_interleave(per_task)
        return Batch(**columns, task_id=task_id)

    def size(self) -> Int64[torch.Tensor, " task"]:
        """Transitions held for each task."""
        return self.written.clamp(max=self.capacity)

    def rows_since(self, mark: Int64[torch.Tensor, " task"]) -> dict[str, torch.Tensor]:
        """The rows added since `written` was `mark`, as far as they are still held, on the CPU.

        Returns:
            `start` and `count` (`[task]`, absolute first row and number of rows), and the columns, task by task.
        """
        start = torch.maximum(mark.to(self.device), self.written - self.capacity)
        count = self.written - start
        index = torch.cat([self._places(task, int(start[task]), int(count[task])) for task in range(self.num_tasks)])
        rows = {name: values.index_select(0, index).cpu() for name, values in self._data.items()}
        return {"start": start.cpu(), "count": count.cpu(), **rows}

    def extend(self, rows: dict[str, torch.Tensor]) -> None:
        """Puts back what `rows_since` gave; spans go in the order in which they were taken.

        Raises:
            UserError: The rows are of another shape.
        """
        start, count = rows["start"], rows["count"]
        if start.shape != (self.num_tasks,) or any(
            rows[name].shape[1:] != values.shape[1:] for name, values in self._data.items()
        ):
            raise UserError("saved replay rows do not fit this suite: resume with the configuration of the run")
        taken = 0
        for task in range(self.num_tasks):
            number = int(count[task])
            places = self._places(task, int(start[task]), number)
            for name, values in self._data.items():
                values[places] = rows[name][taken : taken + number].to(self.device)
            taken += number
        self.written = (start + count).to(self.device)

    def _places(self, task: int, start: int, count: int) -> torch.Tensor:
        return task * self.capacity + torch.arange(start, start + count, device=self.device) % self.capacity

    def _ranks(self, task_id: TaskIds) -> tuple[torch.Tensor, torch.Tensor]:
        """Each slot's number among the slots of its task, and the slots of each task; kept for the next call."""
        if self._layout is None or self._layout[0] is not task_id:
            same = task_id[:, None] == task_id[None, :]
            rank = torch.tril(same.to(torch.int64), diagonal=-1).sum(dim=1)
            count = torch.bincount(task_id, minlength=self.num_tasks)
            self._layout = (task_id, rank, count)
        return self._layout[1], self._layout[2]
