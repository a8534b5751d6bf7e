"""Building the networks and combiners of an agent with an actor and critics."""

import dataclasses

import torch

from mtrl.algorithm import Problem
from mtrl.parts.combiner import Combiner
from mtrl.parts.critic import Critic
from mtrl.parts.network import Network, NetworkShape
from mtrl.parts.part import Setting

from .actor_critic_config import ActorCriticConfig
from .networks.build import build_network
from .networks.conditioning import code_dim, lend_code

ACTOR_HEAD, CRITIC_HEAD = 1e-3, 3e-3
"""Bounds of the last layers' initial weights."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What goes into networks and comes out.

    Attributes:
        actor_outputs: Numbers that the actor gives.
        critics: Independent critics.
        values_of_actions: Whether critics see the action, before the observation.
    """

    actor_outputs: int
    critics: int
    values_of_actions: bool


def build_actor_and_critics(
    config: ActorCriticConfig, problem: Problem, critic: Critic, sizes: Sizes, seed: int
) -> tuple[Network, Network]:
    """The actor and the critics, as one network of several copies.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks and device.
        critic: What the critics' outputs stand for.
        sizes: What goes in and comes out.
        seed: Fixes the initial weights.
    """
    obs_dim, action_dim = problem.obs_mask.shape[1], problem.action_mask.shape[1]
    generator = torch.Generator().manual_seed(seed)
    actor_shape = NetworkShape(
        problem.num_tasks,
        obs_dim,
        sizes.actor_outputs,
        copies=1,
        head_scale=ACTOR_HEAD,
        in_mask=problem.obs_mask.cpu(),
        descriptors=problem.descriptors,
        task_names=problem.task_names,
    )
    seen = dataclasses.replace(
        actor_shape,
        in_dim=action_dim + obs_dim,
        in_mask=torch.cat([problem.action_mask, problem.obs_mask], dim=1).cpu(),
    )
    critic_shape = dataclasses.replace(
        seen if sizes.values_of_actions else actor_shape,
        out_dim=critic.outputs,
        copies=sizes.critics,
        head_scale=CRITIC_HEAD,
    )
    if config.actor.task.code == "critic":
        lent = code_dim(critic_shape, config.critic.resolved().code)
        actor_shape = dataclasses.replace(actor_shape, critic_code=lent)
    actor = build_network(actor_shape, config.actor, generator, "actor")
    critics = critic.attach(build_network(critic_shape, config.critic, generator, "critic"), critic_shape)
    lend_code(critics, actor)
    return actor.to(problem.device), critics.to(problem.device)


def build_combiners(config: ActorCriticConfig, setting: Setting) -> dict[str, Combiner]:
    """What makes updates of the tasks' losses, for each side."""
    choices = {"actor": config.actor_combiner, "critic": config.critic_combiner}
    return {part: choice.build(setting, choice).to(setting.device) for part, choice in choices.items()}


def count(parameters: list[torch.Tensor]) -> int:
    """Numbers in them."""
    return sum(parameter.numel() for parameter in parameters)


def learned(network: Network) -> list[torch.Tensor]:
    """Parameters that learn; frozen ones do not."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]
