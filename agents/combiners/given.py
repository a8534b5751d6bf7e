"""Given weights."""

import math
from dataclasses import dataclass

import torch

from mtrl.config import option
from mtrl.errors import UserError
from mtrl.parts.combiner import CombinerConfig, Objective, Weighting
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner


@dataclass(frozen=True)
class GivenConfig(CombinerConfig):
    """The weights."""

    weights: tuple[str, ...] = ()
    """A number for each task, in order; or TASK=NUMBER for some, where the others weigh 1."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        _numbers(self.weights, option(f"{prefix}weights"))


@register_combiner("given", description="weights that you give", config=GivenConfig)
class Given(Weighting):
    """sum_i w_i l_i / N."""

    def __init__(self, setting: Setting, config: GivenConfig) -> None:
        super().__init__()
        weights = torch.tensor(_weights(config.weights, setting), device=setting.device)
        self.register_buffer("task_weights", weights, persistent=False)

    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """See the class."""
        return (self.get_buffer("task_weights") * losses).mean()

    def report(self) -> dict[str, torch.Tensor]:
        """Nothing: the weights never change."""
        return {}


def _weights(given: tuple[str, ...], setting: Setting) -> list[float]:
    """One a task.

    Raises:
        UserError: There are more or less numbers than tasks, or a name is none of the tasks'.
    """
    numbers = _numbers(given, "weights of the combiner 'given'")
    if any(name for name, _ in numbers):
        named = dict(numbers)
        unknown = [name for name in named if name not in setting.task_names]
        if unknown:
            raise UserError(f"a weight is given for '{unknown[0]}': the tasks are {', '.join(setting.task_names)}")
        return [named.get(name, 1.0) for name in setting.task_names]
    if numbers and len(numbers) != setting.num_tasks:
        raise UserError(f"{len(numbers)} weights are given for {setting.num_tasks} tasks: give one for each")
    return [number for _, number in numbers] or [1.0] * setting.num_tasks


def _numbers(given: tuple[str, ...], name: str) -> list[tuple[str, float]]:
    """Names (empty: in order) and numbers.

    Raises:
        UserError: They are not all of one form, or no numbers that losses can be weighed with.
    """
    parsed: list[tuple[str, float]] = []
    for entry in given:
        task, _, text = entry.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0.0 <= number < math.inf:
            raise UserError(f"{name}: '{entry}' is no weight: give numbers from 0 up, or TASK=NUMBER")
        parsed.append((task, number))
    if len({bool(task) for task, _ in parsed}) > 1:
        raise UserError(f"{name}: '{' '.join(given)}' has tasks for some numbers only: name all of them or none")
    if len({task for task, _ in parsed if task}) < len([task for task, _ in parsed if task]):
        raise UserError(f"{name}: '{' '.join(given)}' names a task twice: give it one weight")
    return parsed
