"""Multi-task proximal policy optimisation.

Schulman et al., "Proximal Policy Optimization Algorithms", 2017, with generalised advantages (Schulman et al., 2016).
Advantages and values may be on a scale of each task's own, since tasks pay very differently.
"""

import torch

from mtrl.algorithm import Explored, Metrics, OnPolicyAlgorithm, Problem, Rows
from mtrl.errors import UserError
from mtrl.parts.combiner import Combiner, Objective
from mtrl.parts.critic import Backup, Samples
from mtrl.parts.network import Network, Outputs, TaskParameters
from mtrl.parts.part import PerTask
from mtrl.rollouts import PerStep, RolloutBuffer
from mtrl.types import Observations, State, TaskIds

from .actor_critic import ActorCritic
from .advantages import by_task, normalized, over_time, with_linear_baseline, with_values
from .build import Sizes, build_actor_and_critics
from .gaussian import CommonSpread, Gaussian, TaskSpread, WithSpread
from .optimizers import Optimizers
from .ppo_config import PPOConfig

SLOWEST, FASTEST = 0.03, 10.0
"""Bounds of what the actor's learning rate is multiplied with to follow the divergence."""
PACE = 1.5
"""What it is multiplied with, or divided by, in an update."""


class PPO(ActorCritic[PPOConfig], OnPolicyAlgorithm):
    """Actor and critics with networks of their own.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed.

    Raises:
        UserError: A combiner needs temperatures, of which there are none.
    """

    def __init__(self, config: PPOConfig, problem: Problem) -> None:
        self._policy: Gaussian
        self._highest = torch.full((), config.max_log_std, device=problem.device)
        highest = self._highest if config.max_log_std_fall else config.max_log_std
        policy = Gaussian(config.initial_log_std, config.min_log_std, highest, config.squash)
        super().__init__(config, problem, policy)
        self.rollout_steps, self.epochs, self.minibatches = config.rollout_steps, config.epochs, config.minibatches
        self.overlap = config.overlap
        for name, combiner in self.combiners.items():
            if any(part.needs_temperatures for part in combiner.modules() if isinstance(part, Combiner)):
                raise UserError(
                    f"combiner '{getattr(config, f'{name}_combiner').name}' weighs tasks by their temperatures, of "
                    "which this algorithm has none: choose another, such as --combiner mean"
                )
        self._optimizers = Optimizers(self._sides())
        self._pace = torch.ones((), device=problem.device)
        self._rollouts, self._progress = 0, 0.0

    def _build_networks(self, seed: int) -> tuple[Network, Network]:
        return self._build_bodies(self.problem, seed)

    def _build_bodies(self, problem: Problem, seed: int) -> tuple[Network, Network]:
        """Actor and critics that see observations of `problem`."""
        config, action_dim = self.config, problem.action_mask.shape[1]
        by_network = config.spread == "state"
        sizes = Sizes(2 * action_dim if by_network else action_dim, config.critics, values_of_actions=False)
        actor, critics = build_actor_and_critics(config, problem, self.critic, sizes, seed)
        if not by_network:
            each = config.spread == "task"
            spread = TaskSpread(1, problem.num_tasks, action_dim) if each else CommonSpread(1, action_dim)
            actor = WithSpread(actor, spread).to(problem.device)
        return actor, critics

    @torch.no_grad()
    def explore(self, obs: Observations, task_id: TaskIds) -> Explored:
        """See `OnPolicyAlgorithm.explore`."""
        groups = self._memory.of(task_id)
        outputs, mask = self._act_outputs(obs, groups)
        drawn, log_prob = self._policy.sample(outputs, groups.split(self._noise(len(obs))), mask)
        return Explored(groups.join(self._policy.action(drawn)), groups.join(drawn), groups.join(log_prob))

    @torch.no_grad()
    def digest(self, rollout: RolloutBuffer, last_obs: Observations, progress: float) -> Rows:
        """See `OnPolicyAlgorithm.digest`; what critics are normalised by follows the targets of the whole rollout."""
        self._rollouts = self._rollouts + 1
        self._come_to(progress)
        tasks, config = self.problem.num_tasks, self.config
        if self._rollouts == 1:
            self.scale.refit(self._ranks.mean(by_task(rollout.reward, tasks).mean(dim=1))[0])
        factors = self.scale.factors(self._log_temperatures())
        reward = rollout.reward * factors.repeat_interleave(rollout.reward.shape[1] // tasks)
        rows = {name: by_task(getattr(rollout, name), tasks) for name in ("obs", "action", "log_prob")}
        if config.baseline == "linear":
            advantage, _ = with_linear_baseline(
                rollout, last_obs, reward, tasks, config.gamma, config.gae_lambda, self._ranks
            )
            rows["obs"] = self._normal(rows["obs"], self._groups.task_id)
        else:
            rows["obs"], outputs, end = self._judge(rollout, last_obs)
            value = self._values(outputs, len(reward))
            advantage, returns = with_values(rollout, reward, value, end[0], end[1:], config.gamma, config.gae_lambda)
            rows |= self._targets(rows["obs"], outputs, by_task(returns, tasks))
        rows["advantage"] = normalized(by_task(advantage, tasks), config.advantages, self._ranks)
        return rows

    def _come_to(self, progress: float) -> None:
        """Takes in how much of the run is done, and has the noise of the policy fall with it."""
        self._progress = progress
        self._highest.fill_(self.config.max_log_std - self.config.max_log_std_fall * progress)

    def _judge(self, rollout: RolloutBuffer, last_obs: Observations) -> tuple[torch.Tensor, Outputs, PerStep]:
        """What the critics make of a rollout.

        Returns:
            Observations `[task, sample, obs]` as networks see them; what the critics give for them; values where the
            rollout ends, and then where its episodes do, `[1 + row, env]`.
        """
        ends, judged = torch.cat([last_obs[None], rollout.final_obs]), []
        for obs in (rollout.obs, ends):
            rows = self._normal(by_task(obs, self.problem.num_tasks), self._groups.task_id)
            judged.append((rows, self._call(self.critics, rows, self._groups.task_id)))
        return *judged[0], self._values(judged[1][1], len(ends))

    def _values(self, outputs: Outputs, steps: int) -> PerStep:
        """Of critics' outputs for so many steps: the mean over critics, `[time, env]`."""
        return over_time(self.critic.values(outputs, self._groups.task_id).mean(dim=0), steps)

    def _targets(self, obs: torch.Tensor, outputs: Outputs, returns: Samples) -> Rows:
        """What critics learn towards, `[task, sample, ...]`, and with `value_clip` what they may not leave."""
        task_id, nothing = self._groups.task_id, torch.zeros_like(returns)
        plain = self.critic.target(outputs, Backup(returns, nothing, nothing), task_id, "mean")
        rows = {"target": self.critic.adapt(plain, task_id, (self.critics,))}
        if self.config.value_clip:  # as the critics give them from now on
            rows["output"] = self._call(self.critics, obs, task_id).movedim(0, 2)
        return rows

    def update(self, rows: Rows) -> Metrics:
        """One step each of critics and actor."""
        final, target_kl = self.config.final_learning_rate, self.config.target_kl
        if final < 1.0 or target_kl:
            self._optimizers.scale_rates(("actor", "critic"), 1.0 + (final - 1.0) * self._progress)
        if target_kl:
            self._optimizers.rates["actor"].mul_(self._pace)
        return self._update(rows)

    def _apply(self, rows: Rows) -> Metrics:
        report: Metrics = {}
        if self.config.baseline == "critic":
            report["loss/critic"] = self._step("critic", self.critics, self.critic_objective(rows, report))
        report["loss/actor"] = self._step("actor", self.actor, self.actor_objective(rows, report))
        if self.config.target_kl:
            self._follow(self._ranks.mean(report["kl"].mean())[0])
        return {**report, **self._report_parts()}

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
            report.setdefault("value", self.critic.values(outputs.detach(), task_id).mean(dim=(0, 2)))
            each = self.critic.losses(outputs, rows["target"], task_id)
            if reach:
                before = rows["output"].movedim(2, 0)
                near = before + (outputs - before).clamp(-reach, reach)
                each = torch.maximum(each, self.critic.losses(near, rows["target"], task_id))
            return self._focus(each.mean(dim=(0, 2)))

        return self._objective(self.critics, losses)

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

        return self._objective(self.actor, losses)

    def get_state(self) -> State:
        """See `ActorCritic.get_state`."""
        own = {"pace": self._pace.clone(), "rollouts": self._rollouts, "progress": self._progress}
        return {**super().get_state(), **own}

    def set_state(self, state: State) -> None:
        """See `ActorCritic.set_state`."""
        self._pace.copy_(state["pace"])
        self._rollouts = int(state["rollouts"])
        self._come_to(float(state["progress"]))
        super().set_state(state)

    def parameter_counts(self) -> dict[str, int]:
        """See `ActorCritic.parameter_counts`; critics learn nothing beside a linear baseline."""
        counts = super().parameter_counts()
        return counts if self.config.baseline == "critic" else {**counts, "critics": 0}
