"""PEARL: soft actor-critic told of a latent variable, which is inferred from what happened in the trial so far.

Rakelly et al., "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context Variables", ICML 2019.

A trial (`mtrl.vector.trials.Trials`) begins with a latent variable drawn from the prior, a standard normal. Every step
of it adds a factor to the posterior, whose order does not matter; every episode after the first draws from that. An
update has some goals of every task, of each a context from one trial and transitions from all that were played.
"""

import copy
import dataclasses
from typing import cast

import torch
from torch import nn

from mtrl.algorithm import Batch, Metrics, Policy, Problem
from mtrl.buffers import ReplayBuffer
from mtrl.errors import UserError
from mtrl.parts.combiner import Objective, Weighting
from mtrl.parts.groups import GroupMemory, Groups
from mtrl.parts.network import Network, NetworkShape, TaskParameters
from mtrl.parts.part import PerTask
from mtrl.trial_index import TrialIndex
from mtrl.types import Actions, Observations, State, TaskIds
from mtrl.vector.trials import TOLD, taken_apart

from .build import learned
from .meta_checks import refuse_own_parts, refuse_several_processes
from .networks.build import build_network
from .optimizers import Learned
from .pearl_config import PEARLConfig
from .posterior import Posterior, factors
from .sac import SAC, _Update

ENCODER_HEAD = 3e-3
"""Bound of the encoder's last layer's initial weights."""


