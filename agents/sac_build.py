"""What soft actor-critic begins with, and begins anew with at a reset."""

from collections.abc import Mapping, Sequence

import torch

from mtrl.algorithm import Problem
from mtrl.parts.critic import Critic
from mtrl.parts.network import Network, split_parameters

from .build import Sizes, build_actor_and_critics
from .optimizers import Learned, Optimizers
from .sac_config import SACConfig

FINAL_LEARNING_RATE = 0.1
"""What is left of the learning rates after annealing."""


def build_networks(config: SACConfig, problem: Problem, critic: Critic, seed: int) -> tuple[Network, Network]:
    """The actor, which gives a mean and a spread of each action number, and the critics, which see the action.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks and device.
        critic: What the critics' outputs stand for.
        seed: Fixes the initial weights.
    """
    sizes = Sizes(2 * problem.action_mask.shape[1], config.critics, values_of_actions=True)
    return build_actor_and_critics(config, problem, critic, sizes, seed)


def build_optimizers(config: SACConfig, parameters: Mapping[str, Sequence[torch.Tensor]]) -> Optimizers:
    """Of what `actor`, `critic` and `temperature` learn."""
    shared = (config.adam_epsilon, config.weight_decay)
    beta = config.temperature_beta
    return Optimizers(
        {
            "actor": Learned(parameters["actor"], config.actor_learning_rate, *shared),
            "critic": Learned(parameters["critic"], config.critic_learning_rate, *shared),
            "temperature": Learned(parameters["temperature"], config.temperature_learning_rate, beta=beta),
        }
    )


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
