"""Multi-task proximal policy optimisation.

Schulman et al., "Proximal Policy Optimization Algorithms", 2017, with generalised advantages (Schulman et al., 2016).
As in soft actor-critic here, every loss is a vector with one entry a task, and what becomes of it is the combiner's
part. Advantages and values may be on a scale of each task's own, since tasks pay very differently.
"""

import torch
from torch import nn

from mtrl.algorithm import Explored, Metrics, OnPolicyAlgorithm, Problem, Rows, Step
from mtrl.compiling import compiled
from mtrl.errors import UserError
from mtrl.graphs import Recorded, Recorder, prepare_parts, record_on_cuda
from mtrl.parts.combiner import Combiner, Objective
from mtrl.parts.critic import Backup, Critic
from mtrl.parts.groups import GroupMemory, Groups
from mtrl.parts.network import Network, TaskParameters, call_network
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.scale import Scale
from mtrl.randomness import go_on_drawing
from mtrl.rollouts import PerStep, RolloutBuffer
from mtrl.types import Actions, Observations, State, TaskIds

from .advantages import by_task, normalized, over_time, with_critic, with_linear_baseline
from .build import Sizes, build_actor_and_critics, build_combiners, count, learned
from .focus import Focus
from .gaussian import Gaussian, WithTaskSpread
from .optimizers import Learned, Optimizers
from .ppo_config import PPOConfig
from .precision import in_precision
from .statistics import ObsNormalizer
from .weights import take_weights

SLOWEST, FASTEST = 0.03, 10.0
"""Bounds of what the actor's learning rate is multiplied with to follow the divergence."""
PACE = 1.5
"""What it is multiplied with, or divided by, in an update."""


