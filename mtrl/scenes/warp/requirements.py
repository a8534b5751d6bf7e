"""What the warp engine needs, checked before anything of it is imported."""

import importlib.util

import torch

from mtrl.errors import UserError

PACKAGES = {"warp": "warp-lang", "mujoco_warp": "mujoco-warp"}
"""Imported name and distribution of what the extra `gpu` installs."""


def missing_packages() -> list[str]:
    """Distributions of the extra `gpu` that are not installed."""
    return [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]


def require(device: torch.device) -> torch.device:
    """Makes sure that the engine can run on a device, and gives CUDA devices their number.

    Raises:
        UserError: A package or the GPU is missing; the message says which, and what to do.
    """
    missing = missing_packages()
    if missing:
        raise UserError(
            f"the warp engine needs {' and '.join(missing)}, not installed: pip install 'mtrl-suite[gpu]', or choose "
            "--engine native"
        )
    from mtrl.scenes.warp.setup import prepare_warp

    prepare_warp()
    if device.type != "cuda":
        return device
    if not torch.cuda.is_available():
        raise UserError(
            "the warp engine was asked for a GPU, and torch finds no CUDA device: give --device cpu, or install a "
            "driver and a CUDA build of torch"
        )
    import warp

    if not warp.is_cuda_available():
        raise UserError(
            "warp finds no CUDA device although torch does: its wheel needs a newer driver (R580 for warp-lang 1.19); "
            "update the driver, or choose --engine native"
        )
    return device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
