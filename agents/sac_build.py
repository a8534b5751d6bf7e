"""What soft actor-critic begins with, and begins anew with at a reset: networks and combiners."""

import dataclasses

import torch

from mtrl.algorithm import Problem
from mtrl.parts.combiner import Combiner
from mtrl.parts.critic import Critic
from mtrl.parts.network import Network, NetworkShape, split_parameters
from mtrl.parts.part import Setting

from .networks.build import build_network
from .networks.conditioning import code_dim, lend_code
from .sac_config import SACConfig

ACTOR_HEAD, CRITIC_HEAD = 1e-3, 3e-3
"""Bounds of the last layers' initial weights."""


def build_networks(config: SACConfig, problem: Problem, critic: Critic, seed: int) -> tuple[Network, Network]:
    """The actor and the critics, as one network of several copies.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks and device.
        critic: What the critics' outputs stand for.
        seed: Fixes the initial weights.
    """
    obs_dim, action_dim = problem.obs_mask.shape[1], problem.action_mask.shape[1]
    generator = torch.Generator().manual_seed(seed)
    actor_shape = NetworkShape(
        problem.num_tasks,
        obs_dim,
        2 * action_dim,
        copies=1,
        head_scale=ACTOR_HEAD,
        in_mask=problem.obs_mask.cpu(),
        descriptors=problem.descriptors,
        task_names=problem.task_names,
    )
    critic_shape = dataclasses.replace(
        actor_shape,
        in_dim=action_dim + obs_dim,
        out_dim=critic.outputs,
        copies=config.critics,
        head_scale=CRITIC_HEAD,
        in_mask=torch.cat([problem.action_mask, problem.obs_mask], dim=1).cpu(),
    )
    if config.actor.task.code == "critic":
        lent = code_dim(critic_shape, config.critic.resolved().code)
        actor_shape = dataclasses.replace(actor_shape, critic_code=lent)
    actor = build_network(actor_shape, config.actor, generator, "actor")
    critics = critic.attach(build_network(critic_shape, config.critic, generator, "critic"), critic_shape)
    lend_code(critics, actor)
    return actor.to(problem.device), critics.to(problem.device)


def build_combiners(config: SACConfig, setting: Setting) -> dict[str, Combiner]:
    """What makes updates of the tasks' losses, for each side."""
    choices = {"actor": config.actor_combiner, "critic": config.critic_combiner}
    return {part: choice.build(setting, choice).to(setting.device) for part, choice in choices.items()}


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