class PEARL(SAC):
    """Actor and critics that see a latent variable beside the observation, and the encoder that infers it.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed; observations are those of `Trials`.

    Raises:
        UserError: A network has parts of a task's own, the critics' combiner would leave the encoder out, or several
            processes are to train together.
    """

    config: PEARLConfig
    by_goal = True
    _living: "_Living | None" = None

    def __init__(self, config: PEARLConfig, problem: Problem) -> None:
        refuse_several_processes(problem, "PEARL")
        self._whole, self._actions = problem, problem.action_mask.shape[1]
        self._shown = problem.obs_mask.shape[1] - self._actions - TOLD
        self.encoder = self._build_encoder(config)
        self._inferred = torch.zeros(())
        beside = torch.ones((problem.num_tasks, config.latent), dtype=torch.bool, device=problem.device)
        mask = torch.cat([problem.obs_mask[:, : self._shown].to(problem.device), beside], dim=1)
        super().__init__(config, dataclasses.replace(problem, obs_mask=mask))
        if not isinstance(self.combiners["critic"], Weighting):
            raise UserError(
                f"--algorithm.critic-combiner {config.critic_combiner.name} works on the critics' gradients alone, and "
                "the encoder learns from the same losses: take one that weighs losses, such as mean"
            )

    def _build_encoder(self, config: PEARLConfig) -> Network:
        problem = self._whole
        mask = torch.cat([problem.obs_mask[:, : self._shown], problem.action_mask], dim=1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1).cpu()
        sizes = (problem.num_tasks, mask.shape[1], 2 * config.latent, 1, ENCODER_HEAD)
        generator = torch.Generator().manual_seed(problem.seed + 3)
        network = build_network(NetworkShape(*sizes, mask, task_names=problem.task_names), config.encoder, generator)
        refuse_own_parts(network, config.encoder)
        return network.to(problem.device)

    def _build_networks(self, seed: int) -> tuple[Network, Network]:
        actor, critics = super()._build_networks(seed)
        for network, config in ((actor, self.config.actor), (critics, self.config.critic)):
            refuse_own_parts(network, config)
        return actor, critics

    def _sides(self) -> dict[str, Learned]:
        encoder = Learned(learned(self.encoder), self.config.encoder_learning_rate, self.config.adam_epsilon)
        return {**super()._sides(), "encoder": encoder}

    # Acting

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """See `Algorithm.act`; while it adapts it samples in any case, since the encoder knows such steps alone."""
        groups = self._memory.of(task_id)
        outputs, mask = self._act_outputs(obs, groups)
        explored = self._drawn(outputs, mask, groups, len(obs))
        if not mode:
            return explored
        assert self._living is not None
        adapting = self._living.number < self._whole.trial_episodes
        return torch.where(adapting[:, None], explored, self._likeliest(outputs, mask, groups))

    def _act_outputs(self, obs: Observations, groups: Groups) -> tuple[torch.Tensor, torch.Tensor]:
        task_id = groups.task_id.clamp(max=self.problem.num_tasks - 1)  # tasks never met may be more
        latent = self._follow(obs, groups, task_id)
        seen = torch.cat([obs[:, : self._shown], latent], dim=1)
        return self._call(self.actor, groups.split(seen), task_id)[0], self._mask[task_id].unsqueeze(1)

    def _follow(self, obs: Observations, groups: Groups, task_id: torch.Tensor) -> torch.Tensor:
        """Takes in what came of the last step; the latent variable of every world, `[env, latent]`."""
        told, config = taken_apart(obs, self._actions), self.config
        if self._living is None or len(self._living.latent) != len(obs):
            self._living = _Living.of(len(obs), self._shown, config.latent, obs.device)
        living = self._living
        found = factors(self._encode(groups, task_id, living.obs, told.action, told.reward))
        known = living.known & ~told.begins
        posterior = living.posterior.begun_where(told.begins).with_factors(
            *(groups.join(part) for part in found), where=known
        )
        number = (living.number + (told.ended & ~told.begins)).masked_fill(told.begins, 0)
        noise = torch.empty_like(living.latent).normal_(generator=self._generator)
        drawn = posterior.mean + posterior.deviation * noise
        # Where the agent has adapted, nothing is to be found out any more.
        now = torch.where((number < self._whole.trial_episodes)[:, None], drawn, posterior.mean)
        latent = torch.where((told.begins | told.ended | ~living.known)[:, None], now, living.latent)
        self._living = _Living(told.obs.clone(), torch.ones_like(living.known), posterior, latent, number)
        return latent

    def _encode(
        self, groups: Groups, task_id: torch.Tensor, obs: torch.Tensor, action: torch.Tensor, reward: torch.Tensor
    ) -> torch.Tensor:
        """The encoder's outputs for steps, `[group, sample, 2 * latent]`."""
        step = torch.cat([obs, action, self.config.reward_seen * reward.unsqueeze(-1)], dim=-1)
        return self._call(self.encoder, groups.split(step), task_id)[0]

    def player(self) -> Policy:
        """See `Algorithm.player`: the same networks, with a memory of other worlds and random numbers of its own."""
        other = copy.copy(self)
        other._living, other._memory = None, GroupMemory()
        other._generator = torch.Generator(self.problem.device).manual_seed(self.problem.seed + 4)
        return other

    # Learning

    def draw(self, replay: ReplayBuffer, index: TrialIndex | None, generator: torch.Generator) -> Batch:
        """Some goals of every task, and of each some steps: a context first, then what is learned from."""
        assert index is not None, "by_goal asks for it"
        config = self.config
        each = self.batch_per_task // config.goals
        batch = replay.sample_trials(index, config.goals, config.context, each, generator, self.gamma)
        return self._single_episodes(batch)

    def _single_episodes(self, batch: Batch) -> Batch:
        """Transitions as if each episode were one of its own: what follows it is another, in the same place at best.

        Trials run on over the ends of their episodes, and end with a state that is called terminal; neither says
        anything of the world. What an episode ended with is not kept, so the state before stands in for it.
        """
        crosses = taken_apart(batch.next_obs, self._actions).ended & (batch.terminated == 0)
        next_obs = torch.where(crosses[:, None], batch.obs, batch.next_obs)
        return dataclasses.replace(batch, next_obs=next_obs, terminated=torch.zeros_like(batch.terminated))

    def _apply(self, rows: dict[str, torch.Tensor]) -> Metrics:
        goals, context = self.config.goals, self.config.context
        apart = {name: row.unflatten(0, (self.problem.num_tasks * goals, -1)) for name, row in rows.items()}
        posterior = self._posterior({name: row[:, :context] for name, row in apart.items()})
        # [task * goal, latent], the same for all samples of a goal; gradients reach the encoder through the critics.
        noise = torch.empty_like(posterior.mean).normal_(generator=self._generator)
        latent = posterior.mean + posterior.deviation * noise
        samples = {name: row[:, context:] for name, row in apart.items()}
        beside = latent.unsqueeze(1).expand(-1, samples["reward"].shape[1], -1)
        for name in ("obs", "next_obs"):
            samples[name] = torch.cat([samples[name][..., : self._shown], beside], dim=-1)
        self._inferred = posterior.divergence().unflatten(0, (self.problem.num_tasks, -1)).mean(dim=1)
        self._optimizers["encoder"].zero_grad(set_to_none=True)
        report = super()._apply({name: row.flatten(0, 1) for name, row in samples.items()})
        nn.utils.clip_grad_norm_(self.encoder.parameters(), self.config.max_gradient_norm, foreach=True)
        self._optimizers["encoder"].step()
        told = {"context/divergence": self._inferred.detach(), "context/deviation": posterior.deviation.detach().mean()}
        return {**report, **told}

    def _posterior(self, rows: dict[str, torch.Tensor]) -> Posterior:
        """After the steps of a context, `[task * goal, step, ...]`."""
        groups, obs = self._groups, rows["obs"][..., : self._shown]
        flat = [value.flatten(0, 1) for value in (obs, rows["action"], rows["reward"])]
        mean, precision = factors(self._encode(groups, groups.task_id, *flat))
        count = rows["reward"].shape[1]
        apart = [groups.join(part).unflatten(0, (-1, count)) for part in (mean, precision)]
        empty = Posterior.prior(len(apart[0]), self.config.latent, obs.device)
        return empty.with_factors((apart[0] * apart[1]).sum(dim=1) / apart[1].sum(dim=1), apart[1].sum(dim=1))

    def critic_objective(self, update: _Update) -> Objective:
        """See `SAC.critic_objective`; what the latent variable tells of the context costs, too."""
        objective, cost = super().critic_objective(update), self.config.kl_weight * self._inferred

        def losses(parameters: TaskParameters | None) -> PerTask:
            return objective.losses(parameters) + cost

        return dataclasses.replace(objective, losses=losses)

    def targets(self, batch: Batch) -> torch.Tensor:
        """See `SAC.targets`."""
        return super().targets(dataclasses.replace(batch, next_obs=batch.next_obs.detach()))

    def actor_objective(self, update: _Update) -> Objective:
        """See `SAC.actor_objective`; the encoder learns nothing from it."""
        update.batch = dataclasses.replace(update.batch, obs=update.batch.obs.detach())
        return super().actor_objective(update)

    # State

    def weights(self) -> dict[str, torch.Tensor]:
        """See `SAC.weights`; the encoder's too."""
        encoder = {f"encoder.{name}": value.detach() for name, value in self.encoder.state_dict().items()}
        return {**super().weights(), **encoder}

    def get_state(self) -> State:
        """See `SAC.get_state`; what was inferred in the trials that go on, too."""
        return {**super().get_state(), "living": None if self._living is None else self._living.get_state()}

    def set_state(self, state: State) -> None:
        """See `SAC.set_state`."""
        living = state["living"]
        self._living = None if living is None else _Living.from_state(living, self.problem.device)
        super().set_state(state)

    def begin_elsewhere(self) -> None:
        """See `Algorithm.begin_elsewhere`."""
        self._living = None
        super().begin_elsewhere()

    def parameter_counts(self) -> dict[str, int]:
        """See `ActorCritic.parameter_counts`."""
        encoder = sum(value.numel() for value in self.encoder.parameters())
        return {**super().parameter_counts(), "encoder": encoder}


