"""A table of numbers by world, whose columns have names."""

from collections.abc import Mapping

import torch


class Columns:
    """Named columns of one tensor; reading one is a view of it.

    Args:
        table: `[world, total]`.
        widths: Name and width of each group of columns, from the left.
    """

    def __init__(self, table: torch.Tensor, widths: Mapping[str, int]) -> None:
        self.table = table
        self.widths = dict(widths)
        self._starts: dict[str, int] = {}
        position = 0
        for name, width in widths.items():
            self._starts[name] = position
            position += width
        if position != table.shape[1]:
            raise ValueError(f"columns take {position} numbers, the table has {table.shape[1]}")
        self._views: dict[str, torch.Tensor] = {}
        self._parts: dict[tuple[int, int], Columns] = {}

    @staticmethod
    def empty(worlds: int, widths: Mapping[str, int], dtype: torch.dtype, device: torch.device) -> "Columns":
        """A table of zeros."""
        return Columns(torch.zeros(worlds, sum(widths.values()), dtype=dtype, device=device), widths)

    def span(self, name: str) -> tuple[int, int]:
        """First column of a name, and the one after its last."""
        return self._starts[name], self._starts[name] + self.widths[name]

    def __getitem__(self, name: str) -> torch.Tensor:
        """`[world, width]`; `[world]` where the width is one."""
        view = self._views.get(name)
        if view is None:
            start, stop = self.span(name)
            view = self.table[:, start] if stop == start + 1 else self.table[:, start:stop]
            self._views[name] = view
        return view

    def rows(self, start: int, stop: int) -> "Columns":
        """The same columns of consecutive worlds, as views."""
        part = self._parts.get((start, stop))
        if part is None:
            part = self._parts[start, stop] = Columns(self.table[start:stop], self.widths)
        return part
