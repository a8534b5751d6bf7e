"""Multi-task soft actor-critic.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018, in the multi-task frame of Meta-World+ (McLean
et al., 2025): one temperature a task, batches with equally many transitions of every task, infinite-horizon bootstrap
at truncations, gradients clipped by global norm. Every loss is a vector with one entry a task, which is then reduced.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.algorithm import (
    COMBINERS,
    NETWORKS,
    Batch,
    Metrics,
    NetworkConfig,
    NetworkShape,
    OffPolicyAlgorithm,
    Problem,
)
from mtrl.compiling import compile_networks
from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError
from mtrl.types import Actions, Observations, State, TaskIds

PerTask = Float32[torch.Tensor, " task"]
HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
FINAL_LEARNING_RATE = 0.1
"""What is left of the learning rates after annealing."""


@dataclass(frozen=True)
class SACConfig:
    """Multi-task soft actor-critic; the defaults are those of Meta-World+."""

    actor: NetworkConfig = field(default_factory=NetworkConfig)
    """Actor network."""
    critic: NetworkConfig = field(default_factory=NetworkConfig)
    """Critic network."""
    actor_combiner: str = "mean"
    """How the tasks' actor losses become one; `mtrl list combiners` shows all."""
    critic_combiner: str = "mean"
    """How the tasks' critic losses become one."""
    batch_per_task: int = 128
    """Transitions of each task in a batch."""
    gamma: float = 0.99
    """Discount."""
    n_step: int = 1
    """Steps of reward before the critic's value: more reach further back, and trust the actions of older policies."""
    tau: float = 0.005
    """Share of the critic that moves into the target critic at every update."""
    actor_learning_rate: float = 3e-4
    """Adam's step size for the actor."""
    critic_learning_rate: float = 3e-4
    """Adam's step size for the critics."""
    temperature_learning_rate: float = 3e-4
    """Adam's step size for the log temperatures."""
    anneal_after: int = 0
    """Updates after which the learning rates of actor and critics begin to fall."""
    anneal_updates: int = 0
    """Updates over which they fall, linearly, to a tenth; 0 keeps them."""
    adam_epsilon: float = 1e-5
    """Adam's epsilon for actor and critics."""
    max_gradient_norm: float = 1.0
    """Gradients of actor and of critics are scaled down to this global norm."""
    initial_temperature: float = 1.0
    """Temperature of every task at the start."""
    target_entropy_per_action: float = -1.0
    """Target entropy for each real action number of a task."""
    min_log_std: float = -20.0
    """Lower bound of the policy's log standard deviation."""
    max_log_std: float = 2.0
    """Upper bound of the policy's log standard deviation."""

    def check(self) -> None:
        """Refuses what cannot work.

        Raises:
            UserError: A number is out of its bounds.
        """
        check_bounds(self, _BOUNDS, "algorithm.")
        if self.min_log_std >= self.max_log_std:
            raise UserError(
                f"--algorithm.min-log-std {self.min_log_std} is not below --algorithm.max-log-std {self.max_log_std}"
            )


_BOUNDS: Bounds = {
    "actor.width": (1, math.inf),
    "actor.depth": (1, 100),
    "critic.width": (1, math.inf),
    "critic.depth": (1, 100),
    "batch_per_task": (1, math.inf),
    "anneal_after": (0, math.inf),
    "anneal_updates": (0, math.inf),
    "gamma": (0.0, 1.0),
    "n_step": (1, 100),
    "tau": (0.0, 1.0),
    "actor_learning_rate": (0.0, 1.0),
    "critic_learning_rate": (0.0, 1.0),
    "temperature_learning_rate": (0.0, 1.0),
    "adam_epsilon": (0.0, 1.0),
    "max_gradient_norm": (1e-12, math.inf),
    "initial_temperature": (1e-12, 1e12),
    "target_entropy_per_action": (-100.0, 100.0),
}