@dataclasses.dataclass(frozen=True)
class _Living:
    """What is known of the worlds that are acted in, `[env]` or `[env, ...]`.

    Attributes:
        obs: Before the last step.
        known: Bool, whether there was one.
        posterior: Of the latent variable.
        latent: What the episode is played with.
        number: Of the episode in its trial.
    """

    obs: torch.Tensor
    known: torch.Tensor
    posterior: Posterior
    latent: torch.Tensor
    number: torch.Tensor

    @classmethod
    def of(cls, worlds: int, obs_dim: int, latent: int, device: torch.device) -> "_Living":
        """Worlds of which nothing is known."""
        return cls(
            torch.zeros((worlds, obs_dim), device=device),
            torch.zeros(worlds, dtype=torch.bool, device=device),
            Posterior.prior(worlds, latent, device),
            torch.zeros((worlds, latent), device=device),
            torch.zeros(worlds, dtype=torch.int64, device=device),
        )

    def get_state(self) -> State:
        """All of it, on the CPU."""
        plain = {name: getattr(self, name).cpu().clone() for name in ("obs", "known", "latent", "number")}
        return {**plain, "mean": self.posterior.mean.cpu().clone(), "precision": self.posterior.precision.cpu().clone()}

    @classmethod
    def from_state(cls, state: State, device: torch.device) -> "_Living":
        """What `get_state` gave."""
        there = {name: cast(torch.Tensor, value).to(device) for name, value in state.items()}
        posterior = Posterior(there["mean"], there["precision"])
        return cls(there["obs"], there["known"], posterior, there["latent"], there["number"])
