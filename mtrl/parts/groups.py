"""Grouping rows by task: `[batch, ...]` to `[group, sample, ...]` and back, without looking at the device again."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Int64


@dataclass(frozen=True)
class Groups:
    """Where the rows of a batch lie, grouped by task.

    Attributes:
        task_id: `[group]`, the task of each group.
        order: `[group * sample]`, the row in each place (some twice where groups are unequal); None: rows in order.
        places: `[batch]`, where each row is; None with `order`.
    """

    task_id: Int64[torch.Tensor, " group"]
    order: Int64[torch.Tensor, " place"] | None = None
    places: Int64[torch.Tensor, " batch"] | None = None

    @classmethod
    def equal(cls, num_tasks: int, device: torch.device) -> Self:
        """Rows sorted by task, equally many of each."""
        return cls(torch.arange(num_tasks, device=device))

    @classmethod
    def of(cls, task_id: Int64[torch.Tensor, " batch"]) -> Self:
        """Groups of any rows; the host looks at the device once."""
        tasks = task_id.cpu()
        present, group, counts = torch.unique(tasks, return_inverse=True, return_counts=True)
        most = int(counts.max())
        in_order = torch.argsort(group, stable=True)
        first = torch.cumsum(counts, 0) - counts
        device = task_id.device
        if bool((counts == most).all()) and bool((in_order == torch.arange(len(tasks))).all()):
            return cls(present.to(device))
        within = torch.arange(most).expand(len(present), most)
        order = in_order[first[:, None] + torch.minimum(within, counts[:, None] - 1)]
        places = torch.empty_like(group)
        places[in_order] = group[in_order] * most + torch.arange(len(tasks)) - first[group[in_order]]
        return cls(present.to(device), order.flatten().to(device), places.to(device))

    def split(self, rows: torch.Tensor) -> torch.Tensor:
        """`[batch, ...]` to `[group, sample, ...]`."""
        rows = rows if self.order is None else rows[self.order]
        return rows.unflatten(0, (len(self.task_id), -1))

    def join(self, grouped: torch.Tensor) -> torch.Tensor:
        """`[group, sample, ...]` to `[batch, ...]`."""
        rows = grouped.flatten(0, 1)
        return rows if self.places is None else rows[self.places]


class GroupMemory:
    """Remembers the groups of the newest task ids, which vector environments hand over as the same tensor each step."""

    def __init__(self) -> None:
        self._task_id: torch.Tensor | None = None
        self._groups: Groups | None = None

    def of(self, task_id: torch.Tensor) -> Groups:
        """Groups of these rows; the tensor must not be written to afterwards."""
        if self._groups is None or self._task_id is not task_id:
            self._task_id, self._groups = task_id, Groups.of(task_id)
        return self._groups
