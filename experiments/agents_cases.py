"""What bench_agents.py measures: agents that differ from the multi-head one in one part."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Batch, Problem
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.critic import CRITICS, CriticConfig
from mtrl.parts.network import NETWORKS, NetworkConfig

SUITES = {"MT10": 10, "MT50": 50}
"""Tasks of each."""
OBS, ACT = 39, 4
REFERENCE = "multi_head"
PUBLISHED: dict[str, dict[str, dict[str, Any]]] = {
    "MT10": {"soft_modules": {"width": 256, "depth": 2, "modules": 2}},
    "MT50": {
        "soft_modules": {"width": 256, "depth": 4, "modules": 4},
        "care": {"experts": 10},
        "paco": {"sets": 20},
        "moore": {"experts": 6},
    },
}
"""Sizes that authors took, where they are not width 400 and depth 3, or not what the network begins with."""
SMALLER: dict[str, dict[str, Any]] = {
    "bronet": {"width": 512, "depth": 1},
    "simba_v2": {"width": 256, "depth": 1},
}
"""Those whose published sizes take seconds an update on a CPU, and their sizes here."""


@dataclass(frozen=True)
class Candidate:
    """An agent to measure.

    Attributes:
        kind: The part in which it differs from the reference: `network`, `critic` or `combiner`.
        name: That part's registered name.
        config: Its settings.
        tasks: How many.
    """

    kind: str
    name: str
    config: SACConfig
    tasks: int

    def build(self, device: torch.device) -> SAC:
        """The agent."""
        obs, action = (torch.ones(self.tasks, numbers, dtype=torch.bool, device=device) for numbers in (OBS, ACT))
        names = tuple(f"task-{number}" for number in range(self.tasks))
        return SAC(self.config, Problem(names, obs, action, device, seed=0))

    def batch(self, device: torch.device) -> Batch:
        """A batch of noise."""
        generator = torch.Generator(device).manual_seed(0)
        rows = self.tasks * self.config.batch_per_task

        def draw(*shape: int) -> torch.Tensor:
            return torch.randn(rows, *shape, generator=generator, device=device)

        task_id = torch.arange(self.tasks, device=device).repeat_interleave(self.config.batch_per_task)
        discount, ended = (torch.full((rows,), value, device=device) for value in (0.99, 0.0))
        return Batch(draw(OBS), draw(ACT).tanh(), draw(), draw(OBS), ended, task_id, discount)


def network_config(suite: str, name: str, *, short: bool) -> NetworkConfig:
    """A network at its published size for a suite."""
    config = NetworkConfig(width=400, depth=3).renamed(name)
    sizes = {**SMALLER.get(name, {}), **PUBLISHED[suite].get(name, {})}
    if short:
        sizes |= {"width": 16, "depth": 1}
    return dataclasses.replace(config, **sizes)


def candidates(suite: str, *, short: bool) -> list[Candidate]:
    """The reference, then every network, critic and combiner."""
    size = network_config(suite, REFERENCE, short=short)
    base = SACConfig(actor=size, critic=size, batch_per_task=8 if short else 128)
    found: list[tuple[str, str, dict[str, Any]]] = []
    for name in sorted(NETWORKS, key=lambda name: name != REFERENCE):
        network = network_config(suite, name, short=short)
        found.append(("network", name, {"actor": network, "critic": network}))
    for name in sorted(set(CRITICS) - {base.value.name}):
        found += [("critic", name, {"value": CriticConfig().renamed(name)})]
    for name in sorted(set(COMBINERS) - {base.actor_combiner.name}):
        combining = CombinerConfig().renamed(name)
        found += [("combiner", name, {"actor_combiner": combining, "critic_combiner": combining})]
    return [Candidate(kind, name, dataclasses.replace(base, **new), SUITES[suite]) for kind, name, new in found]
