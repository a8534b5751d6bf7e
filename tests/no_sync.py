"""Proof, on any device, that a piece of code never makes the host wait for the device.

On a GPU the host waits where it reads a value (`item`, `tolist`, `bool(tensor)`, a copy to the CPU), where the shape of
a result depends on values (`nonzero`, a mask as an index), and where a tensor is made from the host's data. All of
these are seen on the CPU too, where they cost nothing and would never be noticed.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {
    "_local_scalar_dense",
    "is_nonzero",
    "nonzero",
    "nonzero_numpy",
    "argwhere",
    "masked_select",
    "unique_dim",
    "unique_consecutive",
    "unique_dim_consecutive",
    "_unique",
    "_unique2",
    "equal",
    "allclose",
    "bincount",
    "histogram",
}
"""Operations that wait for the device, or whose result has a shape that only the device knows."""
METHODS = ("cpu", "numpy", "tolist", "item", "__array__", "__bool__", "__int__", "__float__", "__index__", "nonzero")
"""Of tensors. On the CPU some of them never reach an operation that could be seen."""
MAKERS = ("tensor", "as_tensor", "from_numpy")
"""Functions of torch that copy the host's data to the device."""


class HostWaitsError(AssertionError):
    """The host would have waited for the device."""


class _Watch(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if name in READS or str(function) == "aten.repeat_interleave.Tensor":
            raise HostWaitsError(f"aten.{name} waits for the device")
        if name.lstrip("_").startswith(("index", "unsafe_index")) and _masks(args):
            raise HostWaitsError(f"aten.{name} with a mask waits for the device")
        target = (kwargs or {}).get("device")
        devices = {tensor.device.type for tensor in tensors if tensor.ndim}  # a number on the CPU is an argument
        devices |= {torch.device(target).type} if target is not None and tensors else set()
        if name in ("copy_", "_to_copy") and len(devices) > 1:
            raise HostWaitsError(f"aten.{name} between {' and '.join(sorted(devices))} waits for the device")
        return function(*args, **(kwargs or {}))


def _masks(args: tuple[Any, ...]) -> bool:
    """Whether there is a mask among the indices of an indexing operation."""
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else []
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _refused(name: str) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise HostWaitsError(f"{name} waits for the device")

    return refuse


def _moved(original: Callable[..., Any]) -> Callable[..., Any]:
    def to(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        # A run's device is a torch.device, whichever it is; who writes "cpu" means the host.
        if "cpu" in (*(a for a in args if isinstance(a, str)), kwargs.get("device")):
            raise HostWaitsError('Tensor.to("cpu") waits for the device')
        return original(self, *args, **kwargs)

    return to


@contextlib.contextmanager
def no_sync() -> Iterator[None]:
    """Whatever inside would make the host wait raises `HostWaitsError` with the operation's name."""
    with contextlib.ExitStack() as patched:
        for owner, prefix, names in ((torch.Tensor, "Tensor.", METHODS), (torch, "torch.", MAKERS)):
            for name in names:
                patched.enter_context(_patch(owner, name, _refused(prefix + name)))
        patched.enter_context(_patch(torch.Tensor, "to", _moved(torch.Tensor.to)))
        patched.enter_context(_patch(torch.cuda, "synchronize", _refused("torch.cuda.synchronize")))
        patched.enter_context(_Watch())
        yield


@contextlib.contextmanager
def _patch(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an attribute for a while; what was inherited is inherited again."""
    own, original = name in vars(owner), getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)
