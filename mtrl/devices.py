"""Which device a run is on."""

import torch

from mtrl.errors import UserError


def resolve_device(name: str, local: int | None = None) -> str:
    """The torch device that `--device` means; `auto` is CUDA where it works and the CPU elsewhere.

    Args:
        name: As given.
        local: Number of this process among several that train together on this machine, each on a GPU of its own.

    Raises:
        UserError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local is not None:
        name = f"cuda:{local}"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UserError(f"unknown device '{name}': give auto, cpu, cuda or cuda:N")
    there = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= there:
        raise UserError(f"device '{name}' is not there ({there} CUDA devices found): give --device cpu or auto")
    return name
