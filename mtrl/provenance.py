"""What a run ran on: versions, commit and hardware, for `config.json`."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from mtrl import __version__

PACKAGES = ("torch", "numpy", "mujoco", "metaworld", "gymnasium")


def versions() -> dict[str, str | None]:
    """Versions of Python, of this suite and of what results depend on; None for what is not installed."""
    return {"python": platform.python_version(), "mtrl": __version__} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit that this suite is checked out at, with `-dirty` after it if files differ; None outside a checkout."""
    source = Path(__file__).resolve()
    try:
        # The package may lie ignored inside somebody else's repository, whose commit says nothing about it.
        _git(source.parent, "ls-files", "--error-unmatch", source.name)
        return _git(source.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()


def hardware() -> dict[str, Any]:
    """Processor, cores that may be used, memory in GB, and CUDA devices."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"system": platform.platform(), "cpu": _cpu_name(), "cores": cores, "memory_gb": _memory(), "gpus": gpus}


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (OSError, ValueError):
        return None
