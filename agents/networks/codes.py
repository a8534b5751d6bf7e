"""Codes of tasks from a file, such as sentence embeddings of their descriptions."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32
from safetensors.torch import load_file

from mtrl.errors import UserError


def read_codes(path: str, task_names: tuple[str, ...]) -> Float32[torch.Tensor, "task code"]:
    """A vector for each task.

    Args:
        path: JSON, an object of task name to a list of numbers, or a safetensors file with a vector a task.
        task_names: Tasks, in order; the file may hold others besides.

    Raises:
        UserError: The file cannot be read, or does not hold one vector of the same length for each task.
    """
    table = _read(Path(path).expanduser())
    missing = [name for name in task_names if name not in table]
    if missing:
        raise UserError(f"{path} has no code of task '{missing[0]}': add one for each task of the suite")
    rows = [_row(path, name, table[name]) for name in task_names]
    for name, row in zip(task_names, rows, strict=True):
        if len(row) != len(rows[0]):
            raise UserError(
                f"{path}: task '{name}' has {len(row)} numbers and '{task_names[0]}' {len(rows[0])}: give all tasks "
                "equally many"
            )
    if not rows:
        raise UserError(f"{path}: codes from a file need the names of the tasks: build the agent for a suite")
    return torch.tensor(rows, dtype=torch.float32)


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return {name: tensor.tolist() for name, tensor in load_file(path).items()}
        table = json.loads(path.read_text())
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read task codes from {path} ({error}): give a JSON or safetensors file") from error
    except Exception as error:  # safetensors has an error class of its own
        raise UserError(f"{path} is not a whole safetensors file ({error}): write it anew") from error
    if not isinstance(table, dict):
        raise UserError(f"{path} holds a {type(table).__name__}: give an object of task name to numbers")
    return table


def _row(path: str, name: str, values: Any) -> list[float]:
    numbers = isinstance(values, list) and len(values) > 0
    if not numbers or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise UserError(f"{path}: the code of task '{name}' is not a list of numbers: give one")
    if not all(math.isfinite(value) for value in values):
        raise UserError(f"{path}: the code of task '{name}' has a number that is not finite: give finite ones")
    return [float(value) for value in values]
