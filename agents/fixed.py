"""Policies that learn nothing: the floors that every agent is compared with."""

from dataclasses import dataclass

import torch

from mtrl.algorithm import Problem
from mtrl.types import Actions, Observations, TaskIds


@dataclass(frozen=True)
class FixedConfig:
    """A fixed policy has no hyperparameters."""


class ZeroPolicy:
    """Always the zero action."""

    def __init__(self, config: FixedConfig, problem: Problem) -> None:
        self._mask = problem.action_mask.to(problem.device, torch.float32)
        self._generator = torch.Generator().manual_seed(problem.seed)

    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Zeros `[env, act]`."""
        return torch.zeros_like(self._mask[task_id])

    def begin_episodes(self, mask: torch.Tensor) -> None:
        """No memory."""

    def _uniform(self, task_id: TaskIds) -> Actions:
        """Uniform in [-1, 1], drawn on the CPU so that every device sees the same numbers."""
        draw = torch.rand(len(task_id), self._mask.shape[1], generator=self._generator)
        return (2.0 * draw - 1.0).to(self._mask.device) * self._mask[task_id]


class RandomPolicy(ZeroPolicy):
    """A fresh uniform action every step."""

    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Uniform `[env, act]`."""
        return self._uniform(task_id)


class RepeatPolicy(ZeroPolicy):
    """One uniform action an episode, held to its end."""

    def __init__(self, config: FixedConfig, problem: Problem) -> None:
        super().__init__(config, problem)
        self._held: Actions | None = None
        self._fresh: torch.Tensor | None = None

    def begin_episodes(self, mask: torch.Tensor) -> None:
        """Draws anew, at the next action, where an episode begins."""
        self._fresh = mask if self._fresh is None else self._fresh | mask

    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """The held action `[env, act]`."""
        if self._held is None or self._held.shape[0] != task_id.shape[0]:
            self._held = self._uniform(task_id)
        elif self._fresh is not None and bool(self._fresh.any()):
            self._held = torch.where(self._fresh[:, None], self._uniform(task_id), self._held)
        self._fresh = None
        return self._held
