"""What each of two processes does in tests/test_ranks.py; started anew, so it is a module of its own."""

import dataclasses
import os
import sys
from pathlib import Path

import torch
from agent_toys import CPU, batch_of, problem, small, steps_of

from mtrl.agents.ppo import PPO
from mtrl.agents.ppo_config import PPOConfig
from mtrl.agents.sac import SAC
from mtrl.algorithm import Batch, Step
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.critic import CRITICS, CriticConfig
from mtrl.parts.network import NETWORKS, NetworkConfig
from mtrl.parts.scale import SCALES, ScaleConfig
from mtrl.ranks import ALONE, Ranks
from mtrl.rollouts import RolloutBuffer

TASKS, SLOTS, PER_TASK, STEPS = 3, 4, 8, 6
SIZE = NetworkConfig(width=8, depth=1, activation="tanh")
MASK = torch.tensor([[True] * 5, [True, True, True, False, False], [True] * 5])
SAC_CASES = {
    **{f"network {name}": {"actor": SIZE.renamed(name), "critic": SIZE.renamed(name)} for name in NETWORKS},
    **{f"critic {name}": {"value": CriticConfig().renamed(name)} for name in CRITICS},
    **{f"scale {name}": {"scale": ScaleConfig().renamed(name), "normalize_obs": True} for name in SCALES},
    "loss limit": {"loss_limit": 6, "actor": SIZE.renamed("paco"), "critic": SIZE.renamed("paco")},
}
for _name in COMBINERS:
    _combiner = CombinerConfig().renamed(_name)
    SAC_CASES[f"combiner {_name}"] = {"actor_combiner": _combiner, "critic_combiner": _combiner}
PPO_CASES = {
    "plain": {},
    "popart": {"value": CriticConfig().renamed("popart"), "normalize_obs": True, "value_clip": 0.1},
    "all advantages": {"advantages": "all", "scale": ScaleConfig().renamed("balance")},
    "linear": {"baseline": "linear"},
    "pcgrad": {"actor_combiner": CombinerConfig().renamed("pcgrad")},
    "divergence": {"target_kl": 1e-4},
}


class Replay:
    """What is learned from, as far as agents ask; each process holds other rewards."""

    def __init__(self, ranks: Ranks) -> None:
        self.mean = torch.tensor([1.0, 2.0, 4.0]) + (ranks.rank - 0.5 * (ranks.size - 1))

    def mean_reward(self) -> torch.Tensor:
        return self.mean


def part_of(rows: torch.Tensor, each: int, ranks: Ranks) -> torch.Tensor:
    """This process's part of the rows `[task * each, ...]` of every task."""
    return rows.unflatten(0, (TASKS, each)).chunk(ranks.size, dim=1)[ranks.rank].flatten(0, 1)


def fields(value: object) -> dict[str, torch.Tensor]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def sac_weights(changes: dict, ranks: Ranks) -> dict[str, torch.Tensor]:
    p = dataclasses.replace(problem(TASKS, obs_mask=MASK), ranks=ranks)
    agent = SAC(small(**{"actor": SIZE, "critic": SIZE, "batch_per_task": PER_TASK, **changes}), p)
    agent._noise = lambda rows: torch.zeros(rows, 2)  # of each transition the same, whoever has it
    replay = Replay(ranks)
    for number, step in enumerate(steps_of(p, 6, slots=SLOTS)):
        agent.observe(Step(**{name: part_of(rows, SLOTS, ranks) for name, rows in fields(step).items()}))
        agent.begin_updates(number, replay)
        whole = fields(batch_of(p, PER_TASK, seed=number))
        agent.update(Batch(**{name: part_of(rows, PER_TASK, ranks) for name, rows in whole.items()}))
    return {name: value.clone() for name, value in agent.weights().items()}


def ppo_weights(changes: dict, ranks: Ranks) -> dict[str, torch.Tensor]:
    p = dataclasses.replace(problem(TASKS, obs_mask=MASK), ranks=ranks)
    agent = PPO(PPOConfig(actor=SIZE, critic=SIZE, rollout_steps=STEPS, **changes), p)
    slots = SLOTS // ranks.size
    rollout = RolloutBuffer(STEPS, TASKS * slots, 5, 2, CPU, shortest_episode=2)
    generator = torch.Generator().manual_seed(5)
    for number in range(2):
        for step in steps_of(p, STEPS, slots=SLOTS, seed=number):
            drawn = torch.randn(TASKS * SLOTS, 2, generator=generator)
            log_prob = -drawn.square().sum(dim=1)
            final = torch.randn(TASKS * SLOTS, 5, generator=generator)
            rows = (step.obs, drawn, log_prob, step.reward, step.terminated, step.ended, final)
            rollout.add(*(part_of(each, SLOTS, ranks) for each in rows))
            agent.observe(Step(**{name: part_of(each, SLOTS, ranks) for name, each in fields(step).items()}))
        last = part_of(torch.randn(TASKS * SLOTS, 5, generator=generator), SLOTS, ranks)
        lesson = agent.digest(rollout, last, 0.5)
        rollout.clear()
        for _ in range(2):
            agent.update(lesson)
    return {name: value.clone() for name, value in agent.weights().items()}


def all_weights(ranks: Ranks = ALONE) -> dict[str, dict[str, torch.Tensor]]:
    """Weights after a few updates, by case."""
    torch.set_num_threads(1)
    found = {f"SAC {name}": sac_weights(changes, ranks) for name, changes in SAC_CASES.items()}
    return found | {f"PPO {name}": ppo_weights(changes, ranks) for name, changes in PPO_CASES.items()}


if __name__ == "__main__":
    joined = Ranks.join(CPU)
    torch.save(all_weights(joined), Path(sys.argv[1]) / f"rank-{os.environ['RANK']}.pt")
