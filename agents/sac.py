"""Multi-task soft actor-critic.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018, in the multi-task frame of Meta-World+ (McLean
et al., 2025): one temperature a task, batches with equally many transitions of every task, infinite-horizon bootstrap
at truncations, gradients clipped by global norm.
"""

import copy
import dataclasses
import math
from dataclasses import dataclass, field

import torch

from mtrl.algorithm import Batch, Metrics, OffPolicyAlgorithm, Problem, Replay
from mtrl.parts.combiner import Objective
from mtrl.parts.critic import Backup, reduce_critics
from mtrl.parts.network import Network, Outputs, TaskParameters
from mtrl.parts.part import PerTask
from mtrl.types import State

from .actor_critic import ActorCritic
from .build import Sizes, build_actor_and_critics, build_combiners
from .optimizers import Learned, Optimizers
from .policy import SquashedGaussian
from .sac_config import SACConfig
from .sac_schedule import rate_factor, reset_seed, reset_tasks


class SAC(ActorCritic[SACConfig], OffPolicyAlgorithm):
    """Actor, critics with targets, one temperature a task.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed.
    """

    def __init__(self, config: SACConfig, problem: Problem) -> None:
        self._target_entropy = config.target_entropy_per_action * problem.action_mask.to(problem.device).sum(dim=1)
        policy = SquashedGaussian(config.spread, config.min_log_std, config.max_log_std)
        super().__init__(config, problem, policy, self._target_entropy)
        self.batch_per_task = problem.ranks.share(config.batch_per_task, "--algorithm.batch-per-task")
        self.gamma, self.n_step = config.gamma, config.n_step
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        pairs = zip(self.critics.parameters(), self.target_critics.parameters(), strict=True)
        self._target_parameters: list[torch.Tensor] = [target for own, target in pairs if own.requires_grad]
        temperatures = 1 if config.shared_temperature else problem.num_tasks
        self.log_temperature = torch.zeros(temperatures, device=problem.device, requires_grad=True)
        self._start_temperatures()
        rate, beta = config.temperature_learning_rate, config.temperature_beta
        temperature = Learned([self.log_temperature], rate, beta=beta)
        self._optimizers = Optimizers({**self._sides(), "temperature": temperature})
        self._in_common = torch.Generator(problem.device).manual_seed(problem.seed + 2)
        self._generators.append(self._in_common)
        self._updates = self._resets = 0

    def _build_networks(self, seed: int) -> tuple[Network, Network]:
        sizes = Sizes(2 * self.problem.action_mask.shape[1], self.config.critics, values_of_actions=True)
        return build_actor_and_critics(self.config, self.problem, self.critic, sizes, seed)

    def _start_temperatures(self) -> None:
        with torch.no_grad():
            self.log_temperature.fill_(math.log(self.config.initial_temperature))

    def begin_updates(self, steps_per_task: int, replay: Replay) -> int:
        """Begins anew where a reset is due."""
        every = self.config.reset_every
        due = steps_per_task // every if every else 0
        if due > self._resets or not self._updates:
            self.scale.refit(self._ranks.mean(replay.mean_reward())[0])
        if due <= self._resets:
            return 0
        self._resets = due
        self._begin_anew()
        return self.config.reset_updates

    @torch.no_grad()
    def _begin_anew(self) -> None:
        """Fresh networks, targets, combiners, temperatures and optimisers, in the same tensors; statistics go on."""
        seed = reset_seed(self.problem.seed, self._resets)
        for network, new in zip((self.actor, self.critics), self._build_networks(seed), strict=True):
            network.load_state_dict(new.state_dict())
        self.target_critics.load_state_dict(self.critics.state_dict())
        for name, combiner in build_combiners(self.config, dataclasses.replace(self._setting, seed=seed)).items():
            self.combiners[name].set_state(combiner.get_state())
        self._start_temperatures()
        self._optimizers.begin_anew()
        self._record_anew()

    def update(self, batch: Batch) -> Metrics:
        """One step each of critics, actor and temperatures, then of the target critics."""
        self._updates += 1
        if self.config.anneal_updates:
            self._optimizers.scale_rates(("actor", "critic"), rate_factor(self.config, self._updates))
        return self._update(vars(batch))

    def _apply(self, rows: dict[str, torch.Tensor]) -> Metrics:
        update = _Update(self._grouped(Batch(**rows)))
        critic_losses = self._step("critic", self.critics, self.critic_objective(update))
        self._let_critics_learn(False)
        try:
            actor_losses = self._step("actor", self.actor, self.actor_objective(update))
        finally:
            self._let_critics_learn(True)
        (entropy,) = self._ranks.mean(update.report["entropy"])
        self._step_temperatures(entropy)
        with torch.no_grad():
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage] - one kernel for all parameters
                self._target_parameters, self._parameters["critic"], self.config.tau
            )
        if update.kept is not None:
            reset_tasks((self.actor, self.critics, self.target_critics), ~update.kept, self._in_common)
            update.report["sat_out"] = (~update.kept).to(torch.float32)
        temperature = self._log_temperatures().exp()
        losses = {"loss/critic": critic_losses, "loss/actor": actor_losses, "temperature": temperature}
        return {**losses, **update.report, **self._report_parts()}

    def _let_critics_learn(self, learn: bool) -> None:
        """Whether gradients of the critics' parameters are computed; frozen ones never have any."""
        for parameter in self._parameters["critic"]:
            parameter.requires_grad_(learn)

    def _grouped(self, batch: Batch) -> Batch:
        """The batch with an axis of tasks, `[task, sample, ...]`, rewards and observations on their scales."""
        rows = {field.name: self._groups.split(getattr(batch, field.name)) for field in dataclasses.fields(batch)}
        rows["reward"] = rows["reward"] * self.scale.factors(self._log_temperatures()).unsqueeze(1)
        for name in ("obs", "next_obs"):
            rows[name] = self._normal(rows[name], self._groups.task_id)
        return Batch(**rows)

    def _log_temperatures(self) -> PerTask:
        """Of every task, without gradient."""
        return self.log_temperature.detach().expand(self.problem.num_tasks)

    def critic_objective(self, update: "_Update") -> Objective:
        """Loss of all critics, their mean over copies and samples, for each task."""
        batch, task_id = update.batch, self._groups.task_id
        with torch.no_grad():
            networks = (self.critics, self.target_critics)
            target = self.critic.adapt(self.targets(batch), task_id, networks)

        def losses(parameters: TaskParameters | None) -> PerTask:
            outputs = self._outputs(self.critics, batch.obs, batch.action, parameters)
            values = self.critic.values(outputs.detach(), task_id)
            update.report.setdefault("value", values.mean(dim=0).mean(dim=1))
            each = self.critic.losses(outputs, target, task_id).mean(dim=0).mean(dim=1)
            if not self.config.loss_limit:
                return self._focus(each)
            if update.kept is None:
                update.kept = self._ranks.mean(each.detach())[0] <= self.config.loss_limit
            return self._focus(torch.where(update.kept, each, 0.0))

        return self._objective(self.critics, losses)

    def targets(self, batch: Batch) -> torch.Tensor:
        """What the critics learn towards, of which R + gamma (1 - d) (Q'(s', a') - alpha log pi(a' | s')) is the value.

        a' is drawn at s'. Over n steps, R is their discounted rewards without the entropy between, and gamma its n-th
        power.

        Args:
            batch: Grouped by task.
        """
        action, log_prob = self._sample_actions(batch.next_obs, self._noise(batch.reward.numel()), None)
        outputs = self._outputs(self.target_critics, batch.next_obs, action, None)
        bonus = -self._log_temperatures().exp().unsqueeze(1) * log_prob
        backup = Backup(batch.reward, batch.discount * (1.0 - batch.terminated), bonus)
        return self.critic.target(outputs, backup, self._groups.task_id, self.config.target_reduction)

    def actor_objective(self, update: "_Update") -> Objective:
        """Mean of alpha log pi(a | s) - Q(s, a) for each task, through actions that follow from noise."""
        batch = update.batch
        noise = self._noise(batch.reward.numel())
        temperature = self._log_temperatures().exp().unsqueeze(1)

        def losses(parameters: TaskParameters | None) -> PerTask:
            action, log_prob = self._sample_actions(batch.obs, noise, parameters)
            outputs = self._outputs(self.critics, batch.obs, action, None)
            values = reduce_critics(self.critic.values(outputs, self._groups.task_id), self.config.actor_reduction)
            update.report.setdefault("entropy", -log_prob.detach().mean(dim=1))
            each = (temperature * log_prob - values).mean(dim=1)
            return self._focus(each if update.kept is None else torch.where(update.kept, each, 0.0))

        return self._objective(self.actor, losses)

    def _sample_actions(
        self, obs: torch.Tensor, noise: torch.Tensor, parameters: TaskParameters | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions `[task, sample, act]` and their log-probability over the task's real action numbers."""
        outputs = self._call(self.actor, obs, self._groups.task_id, parameters)[0]
        return self._policy.sample(outputs, self._groups.split(noise), self._mask.unsqueeze(1))

    def _outputs(
        self, critics: Network, obs: torch.Tensor, action: torch.Tensor, parameters: TaskParameters | None
    ) -> Outputs:
        return self._call(critics, torch.cat([action, obs], dim=-1), self._groups.task_id, parameters)

    def _step_temperatures(self, entropy: PerTask) -> None:
        optimizer = self._optimizers["temperature"]
        optimizer.zero_grad(set_to_none=True)
        self.temperature_losses(entropy).mean().backward()
        optimizer.step()
        lowest, highest = self.config.min_temperature, self.config.max_temperature
        if lowest > 0.0 or highest < 1e12:
            with torch.no_grad():
                self.log_temperature.clamp_(math.log(lowest) if lowest else -math.inf, math.log(highest))

    def temperature_losses(self, entropy: PerTask) -> PerTask:
        """Log alpha (entropy - target entropy) of each task; the log temperature, not the temperature, is learned."""
        return self.log_temperature * (entropy - self._target_entropy)

    def weights(self) -> dict[str, torch.Tensor]:
        """See `ActorCritic.weights`; the target critics and the log temperatures too."""
        targets = {f"target_critics.{name}": p.detach() for name, p in self.target_critics.state_dict().items()}
        return {**super().weights(), **targets, "log_temperature": self.log_temperature.detach()}

    def get_state(self) -> State:
        """See `ActorCritic.get_state`."""
        return {**super().get_state(), "updates": self._updates, "resets": self._resets}

    def set_state(self, state: State) -> None:
        """See `ActorCritic.set_state`."""
        self._updates, self._resets = int(state["updates"]), int(state["resets"])
        super().set_state(state)


@dataclass
class _Update:
    """What the parts of one update share.

    Attributes:
        batch: Grouped by task.
        report: What is told of it.
        kept: `[task]`, whose losses are not extreme; None: all.
    """

    batch: Batch
    report: Metrics = field(default_factory=dict)
    kept: torch.Tensor | None = None
