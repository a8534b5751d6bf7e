"""Multi-task soft actor-critic.

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018, in the multi-task frame of Meta-World+ (McLean
et al., 2025): one temperature a task, batches with equally many transitions of every task, infinite-horizon bootstrap
at truncations, gradients clipped by global norm. Every loss is a vector with one entry a task; what becomes of it is
the combiner's part, how values are represented the critic's, and how tasks share layers the networks'.
"""

import copy
import dataclasses
import math
from dataclasses import dataclass, field

import torch
from torch import nn

from mtrl.algorithm import Batch, Metrics, OffPolicyAlgorithm, Problem, Replay, Step
from mtrl.compiling import compiled
from mtrl.graphs import Recorded, Recorder, prepare_parts, record_on_cuda
from mtrl.parts.combiner import Objective
from mtrl.parts.critic import Backup, Critic, reduce_critics
from mtrl.parts.groups import GroupMemory, Groups
from mtrl.parts.network import Network, Outputs, TaskParameters, call_network
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.scale import Scale
from mtrl.randomness import go_on_drawing
from mtrl.types import Actions, Observations, State, TaskIds

from .build import build_combiners, count, learned
from .focus import Focus
from .policy import SquashedGaussian
from .precision import in_precision
from .sac_build import build_networks, build_optimizers, rate_factor, reset_seed, reset_tasks
from .sac_config import SACConfig
from .statistics import ObsNormalizer
from .weights import take_weights


