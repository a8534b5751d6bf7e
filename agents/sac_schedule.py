"""What changes in a run of soft actor-critic: learning rates, and what begins anew."""

import torch

from mtrl.parts.network import Network, split_parameters

from .sac_config import SACConfig

FINAL_LEARNING_RATE = 0.1
"""What is left of the learning rates after annealing."""


def rate_factor(config: SACConfig, updates: int) -> float:
    """What is left of the learning rates of actor and critics after so many updates."""
    if not config.anneal_updates:
        return 1.0
    progress = (updates - config.anneal_after) / config.anneal_updates
    return 1.0 + (FINAL_LEARNING_RATE - 1.0) * min(max(progress, 0.0), 1.0)


def reset_seed(seed: int, resets: int) -> int:
    """What initial weights are drawn with after so many resets: none of the seeds that other runs begin with."""
    return seed + 1_000_003 * resets


@torch.no_grad()
def reset_tasks(networks: tuple[Network, Network, Network], mask: torch.Tensor, generator: torch.Generator) -> None:
    """Begins anew what some tasks have of their own; what changes in the critics is the same in their targets.

    Args:
        networks: Actor, critics and target critics.
        mask: `[task]` bool, which tasks.
        generator: Draws what they begin with.
    """
    actor, critics, targets = networks
    before = {name: value.clone() for name, value in split_parameters(critics).specific.items()}
    actor.reset_tasks(mask, generator)
    critics.reset_tasks(mask, generator)
    for name, old in before.items():
        new, target = critics.get_parameter(name), targets.get_parameter(name)
        target.copy_(torch.where(new != old, new, target))