class PPO(OnPolicyAlgorithm):
    """Actor and critics with networks of their own.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed.

    Raises:
        UserError: A combiner needs temperatures, of which there are none.
    """

    def __init__(self, config: PPOConfig, problem: Problem) -> None:
        self.config, self.problem = config, problem
        self.rollout_steps, self.epochs, self.minibatches = config.rollout_steps, config.epochs, config.minibatches
        self.overlap = config.overlap
        device, tasks, action_dim = problem.device, problem.num_tasks, problem.action_mask.shape[1]
        self._mask = problem.action_mask.to(device, torch.float32)
        self._ranks = problem.ranks
        setting = Setting(tasks, config.gamma, device, problem.seed, None, problem.task_names, problem.ranks)
        self.critic: Critic = config.value.build(setting, config.value).to(device)
        outputs = action_dim if config.spread == "task" else 2 * action_dim
        sizes = Sizes(outputs, config.critics, values_of_actions=False)
        actor, self.critics = build_actor_and_critics(config, problem, self.critic, sizes, problem.seed)
        self.actor = WithTaskSpread(actor, tasks, action_dim).to(device) if config.spread == "task" else actor
        self.combiners = build_combiners(config, setting)
        for name, combiner in self.combiners.items():
            if any(part.needs_temperatures for part in combiner.modules() if isinstance(part, Combiner)):
                raise UserError(
                    f"combiner '{getattr(config, f'{name}_combiner').name}' weighs tasks by their temperatures, of "
                    "which this algorithm has none: choose another, such as --combiner mean"
                )
        self.scale: Scale = config.scale.build(setting, config.scale).to(device)
        self._normalizer = ObsNormalizer(problem.obs_mask.to(device), problem.ranks) if config.normalize_obs else None
        self._focus = Focus(config.focus_floor, tasks, device)
        self._policy = Gaussian(config.initial_log_std, config.min_log_std, config.max_log_std, config.squash)
        self._generator = torch.Generator(device).manual_seed(problem.ranks.seed(problem.seed + 1))
        self._groups, self._memory = Groups.equal(tasks, device), GroupMemory()
        self._call = in_precision(call_network, config.precision, device)
        self._parameters = {"actor": learned(self.actor), "critic": learned(self.critics)}
        rates = {"actor": config.actor_learning_rate, "critic": config.critic_learning_rate}
        self._optimizers = Optimizers(
            {
                name: Learned(parameters, rates[name], config.adam_epsilon, config.weight_decay)
                for name, parameters in self._parameters.items()
            }
        )
        self._pace = torch.ones((), device=device)
        self._rollouts = self._seen = 0
        self._progress = 0.0
        self._recorder: Recorder | None = None
        self._recorded: Recorded | None = None

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions `[env, act]`: that of the mean, or a sample."""
        groups = self._memory.of(task_id)
        outputs, mask = self._act_outputs(obs, groups)
        if mode:
            return groups.join(self._policy.mode(outputs, mask))
        return groups.join(self._policy.action(self._policy.sample(outputs, groups.split(self._noise(obs)), mask)[0]))

    @torch.no_grad()
    def explore(self, obs: Observations, task_id: TaskIds) -> Explored:
        """See `OnPolicyAlgorithm.explore`."""
        groups = self._memory.of(task_id)
        outputs, mask = self._act_outputs(obs, groups)
        drawn, log_prob = self._policy.sample(outputs, groups.split(self._noise(obs)), mask)
        return Explored(groups.join(self._policy.action(drawn)), groups.join(drawn), groups.join(log_prob))

    def _act_outputs(self, obs: Observations, groups: Groups) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the actor, `[group, sample, 2 * act]`, and which action numbers are real."""
        rows = self._normal(groups.split(obs), groups.task_id)
        return self._call(self.actor, rows, groups.task_id)[0], self._mask[groups.task_id].unsqueeze(1)

    def _normal(self, obs: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """Observations `[group, sample, obs]` as the networks see them."""
        return obs if self._normalizer is None else self._normalizer(obs, task_id)

    def _noise(self, obs: Observations) -> torch.Tensor:
        return torch.empty((len(obs), self._mask.shape[1]), device=obs.device).normal_(generator=self._generator)

    def compile(self) -> None:
        """Compiles the networks."""
        self._call = in_precision(compiled(call_network, "networks"), self.config.precision, self.problem.device)
        self._record_anew()

    def observe(self, step: Step) -> None:
        """Keeps the statistics of rewards and observations."""
        self.scale.observe(step.reward, step.terminated, step.ended, step.task_id)
        until = self.config.normalize_obs_steps
        if self._normalizer is not None and (not until or self._seen < until):
            self._normalizer.observe(step.obs)
        self._seen += len(step.reward) // self.problem.num_tasks

    @torch.no_grad()
    def digest(self, rollout: RolloutBuffer, last_obs: Observations, progress: float) -> Rows:
        """See `OnPolicyAlgorithm.digest`; what critics are normalised by follows the targets of the whole rollout."""
        self._rollouts, self._progress = self._rollouts + 1, progress
        tasks, config = self.problem.num_tasks, self.config
        if self._rollouts == 1:
            self.scale.refit(self._ranks.mean(by_task(rollout.reward, tasks).mean(dim=1))[0])
        factors = self.scale.factors(torch.full((tasks,), -torch.inf, device=self._mask.device))
        reward = rollout.reward * factors.repeat_interleave(rollout.reward.shape[1] // tasks)
        rows = {"obs": self._normal(by_task(rollout.obs, tasks), self._groups.task_id)}
        if config.baseline == "linear":
            advantage, _ = with_linear_baseline(
                rollout, last_obs, reward, tasks, config.gamma, config.gae_lambda, self._ranks
            )
        else:
            advantage, returns = with_critic(rollout, last_obs, reward, self._values, config.gamma, config.gae_lambda)
            rows |= self._targets(rows["obs"], by_task(returns, tasks))
        rows["advantage"] = normalized(by_task(advantage, tasks), config.advantages, self._ranks)
        return rows | {name: by_task(getattr(rollout, name), tasks) for name in ("action", "log_prob")}

    def _values(self, obs: torch.Tensor) -> PerStep:
        """Of observations `[time, env, obs]`: the mean over critics, `[time, env]`."""
        rows = self._normal(by_task(obs, self.problem.num_tasks), self._groups.task_id)
        values = self.critic.values(self._call(self.critics, rows, self._groups.task_id), self._groups.task_id)
        return over_time(values.mean(dim=0), len(obs))

    def _targets(self, obs: torch.Tensor, returns: torch.Tensor) -> Rows:
        """What critics learn towards, `[task, sample, ...]`, and with `value_clip` what they may not leave."""
        task_id, nothing = self._groups.task_id, torch.zeros_like(returns)
        outputs = self._call(self.critics, obs, task_id)
        plain = self.critic.target(outputs, Backup(returns, nothing, nothing), task_id, "mean")
        rows = {"target": self.critic.adapt(plain, task_id, (self.critics,))}
        if self.config.value_clip:  # as the critics give them from now on
            rows["output"] = self._call(self.critics, obs, task_id).movedim(0, 2)
        return rows

    def update(self, rows: Rows) -> Metrics:
        """One step each of critics and actor."""
        factor = 1.0 + (self.config.final_learning_rate - 1.0) * self._progress
        self._optimizers.scale_rates(("actor", "critic"), factor)
        self._optimizers.rates["actor"].mul_(self._pace)
        return self._apply(rows) if self._recorded is None else self._recorded(rows)

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

    def _apply(self, rows: Rows) -> Metrics:
        """An update with these rows; all of it is on the device."""
        report: Metrics = {}
        if self.config.baseline == "critic":
            report["loss/critic"] = self._step("critic", self.critics, self.critic_objective(rows, report))
        report["loss/actor"] = self._step("actor", self.actor, self.actor_objective(rows, report))
        if self.config.target_kl:
            self._follow(self._ranks.mean(report["kl"].mean())[0])
        report.update(self._focus.report())
        if self.config.scale.name != "none":
            report["reward_scale"] = self.scale.factors(torch.full_like(report["kl"], -torch.inf))
        for name, combiner in self.combiners.items():
            report.update({f"{key}/{name}": value for key, value in combiner.report().items()})
        return report

    @torch.no_grad()
    def _follow(self, kl: torch.Tensor) -> None:
        """The actor's learning rate follows how far it moves the policy."""
        slower, faster = kl > 2.0 * self.config.target_kl, kl < 0.5 * self.config.target_kl
        self._pace.mul_(torch.where(slower, 1.0 / PACE, torch.where(faster, PACE, 1.0))).clamp_(SLOWEST, FASTEST)

    def critic_objective(self, rows: Rows, report: Metrics) -> Objective:
        """Loss of all critics, their mean over copies and samples, for each task."""
        task_id, reach = self._groups.task_id, self.config.value_clip

        def losses(parameters: TaskParameters | None) -> PerTask:
            outputs = self._call(self.critics, rows["obs"], task_id, parameters)
            report.setdefault("value", self.critic.values(outputs.detach(), task_id).mean(dim=0).mean(dim=1))
            each = self.critic.losses(outputs, rows["target"], task_id)
            if reach:
                before = rows["output"].movedim(2, 0)
                near = before + (outputs - before).clamp(-reach, reach)
                each = torch.maximum(each, self.critic.losses(near, rows["target"], task_id))
            return self._focus(each.mean(dim=0).mean(dim=1))

        return Objective(self.critics, self.problem.num_tasks, losses, ranks=self._ranks)

    def actor_objective(self, rows: Rows, report: Metrics) -> Objective:
        """-min(r A, clip(r) A) less the entropy's worth, the mean for each task, with r the ratio of probabilities."""
        mask, clip = self._mask.unsqueeze(1), self.config.clip

        def losses(parameters: TaskParameters | None) -> PerTask:
            outputs = self._call(self.actor, rows["obs"], self._groups.task_id, parameters)[0]
            change = self._policy.log_prob(outputs, rows["action"], mask) - rows["log_prob"]
            ratio, advantage = change.exp(), rows["advantage"]
            gain = torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)
            entropy = self._policy.entropy(outputs, mask)
            if "kl" not in report:
                left = (ratio.detach() - 1.0).abs() > clip
                # Schulman's estimate: as true on average as -log r, never negative
                report["kl"] = (ratio.detach() - 1.0 - change.detach()).mean(dim=1)
                report["clipped"], report["entropy"] = left.float().mean(dim=1), entropy.detach().mean(dim=1)
            return self._focus(-(gain + self.config.entropy_weight * entropy).mean(dim=1))

        return Objective(self.actor, self.problem.num_tasks, losses, ranks=self._ranks)

    def _step(self, name: str, network: Network, objective: Objective) -> PerTask:
        """One step of a network, as its combiner has it; the losses before it."""
        combiner = self.combiners[name]
        losses = combiner.backward(objective)
        nn.utils.clip_grad_norm_(self._parameters[name], self.config.max_gradient_norm, foreach=True)
        self._optimizers[name].step()
        network.project()
        combiner.stepped(objective)
        return losses

    def follow_success(self, success: PerTask) -> None:
        """See `Algorithm.follow_success`."""
        self._focus.follow(success)

    def begin_elsewhere(self) -> None:
        """See `Algorithm.begin_elsewhere`."""
        self.scale.forget_worlds()

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters of both networks, and what critics and observations are normalised by."""
        modules = {"actor": self.actor, "critics": self.critics, "critic": self.critic}
        modules |= {"obs": self._normalizer} if self._normalizer is not None else {}
        return {f"{part}.{name}": p.detach() for part, m in modules.items() for name, p in m.state_dict().items()}

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes what `weights` gave."""
        take_weights(self.weights(), weights)

    def get_state(self) -> State:
        """Optimisers, generator and counters, as they are now: later updates do not change what was returned."""
        return {
            "optimizers": self._optimizers.get_state(),
            "combiners": {name: combiner.get_state() for name, combiner in self.combiners.items()},
            "scale": self.scale.get_state(),
            "focus": self._focus.get_buffer("weight").clone(),
            "generator": self._generator.get_state(),
            "pace": self._pace.clone(),
            "counts": [self._rollouts, self._seen],
            "progress": self._progress,
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._optimizers.set_state(state["optimizers"])
        for name, combiner in self.combiners.items():
            combiner.set_state(state["combiners"][name])
        self.scale.set_state(state["scale"])
        self._focus.get_buffer("weight").copy_(state["focus"])
        go_on_drawing(self._generator, state["generator"])
        self._pace.copy_(state["pace"])
        self._rollouts, self._seen = (int(number) for number in state["counts"])
        self._progress = float(state["progress"])
        self._record_anew()

    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers of the actor and of all critics, which learn nothing beside a linear baseline."""
        critics = count(self._parameters["critic"]) if self.config.baseline == "critic" else 0
        return {"actor": count(self._parameters["actor"]), "critics": critics}
