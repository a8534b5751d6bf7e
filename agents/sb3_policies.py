"""Networks of this suite as policies of Stable-Baselines3's agents.

import mtrl.sb3, stable_baselines3
from mtrl.agents.sb3_policies import TaskPPOPolicy, TaskSACPolicy

env = mtrl.sb3.make("MT3", slots_per_task=2, task_input="dict")
agent = stable_baselines3.PPO(TaskPPOPolicy, env, policy_kwargs={"network": "moore", "settings": {"width": 128}})
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN, Actor, SACPolicy
from torch import nn

from mtrl.config import from_dict
from mtrl.errors import UserError
from mtrl.parts.groups import Groups
from mtrl.parts.network import Network, NetworkConfig, NetworkShape

from .build import ACTOR_HEAD, CRITIC_HEAD
from .networks.build import build_network

Space = gymnasium.spaces.Space[Any]


class ObservationThenTask(BaseFeaturesExtractor):
    """Observations of `task_input="dict"` as rows: the observation, then the task's one-hot code."""

    def __init__(self, observation_space: Space) -> None:
        obs_dim, tasks = sizes_of(observation_space)
        super().__init__(observation_space, obs_dim + tasks)

    def forward(self, observations: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """`[batch, obs]` and `[batch, task]` to `[batch, obs + task]`."""
        return torch.cat([observations["observation"], observations["task"]], dim=1)


def sizes_of(space: Space) -> tuple[int, int]:
    """Numbers of the observation, and tasks.

    Raises:
        UserError: The environment does not tell the task.
    """
    if not isinstance(space, gymnasium.spaces.Dict) or set(space.spaces) != {"observation", "task"}:
        raise UserError(
            f"these policies are told the task apart from the observation, and the space is {space}: build the "
            "environment by mtrl.sb3.make(..., task_input='dict')"
        )
    obs, task = (np.prod(space[name].shape or (0,)) for name in ("observation", "task"))
    return int(obs), int(task)


class TaskNetwork(nn.Module):
    """A network of this suite that is called with rows of any tasks in any order.

    Args:
        space: Of observations.
        name: A registered network.
        settings: Its settings by name, nested as in a config; others are as registered.
        outputs: Numbers that come out.
        copies: Independent networks.
        more: Numbers that go in before the observation, such as the action's.
    """

    def __init__(
        self, space: Space, name: str, settings: Mapping[str, Any], outputs: int, copies: int = 1, more: int = 0
    ) -> None:
        super().__init__()
        self._obs_dim, tasks = sizes_of(space)
        config = from_dict(NetworkConfig().renamed(name), dict(settings))
        config.check("")
        head = CRITIC_HEAD if more or outputs == 1 else ACTOR_HEAD
        shape = NetworkShape(tasks, self._obs_dim + more, outputs, copies, head)
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))  # follows SB3's own seed
        self.network: Network = build_network(shape, config, generator)

    def forward(self, rows: torch.Tensor, before: torch.Tensor | None = None) -> torch.Tensor:
        """`[batch, obs + task]`, and what goes in before the observation, to `[copies, batch, outputs]`."""
        obs, code = rows[:, : self._obs_dim], rows[:, self._obs_dim :]
        groups = Groups.of(code.argmax(dim=1))
        inputs = obs if before is None else torch.cat([before, obs], dim=1)
        outputs = self.network(groups.split(inputs), groups.task_id)
        return torch.stack([groups.join(copy) for copy in outputs])


class PolicyAndValue(nn.Module):
    """What Stable-Baselines3 calls an extractor: here whole networks, of the mean action and of the value."""

    def __init__(self, actor: TaskNetwork, critic: TaskNetwork, action_dim: int) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic
        self.latent_dim_pi, self.latent_dim_vf = action_dim, 1

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        """`[batch, act]`."""
        return self.actor(features)[0]

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """`[batch, 1]`."""
        return self.critic(features)[0]


class NamedNetworkPolicy(BasePolicy):
    """What the policies here share: they are made of a network of this suite by name, and their files keep that.

    Args:
        observation_space: Of `mtrl.sb3.make(..., task_input="dict")`.
        action_space: A box.
        lr_schedule: As SB3's policies take it, and so are further options.
        network: A registered network, for the policy and for values.
        settings: Its settings, such as `{"width": 128, "task": {"code": "embedding"}}`.
        **options: See above.

    Raises:
        UserError: The observations do not tell the task, or there is no such network or setting.
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Any,
        lr_schedule: Callable[[float], float],
        network: str = "multi_head",
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.network, self.settings = network, dict(settings or {})
        options = {"features_extractor_class": ObservationThenTask, **options}
        super().__init__(observation_space, action_space, lr_schedule, **options)  # type: ignore[arg-type] - see above

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "network": self.network, "settings": self.settings}


class TaskPPOPolicy(NamedNetworkPolicy, ActorCriticPolicy):
    """A policy for PPO and A2C of Stable-Baselines3 and TRPO of sb3-contrib, of two networks of this suite."""

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        space, action_dim = self.observation_space, int((self.action_space.shape or (0,))[0])
        actor, critic = (TaskNetwork(space, self.network, self.settings, outputs) for outputs in (action_dim, 1))
        self.mlp_extractor = PolicyAndValue(actor, critic, action_dim)  # type: ignore[assignment]
        self.action_net, self.value_net = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        self.log_std = nn.Parameter(torch.full((action_dim,), float(self.log_std_init)))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]


class TaskActor(Actor):
    """The actor of `TaskSACPolicy`."""

    def __init__(self, *arguments: Any, network: str, settings: Mapping[str, Any], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.network, self.settings = network, dict(settings)
        del self.latent_pi, self.mu, self.log_std
        action_dim = int(self.action_space.shape[0])
        self.body = TaskNetwork(self.observation_space, network, self.settings, 2 * action_dim)

    def get_action_dist_params(self, obs: Any) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        """See `Actor`."""
        mean, log_std = self.body(self.extract_features(obs, self.features_extractor))[0].chunk(2, dim=1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), {}

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "network": self.network, "settings": self.settings}


class TaskCritics(ContinuousCritic):
    """The critics of `TaskSACPolicy`, as one network of several copies."""

    def __init__(self, *arguments: Any, network: str, settings: Mapping[str, Any], **options: Any) -> None:
        super().__init__(*arguments, **{**options, "net_arch": []})
        for index in range(self.n_critics):
            delattr(self, f"qf{index}")
        self.q_networks = []
        action_dim = int(np.prod(self.action_space.shape or (0,)))
        self.body = TaskNetwork(self.observation_space, network, settings, 1, self.n_critics, action_dim)

    def forward(self, obs: Any, actions: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `ContinuousCritic`."""
        return self.body(self.extract_features(obs, self.features_extractor), actions).unbind(0)

    def q1_forward(self, obs: Any, actions: torch.Tensor) -> torch.Tensor:
        """See `ContinuousCritic`."""
        return self.forward(obs, actions)[0]


class TaskSACPolicy(NamedNetworkPolicy, SACPolicy):
    """A policy for SAC of Stable-Baselines3, of networks of this suite."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """See `SACPolicy`."""
        options = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return TaskActor(**options, network=self.network, settings=self.settings).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        """See `SACPolicy`."""
        options = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return TaskCritics(**options, network=self.network, settings=self.settings).to(self.device)