class SAC(OffPolicyAlgorithm):
    """Actor, critics with targets, one temperature a task.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed.
    """

    def __init__(self, config: SACConfig, problem: Problem) -> None:
        self.config, self.problem = config, problem
        self.batch_per_task = problem.ranks.share(config.batch_per_task, "--algorithm.batch-per-task")
        self.gamma, self.n_step = config.gamma, config.n_step
        self._mask = problem.action_mask.to(problem.device, torch.float32)
        self._target_entropy = config.target_entropy_per_action * self._mask.sum(dim=1)
        self._ranks, tasks, names = problem.ranks, problem.num_tasks, problem.task_names
        entropy = self._target_entropy
        self._setting = Setting(tasks, config.gamma, problem.device, problem.seed, entropy, names, self._ranks)
        self.critic: Critic = config.value.build(self._setting, config.value).to(problem.device)
        self.actor, self.critics = build_networks(config, problem, self.critic, problem.seed)
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        temperatures = 1 if config.shared_temperature else problem.num_tasks
        self.log_temperature = torch.zeros(temperatures, device=problem.device, requires_grad=True)
        self._start_temperatures()
        self.combiners = build_combiners(config, self._setting)
        self.scale: Scale = config.scale.build(self._setting, config.scale).to(problem.device)
        obs_mask = problem.obs_mask.to(problem.device)
        self._normalizer = ObsNormalizer(obs_mask, problem.ranks) if config.normalize_obs else None
        self._focus = Focus(config.focus_floor, problem.num_tasks, problem.device)
        self._policy = SquashedGaussian(config.spread, config.min_log_std, config.max_log_std)
        self._generator = torch.Generator(problem.device).manual_seed(problem.ranks.seed(problem.seed + 1))
        self._groups, self._memory = Groups.equal(problem.num_tasks, problem.device), GroupMemory()
        self._call = in_precision(call_network, config.precision, problem.device)
        self._updates, self._resets = 0, 0
        self._parameters = {"actor": learned(self.actor), "critic": learned(self.critics)}
        pairs = zip(self.critics.parameters(), self.target_critics.parameters(), strict=True)
        self._target_parameters: list[torch.Tensor] = [target for own, target in pairs if own.requires_grad]
        self._optimizers = build_optimizers(config, {**self._parameters, "temperature": [self.log_temperature]})
        self._recorder: Recorder | None = None
        self._recorded: Recorded | None = None

    def _start_temperatures(self) -> None:
        with torch.no_grad():
            self.log_temperature.fill_(math.log(self.config.initial_temperature))

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions `[env, act]`: the tanh of the mean, or a sample."""
        groups = self._memory.of(task_id)
        outputs = self._act_outputs(self._normal(groups.split(obs), groups.task_id), groups.task_id)
        mask = self._mask[groups.task_id].unsqueeze(1)
        if mode:
            return groups.join(self._policy.mode(outputs, mask))
        noise = groups.split(self._noise(len(obs)))
        return groups.join(self._policy.sample(outputs, noise, mask)[0])

    def _normal(self, obs: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """Observations `[group, sample, obs]` as the networks see them."""
        return obs if self._normalizer is None else self._normalizer(obs, task_id)

    def _act_outputs(self, obs: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        return self._call(self.actor, obs, task_id)[0]

    def _noise(self, rows: int) -> torch.Tensor:
        shape = (rows, self._mask.shape[1])
        return torch.empty(shape, device=self._mask.device).normal_(generator=self._generator)

    def compile(self) -> None:
        """Compiles the networks."""
        self._call = in_precision(compiled(call_network, "networks"), self.config.precision, self.problem.device)
        self._record_anew()

    def observe(self, step: Step) -> None:
        """Keeps the statistics of rewards and observations."""
        self.scale.observe(step.reward, step.terminated, step.ended, step.task_id)
        if self._normalizer is not None:
            self._normalizer.observe(step.obs)

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
        fresh = build_networks(self.config, self.problem, self.critic, seed)
        for network, new in zip((self.actor, self.critics), fresh, strict=True):
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
        self._optimizers.scale_rates(("actor", "critic"), rate_factor(self.config, self._updates))
        return self._apply(vars(batch)) if self._recorded is None else self._recorded(vars(batch))

    def record(self, recorder: Recorder | None = None) -> None:
        """Has updates recorded and replayed: on CUDA as graphs; elsewhere only where a recorder is given."""
        self._recorder = recorder or (record_on_cuda if self.problem.device.type == "cuda" else None)
        self._record_anew()

    def _record_anew(self) -> None:
        """Called where what an update works on lies elsewhere from now on."""
        if self._recorder is None or not all(combiner.replayable for combiner in self.combiners.values()):
            return
        generators = prepare_parts((*self.combiners.values(), self.critic, self.scale))
        self._recorded = Recorded("updates", self._apply, [self._generator, *generators], self._recorder)

    def _apply(self, fields: dict[str, torch.Tensor]) -> Metrics:
        """An update with this batch; all of it is on the device."""
        update = _Update(self._grouped(Batch(**fields)))
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
            reset_tasks((self.actor, self.critics, self.target_critics), ~update.kept, self._generator)
            update.report["sat_out"] = (~update.kept).to(torch.float32)
        update.report.update(self._focus.report())
        if self.config.scale.name != "none":
            update.report["reward_scale"] = self.scale.factors(self._log_temperatures())
        for name, combiner in self.combiners.items():
            update.report.update({f"{key}/{name}": value for key, value in combiner.report().items()})
        temperature = self._log_temperatures().exp()
        return {"loss/critic": critic_losses, "loss/actor": actor_losses, "temperature": temperature, **update.report}

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

        return Objective(self.critics, self.problem.num_tasks, losses, self._log_temperatures(), self._ranks)

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

        return Objective(self.actor, self.problem.num_tasks, losses, self._log_temperatures(), self._ranks)

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

    def _step(self, name: str, network: Network, objective: Objective) -> PerTask:
        """One step of a network, as its combiner has it; the losses before it."""
        combiner = self.combiners[name]
        losses = combiner.backward(objective)
        nn.utils.clip_grad_norm_(self._parameters[name], self.config.max_gradient_norm, foreach=True)
        self._optimizers[name].step()
        network.project()
        combiner.stepped(objective)
        return losses

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

    def follow_success(self, success: PerTask) -> None:
        """See `Algorithm.follow_success`."""
        self._focus.follow(success)

    def begin_elsewhere(self) -> None:
        """See `Algorithm.begin_elsewhere`."""
        self.scale.forget_worlds()

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters of all networks, what critics and observations are normalised by, and the log temperatures."""
        modules = {"actor": self.actor, "critics": self.critics, "target_critics": self.target_critics}
        modules |= {"critic": self.critic} | ({"obs": self._normalizer} if self._normalizer is not None else {})
        named = {f"{part}.{name}": p.detach() for part, m in modules.items() for name, p in m.state_dict().items()}
        return {**named, "log_temperature": self.log_temperature.detach()}

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes what `weights` gave."""
        take_weights(self.weights(), weights)

    def get_state(self) -> State:
        """Optimisers and the action generator, as they are now: later updates do not change what was returned."""
        return {
            "optimizers": self._optimizers.get_state(),
            "combiners": {name: combiner.get_state() for name, combiner in self.combiners.items()},
            "scale": self.scale.get_state(),
            "focus": self._focus.get_buffer("weight").clone(),
            "generator": self._generator.get_state(),
            "updates": self._updates,
            "resets": self._resets,
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._optimizers.set_state(state["optimizers"])
        for name, combiner in self.combiners.items():
            combiner.set_state(state["combiners"][name])
        self.scale.set_state(state["scale"])
        self._focus.get_buffer("weight").copy_(state["focus"])
        go_on_drawing(self._generator, state["generator"])
        self._updates, self._resets = int(state["updates"]), int(state["resets"])
        self._record_anew()

    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers of the actor and of all critics."""
        return {"actor": count(self._parameters["actor"]), "critics": count(self._parameters["critic"])}


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
