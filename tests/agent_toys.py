"""Problems, settings, batches and steps for tests of agents, of tiny sizes."""

import dataclasses
from typing import Any

import torch

from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Batch, Problem, Step
from mtrl.parts.network import NetworkConfig
from mtrl.parts.part import Setting

CPU = torch.device("cpu")


def problem(
    tasks: int = 3,
    obs: int = 5,
    act: int = 2,
    seed: int = 0,
    obs_mask: torch.Tensor | None = None,
    action_mask: torch.Tensor | None = None,
) -> Problem:
    """So many tasks, with all numbers real where no mask is given."""
    return Problem(
        tuple(f"task-{i}" for i in range(tasks)),
        torch.ones(tasks, obs, dtype=torch.bool) if obs_mask is None else obs_mask,
        torch.ones(tasks, act, dtype=torch.bool) if action_mask is None else action_mask,
        CPU,
        seed,
    )


def setting(tasks: int = 3, gamma: float = 0.99, target_entropy: torch.Tensor | None = None) -> Setting:
    """What critics, combiners and scales are built for."""
    return Setting(tasks, gamma, CPU, seed=0, target_entropy=target_entropy)


def small(**changes: Any) -> SACConfig:
    """Plain settings over small networks."""
    network = NetworkConfig(width=32, depth=2)
    return dataclasses.replace(SACConfig(actor=network, critic=network, batch_per_task=8), **changes)


def batch_of(problem: Problem, per_task: int = 8, seed: int = 0, discount: float = 0.99) -> Batch:
    """Transitions of noise, none of them terminal; padding is zero."""
    generator = torch.Generator().manual_seed(seed)
    tasks, obs, act = problem.num_tasks, problem.obs_mask.shape[1], problem.action_mask.shape[1]
    n = tasks * per_task
    task_id = torch.arange(tasks).repeat_interleave(per_task)
    real = problem.obs_mask[task_id].float()
    return Batch(
        torch.randn(n, obs, generator=generator) * real,
        torch.rand(n, act, generator=generator) * 2 - 1,
        torch.randn(n, generator=generator),
        torch.randn(n, obs, generator=generator) * real,
        torch.zeros(n),
        task_id,
        torch.full((n,), discount),
    )


def steps_of(problem: Problem, count: int, slots: int = 2, seed: int = 0, horizon: int = 7) -> list[Step]:
    """Steps of all worlds: task i pays about i, episodes are truncated, a few terminate."""
    generator = torch.Generator().manual_seed(seed)
    tasks, obs, act = problem.num_tasks, problem.obs_mask.shape[1], problem.action_mask.shape[1]
    worlds = tasks * slots
    task_id = torch.arange(tasks).repeat_interleave(slots)
    steps = []
    for number in range(count):
        terminated = torch.rand(worlds, generator=generator) < 0.05
        steps.append(
            Step(
                torch.randn(worlds, obs, generator=generator) * problem.obs_mask[task_id],
                torch.zeros(worlds, act),
                torch.randn(worlds, generator=generator) + task_id,
                terminated,
                terminated | ((number + torch.arange(worlds)) % horizon == horizon - 1),
                task_id,
            )
        )
    return steps