class SAC(OffPolicyAlgorithm):
    """Actor, two critics with targets, one temperature a task.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed.
    """

    def __init__(self, config: SACConfig, problem: Problem) -> None:
        self.config, self.problem = config, problem
        self.batch_per_task, self.gamma, self.n_step = config.batch_per_task, config.gamma, config.n_step
        device, tasks = problem.device, problem.num_tasks
        obs_dim, self._action_dim = problem.obs_mask.shape[1], problem.action_mask.shape[1]
        initial = torch.Generator().manual_seed(problem.seed)
        actor_shape = NetworkShape(tasks, obs_dim, 2 * self._action_dim, copies=1, head_scale=1e-3)
        critic_shape = NetworkShape(tasks, self._action_dim + obs_dim, 1, copies=2, head_scale=3e-3)
        self.actor = NETWORKS.get(config.actor.name)(actor_shape, config.actor, initial).to(device)
        self.critics = NETWORKS.get(config.critic.name)(critic_shape, config.critic, initial).to(device)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.log_temperature = torch.full((tasks,), math.log(config.initial_temperature), device=device)
        self.log_temperature.requires_grad_(True)
        self._combine_actor = COMBINERS.get(config.actor_combiner)
        self._combine_critic = COMBINERS.get(config.critic_combiner)
        self._action_mask = problem.action_mask.to(device, torch.float32)
        self._target_entropy = config.target_entropy_per_action * self._action_mask.sum(dim=1)
        self._generator = torch.Generator(device).manual_seed(problem.seed + 1)
        self._updates = 0
        self._actor_parameters = list(self.actor.parameters())
        self._critic_parameters: list[torch.Tensor] = list(self.critics.parameters())
        self._target_parameters: list[torch.Tensor] = list(self.target_critics.parameters())
        self._optimizers = {
            "actor": self._adam(self._actor_parameters, config.actor_learning_rate, config.adam_epsilon),
            "critic": self._adam(self._critic_parameters, config.critic_learning_rate, config.adam_epsilon),
            "temperature": self._adam([self.log_temperature], config.temperature_learning_rate, 1e-8),
        }

    @staticmethod
    def _adam(parameters: Iterable[torch.Tensor], learning_rate: float, epsilon: float) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, learning_rate, eps=epsilon, fused=True)

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions `[env, act]`: the tanh of the mean, or a sample."""
        if not mode:
            return self._sample_actions(obs, task_id)[0]
        mean, _ = self._policy(obs, task_id)
        return torch.tanh(mean) * self._action_mask[task_id]

    def compile(self) -> None:
        """Compiles the networks."""
        compile_networks((self.actor, self.critics, self.target_critics))

    def update(self, batch: Batch) -> Metrics:
        """One step each of critics, actor and temperatures, then of the target critics."""
        self._anneal()
        critic_losses, values = self.critic_losses(batch)
        self._step("critic", self._combine_critic(critic_losses), self._critic_parameters)
        self.critics.requires_grad_(False)
        actor_losses, log_probs = self.actor_losses(batch)
        self._step("actor", self._combine_actor(actor_losses), self._actor_parameters)
        self.critics.requires_grad_(True)
        self._step("temperature", self.temperature_losses(log_probs).mean(), None)
        with torch.no_grad():
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage] - one kernel for all parameters
                self._target_parameters, self._critic_parameters, self.config.tau
            )
        return {
            "loss/critic": critic_losses.detach(),
            "loss/actor": actor_losses.detach(),
            "value": values,
            "entropy": -log_probs,
            "temperature": self.log_temperature.detach().exp(),
        }

    def _anneal(self) -> None:
        """Sets the learning rates of this update."""
        self._updates += 1
        if not self.config.anneal_updates:
            return
        progress = (self._updates - self.config.anneal_after) / self.config.anneal_updates
        factor = 1.0 + (FINAL_LEARNING_RATE - 1.0) * min(max(progress, 0.0), 1.0)
        for name, initial in (("actor", self.config.actor_learning_rate), ("critic", self.config.critic_learning_rate)):
            self._optimizers[name].param_groups[0]["lr"] = initial * factor

    def critic_losses(self, batch: Batch) -> tuple[PerTask, PerTask]:
        """Mean squared error of both critics, and the mean value, of each task."""
        with torch.no_grad():
            target = self.targets(batch)
        values = self._values(self.critics, batch.obs, batch.action, batch.task_id)
        error = (values - target).square().mean(dim=0)
        return self._by_task(error), self._by_task(values.detach().mean(dim=0))

    def targets(self, batch: Batch) -> Float32[torch.Tensor, " batch"]:
        """R + gamma (1 - d) (min Q'(s', a') - alpha log pi(a' | s')), with a' drawn at s'.

        Over n steps, R is their discounted rewards without the entropy between, and gamma its n-th power.
        """
        action, log_prob = self._sample_actions(batch.next_obs, batch.task_id)
        value = self._values(self.target_critics, batch.next_obs, action, batch.task_id).amin(dim=0)
        soft_value = value - self.log_temperature.detach().exp()[batch.task_id] * log_prob
        return batch.reward + batch.discount * (1.0 - batch.terminated) * soft_value

    def actor_losses(self, batch: Batch) -> tuple[PerTask, PerTask]:
        """Mean of alpha log pi(a | s) - min Q(s, a), and of log pi, of each task."""
        action, log_prob = self._sample_actions(batch.obs, batch.task_id)
        value = self._values(self.critics, batch.obs, action, batch.task_id).amin(dim=0)
        temperature = self.log_temperature.detach().exp()[batch.task_id]
        return self._by_task(temperature * log_prob - value), self._by_task(log_prob.detach())

    def temperature_losses(self, log_probs: PerTask) -> PerTask:
        """-log alpha (log pi + target entropy) of each task; the log temperature, not the temperature, is learned."""
        return -self.log_temperature * (log_probs + self._target_entropy)

    def _policy(self, obs: Observations, task_id: TaskIds) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_std = self.actor(obs, task_id).squeeze(0).chunk(2, dim=-1)
        return mean, log_std.clamp(self.config.min_log_std, self.config.max_log_std)

    def _sample_actions(self, obs: Observations, task_id: TaskIds) -> tuple[Actions, Float32[torch.Tensor, " batch"]]:
        """Squashed Gaussian actions and their log-probability over the task's real action numbers."""
        mean, log_std = self._policy(obs, task_id)
        noise = torch.empty_like(mean).normal_(generator=self._generator)
        raw = mean + log_std.exp() * noise
        mask = self._action_mask[task_id]
        log_gaussian = -0.5 * noise.square() - log_std - HALF_LOG_TWO_PI
        # log(1 - tanh(u)^2) written so that it neither overflows nor rounds to log(0)
        log_slope = 2.0 * (math.log(2.0) - raw - nn.functional.softplus(-2.0 * raw))
        return torch.tanh(raw) * mask, ((log_gaussian - log_slope) * mask).sum(dim=-1)

    @staticmethod
    def _values(critics: nn.Module, obs: torch.Tensor, action: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """Values `[copies, batch]`."""
        return critics(torch.cat([action, obs], dim=-1), task_id).squeeze(-1)

    def _by_task(self, values: Float32[torch.Tensor, " batch"]) -> PerTask:
        return values.unflatten(0, (self.problem.num_tasks, -1)).mean(dim=1)

    def _step(self, name: str, loss: torch.Tensor, clipped: Iterable[torch.Tensor] | None) -> None:
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clipped is not None:
            nn.utils.clip_grad_norm_(clipped, self.config.max_gradient_norm, foreach=True)
        optimizer.step()

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters of all networks and the log temperatures, by dotted name."""
        modules = {"actor": self.actor, "critics": self.critics, "target_critics": self.target_critics}
        named = {f"{part}.{name}": p.detach() for part, m in modules.items() for name, p in m.state_dict().items()}
        return {**named, "log_temperature": self.log_temperature.detach()}

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes what `weights` gave."""
        own = self.weights()
        check_weights(own, weights)
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(weights[name])

    def get_state(self) -> State:
        """Optimisers and the action generator, as they are now: later updates do not change what was returned."""
        optimizers = {name: copy.deepcopy(optimizer.state_dict()) for name, optimizer in self._optimizers.items()}
        return {"optimizers": optimizers, "generator": self._generator.get_state(), "updates": self._updates}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._generator.set_state(state["generator"].cpu())
        self._updates = int(state["updates"])

    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers of the actor and of both critics."""
        parts = {"actor": self._actor_parameters, "critics": self._critic_parameters}
        return {name: sum(p.numel() for p in parameters) for name, parameters in parts.items()}


def check_weights(own: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    """Makes sure that two sets of parameters have the same names and shapes.

    Raises:
        UserError: They have not.
    """
    for name in sorted({*own, *given}):
        if name not in own or name not in given or own[name].shape != given[name].shape:
            raise UserError(
                f"saved weights do not fit this agent at '{name}': load them with the run's own configuration"
            )
