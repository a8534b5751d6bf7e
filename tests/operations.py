"""What a CUDA graph does, on the CPU: notes operations on tensors as they are done, and does them again.

It shows what a recording would get wrong: numbers of the host that change, decisions by the host, and tensors that are
made anew where others still read the old ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Operations(TorchDispatchMode):
    """The operations within, in order, each with the tensors that it read and made."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        assert function.overloadpacket.__name__ != "_local_scalar_dense", "the host reads the device"
        self.done.append((function, args, kwargs or {}, tree_leaves(results)))
        return results

    @torch.no_grad()
    def again(self) -> None:
        """Does all of it anew, into the tensors that were made at first."""
        for function, args, kwargs, before in self.done:
            for old, new in zip(before, tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def record_operations(work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], object]:
    """A recorder for `mtrl.graphs`: it does the work as it records, so the first replay has nothing to do."""
    operations, waiting = Operations(), [True]
    with operations:
        work()

    def replay() -> None:
        if waiting:
            waiting.pop()
        else:
            operations.again()

    return replay
