"""A problem of two tasks that any agent learns in a fraction of a second, and whose answer is known.

Places -1 and 1. At 1 an episode ends after one step, which pays c_i + s_i a in task i: its value is c_i at a = 0, and
the best action is the sign of s_i. At -1 nothing is paid, whatever is done, and 1 follows: its value is the discounted
one of what the policy does there. Temperatures are pinned near zero, so that soft values are plain values.
"""

import dataclasses
from typing import Any

import torch

from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Batch, Problem
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import NetworkConfig

CPU = torch.device("cpu")
CONSTANT, SLOPE = torch.tensor([2.0, -2.0]), torch.tensor([1.0, -1.0])
TASKS, SAMPLES, GAMMA = 2, 16, 0.5
UPDATES = 120


def pair_agent(network: str = "one_hot", critic: str = "mse", combiner: str = "mean", **changes: Any) -> SAC:
    """A small agent of these parts, the same ones for actor and critics."""
    size = NetworkConfig(width=16, depth=1, activation="tanh").renamed(network)
    combining = CombinerConfig().renamed(combiner)
    config = SACConfig(
        actor=size,
        critic=size,
        value=CriticConfig().renamed(critic),
        actor_combiner=combining,
        critic_combiner=combining,
        batch_per_task=SAMPLES,
        gamma=GAMMA,
        tau=0.2,
        actor_learning_rate=3e-3,
        critic_learning_rate=2e-2,
        temperature_learning_rate=0.0,
        initial_temperature=1e-6,
        max_gradient_norm=10.0,
    )
    real = torch.ones(TASKS, 1, dtype=torch.bool)
    problem = Problem(("up", "down"), real, real, CPU, seed=0)
    return SAC(dataclasses.replace(config, **changes), problem)


def batch(generator: torch.Generator) -> Batch:
    """Transitions of fresh random actions, half of them at each place."""
    rows = TASKS * SAMPLES
    action = 2.0 * torch.rand(rows, 1, generator=generator) - 1.0
    last = torch.arange(rows) % 2 == 0
    task_id = torch.arange(TASKS).repeat_interleave(SAMPLES)
    reward = torch.where(last, CONSTANT[task_id] + SLOPE[task_id] * action.squeeze(1), 0.0)
    obs, terminated = 2.0 * last[:, None].float() - 1.0, last.float()
    return Batch(obs, action, reward, torch.ones(rows, 1), terminated, task_id, torch.full((rows,), GAMMA))


def learn(agent: SAC, updates: int = UPDATES) -> None:
    """Updates from fresh batches."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        agent.update(batch(generator))


def value(agent: SAC, place: float, action: torch.Tensor) -> torch.Tensor:
    """Mean of the critics in each task, `[task]`."""
    task_id = torch.arange(TASKS)
    inputs = torch.stack([action, torch.full((TASKS,), place)], dim=1).unsqueeze(1)
    with torch.no_grad():
        return agent.critic.values(agent.critics(inputs, task_id), task_id).mean(dim=0).squeeze(1)


def answers(agent: SAC) -> dict[str, torch.Tensor]:
    """What the agent has learned, less what is right, and the policy's actions along the slopes."""
    zero, task_id = torch.zeros(TASKS), torch.arange(TASKS)
    chosen = agent.act(torch.ones(TASKS, 1), task_id, mode=True).squeeze(1)
    return {
        "constant": value(agent, 1.0, zero) - CONSTANT,
        "slope": 0.5 * (value(agent, 1.0, zero + 1.0) - value(agent, 1.0, zero - 1.0)) - SLOPE,
        "before": value(agent, -1.0, zero) - GAMMA * (CONSTANT + SLOPE * chosen),
        "policy": chosen * SLOPE,
    }
