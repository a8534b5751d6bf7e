"""MAML: initial weights from which one step of policy gradient, taken on a few episodes, leads to a good policy.

Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017, with TRPO (Schulman et al.,
2015) for the outer step. The inner loss weighs advantages with ratios of probabilities, whose second derivatives are
those of the true objective: Rothfuss et al., "ProMP: Proximal Meta-Policy Search", ICLR 2019.

Every world is a meta-task of its own. A trial (`mtrl.vector.trials.Trials`) is first some episodes with the shared
weights, then, in training, as many with those of the world, which all further episodes of an evaluation use as well.
"""

import copy
from dataclasses import replace
from typing import NamedTuple

import torch

from mtrl.algorithm import Explored, Metrics, OnPolicyAlgorithm, Policy, Problem, Rows
from mtrl.errors import UserError
from mtrl.parts.network import NetworkShape, TaskParameters, call_network
from mtrl.rollouts import RolloutBuffer, gae
from mtrl.types import Actions, Observations, State, TaskIds
from mtrl.vector.trials import TOLD, Told, taken_apart

from . import baseline
from .advantages import LEAST_DEVIATION
from .build import ACTOR_HEAD
from .gaussian import CommonSpread, Gaussian, WithSpread
from .holding import Holding, decisions_of
from .maml_config import MAMLConfig
from .meta_checks import refuse_own_parts, refuse_several_processes
from .networks.build import build_network
from .trial_memory import TrialMemory
from .weights import take_weights

HEAD = ".head."
"""In the names of what belongs to the last layer of a network."""
Weights = dict[str, torch.Tensor]
"""Name to a parameter, or to one for each world, `[world, ...]`."""


class Lesson(NamedTuple):
    """Steps that one gradient is taken from, `[world, step, ...]`.

    Attributes:
        obs: Before each step.
        action: As it was drawn.
        log_prob: Of it, when it was drawn.
        advantage: Of it.
        weight: What the step counts for, 0 or 1.
    """

    obs: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    advantage: torch.Tensor
    weight: torch.Tensor


class MAML(OnPolicyAlgorithm):
    """A policy that is adapted to each world by gradient.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed; observations are those of `Trials`.

    Raises:
        UserError: The network has parts of a task's own, an episode is no whole decisions, or several processes are to
            train together.
    """

    whole_trials = MAMLConfig.whole_trials
    epochs = minibatches = 1
    _plays = False
    """Whether this one plays for others to see, and learns nothing."""
    _pretrains: bool
    """Whether worlds take no inner step now."""
    _pretrains_next: bool
    """The same, from the next rollout on."""

    def __init__(self, config: MAMLConfig, problem: Problem) -> None:
        refuse_several_processes(problem, "MAML")
        self.config, self.problem = config, problem
        self._actions = problem.action_mask.shape[1]
        self._shown = problem.obs_mask.shape[1] - self._actions - TOLD
        self._episodes = problem.learned_episodes or problem.trial_episodes
        self.rollout_steps = (self._episodes + config.outer_episodes) * problem.horizon
        if problem.horizon % config.hold:
            raise UserError(
                f"--algorithm.hold {config.hold} does not divide the {problem.horizon} steps of an episode: give a "
                "divisor"
            )
        self._holding = Holding(config.hold, mean_reward=True)
        self._policy = Gaussian(config.initial_log_std, config.min_log_std, config.max_log_std, squash=False)
        self._mask = problem.action_mask.to(problem.device, torch.float32)
        self.actor = self._build_network()
        self._generator = torch.Generator(problem.device).manual_seed(problem.seed + 1)
        self._pretrains = self._pretrains_next = config.pretrain > 0.0
        self._memory: TrialMemory | None = None
        self._own: Weights = {}

    def _build_network(self) -> WithSpread:
        problem, config = self.problem, self.config
        mask = problem.obs_mask[:, : self._shown].cpu()
        shape = NetworkShape(
            problem.num_tasks, self._shown, self._actions, 1, ACTOR_HEAD, mask, task_names=problem.task_names
        )
        body = build_network(shape, config.actor, torch.Generator().manual_seed(problem.seed), "actor")
        refuse_own_parts(body, config.actor)
        return WithSpread(body, CommonSpread(1, self._actions)).to(problem.device)

    @property
    def _inner_steps(self) -> int:
        """Decisions in the episodes that a world adapts on."""
        return self._episodes * self.problem.horizon // self.config.hold

    @property
    def _shared(self) -> Weights:
        return dict(self.actor.named_parameters())

    def _expanded(self, weights: Weights, worlds: int) -> Weights:
        return {name: value.expand(worlds, *value.shape) for name, value in weights.items()}

    def _outputs(self, weights: Weights, obs: torch.Tensor, task_id: TaskIds) -> torch.Tensor:
        """`[world, step, 2 * act]` of policies that are each world's own."""
        return call_network(self.actor, obs, task_id, TaskParameters(weights, {}))[0]

    # Acting

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """See `Algorithm.act`; while it adapts it samples in any case, for without chance there is nothing to learn."""

        def decide(seen: Observations) -> Explored:
            explored, outputs, adapting = self._explore(seen, task_id)
            best = self._policy.mode(outputs, self._mask_of(task_id))[:, 0] if mode else explored.action
            return replace(explored, action=torch.where(adapting[:, None], explored.action, best))

        return self._holding(obs, decide).action

    @torch.no_grad()
    def explore(self, obs: Observations, task_id: TaskIds) -> Explored:
        """See `OnPolicyAlgorithm.explore`."""
        return self._holding(obs, lambda seen: self._explore(seen, task_id)[0])

    def _explore(self, obs: Observations, task_id: TaskIds) -> tuple[Explored, torch.Tensor, torch.Tensor]:
        told, task_id = taken_apart(obs, self._actions), task_id.clamp(max=self.problem.num_tasks - 1)
        memory = self._follow(told, task_id)
        outputs, mask = self._outputs(self._own, told.obs.unsqueeze(1), task_id), self._mask_of(task_id)
        shape = (len(obs), 1, self._actions)
        noise = torch.empty(shape, device=obs.device).normal_(generator=self._generator)
        drawn, log_prob = self._policy.sample(outputs, noise, mask)
        explored = Explored(self._policy.action(drawn)[:, 0], drawn[:, 0], log_prob[:, 0])
        memory.keep(told.obs, explored.drawn, explored.log_prob)
        return explored, outputs, memory.adapting

    def _mask_of(self, task_id: TaskIds) -> torch.Tensor:
        """`[world, 1, act]`, which action numbers are real; tasks never met before have those of the last."""
        return self._mask[task_id.clamp(max=self.problem.num_tasks - 1)].unsqueeze(1)

    def _follow(self, told: Told, task_id: TaskIds) -> TrialMemory:
        """Takes in what came of the last step: trials that begin have the shared weights, those that may adapt do."""
        worlds = len(task_id)
        if self._memory is None or len(self._memory.count) != worlds:
            sizes = (worlds, self._episodes, self._inner_steps, self._shown, self._actions)
            self._memory = TrialMemory(*sizes, self.problem.device)
            self._own = {name: value.clone() for name, value in self._expanded(self._detached(), worlds).items()}
        ready = self._memory.learn(told)
        if self._pretrains and not self._plays:
            ready = torch.zeros_like(ready)
        if bool((ready | told.begins).any()):  # the host waits for the device here, at every step
            self._take(self._detached(), told.begins)
            if bool(ready.any()):
                self._take(self._adapted_in(self._memory, task_id), ready)
        return self._memory

    def _detached(self) -> Weights:
        return {name: value.detach() for name, value in self._shared.items()}

    def _take(self, weights: Weights, where: torch.Tensor) -> None:
        """Gives the worlds that are marked these weights, shared or their own."""
        for name, own in self._own.items():
            chosen = where.view(-1, *[1] * (own.dim() - 1))
            self._own[name] = torch.where(chosen, weights[name], own)

    def _adapted_in(self, memory: TrialMemory, task_id: TaskIds) -> Weights:
        """The weights of every world after what its memory holds."""
        held = memory.held
        advantage = self._advantages(memory.obs, memory.reward, memory.ended, held)
        with torch.enable_grad():
            lesson = Lesson(memory.obs, memory.action, memory.log_prob, advantage, held.to(torch.float32))
            own = {name: value.requires_grad_() for name, value in self._detached().items()}
            found = self._adapted(own, lesson, task_id, for_good=True)
        return {name: value.detach() for name, value in found.items()}

    # Learning

    def _advantages(
        self, obs: torch.Tensor, reward: torch.Tensor, ended: torch.Tensor, held: torch.Tensor
    ) -> torch.Tensor:
        """`[world, step]`, over a linear baseline of each world's own, mean 0 and deviation 1 over the steps held."""
        config, weight = self.config, held.to(torch.float32)
        reward, over = (reward * weight).T, (ended | ~held).T
        nothing, never = torch.zeros_like(reward), torch.zeros_like(over)
        returns, _ = gae(reward, nothing, nothing, never, over, gamma=config.gamma, lam=1.0)
        inputs = baseline.features(obs, _ages(ended))
        weights = baseline.fit(inputs * weight[..., None], returns.T * weight)
        value = (baseline.predict(inputs, weights) * weight).T
        following = torch.cat([value[1:], nothing[:1]]).masked_fill(over, 0.0)
        advantage = gae(reward, value, following, over, over, gamma=config.gamma, lam=config.gae_lambda)[0].T
        count = weight.sum(dim=1, keepdim=True).clamp(min=1.0)
        centred = (advantage - (advantage * weight).sum(dim=1, keepdim=True) / count) * weight
        return centred / ((centred.square().sum(dim=1, keepdim=True) / count).sqrt() + LEAST_DEVIATION)

    @torch.no_grad()
    def digest(self, rollout: RolloutBuffer, last_obs: Observations, progress: float) -> Rows:
        """What both steps are learned from, `[task, world, step, ...]`; steps that belong to neither weigh nothing."""
        self._pretrains_next = progress < self.config.pretrain or self.config.pretrain == 1.0
        rollout, last_obs, _ = decisions_of(rollout, last_obs, None, self.config.hold)
        seen = taken_apart(torch.cat([rollout.obs, last_obs[None]]).movedim(1, 0), self._actions)
        ended = seen.ended[:, 1:] | rollout.ended.T
        number = ended.cumsum(dim=1) - ended.to(torch.int64)
        episodes, whole = self._episodes, seen.begins[:, :1]
        inner = whole & (number < episodes)
        first, cut = (0, 0) if self._pretrains else (episodes, self._inner_steps)
        outer = whole & (number >= first) & (number < episodes + self.config.outer_episodes)
        rows = {}
        obs, reward = seen.obs[:, :-1], rollout.reward.T
        for name, held, steps in (("inner", inner, slice(self._inner_steps)), ("outer", outer, slice(cut, None))):
            part = [value[:, steps] for value in (obs, reward, ended, held)]
            values = (part[0], rollout.action.movedim(1, 0)[:, steps], rollout.log_prob.T[:, steps])
            lesson = Lesson(*values, self._advantages(*part), part[3].to(torch.float32))
            rows |= {f"{name}/{field}": value for field, value in lesson._asdict().items()}
        rows["reward"] = torch.stack([_per_episode(reward * held, ended & held) for held in (inner, outer)], dim=1)
        return {name: row.unflatten(0, (self.problem.num_tasks, -1)) for name, row in rows.items()}

    def update(self, rows: Rows) -> Metrics:
        """One outer step, from all worlds together."""
        tasks, worlds = rows["reward"].shape[:2]
        inner, outer = (
            Lesson(*(rows[f"{name}/{field}"].flatten(0, 1) for field in Lesson._fields)) for name in ("inner", "outer")
        )
        task_id = torch.arange(tasks, device=self._mask.device).repeat_interleave(worlds)
        names, before = list(self._shared), self._after(self._detached(), inner, outer, task_id).detach()

        def measure(parameters: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            outputs = self._after(dict(zip(names, parameters, strict=True)), inner, outer, task_id)
            divergence = self._policy.divergence(before, outputs, self._mask_of(task_id))
            return self._surrogate(outputs, outer, task_id).mean(), _mean(divergence, outer.weight).mean()

        report = self.config.trust_region().step(list(self._shared.values()), measure)
        self._pretrains, paid = self._pretrains_next, rows["reward"].mean(dim=1)
        return {**report, "return/before": paid[:, 0], "return/after": paid[:, 1]}

    def _after(self, weights: Weights, inner: Lesson, outer: Lesson, task_id: TaskIds) -> torch.Tensor:
        """What the policies adapted from these weights give where the outer step looks."""
        if not any(value.requires_grad for value in weights.values()):
            weights = {name: value.clone().requires_grad_() for name, value in weights.items()}
        own = self._expanded(weights, len(task_id))
        if not self._pretrains:
            own = self._adapted(weights, inner, task_id)
        return self._outputs(own, outer.obs, task_id)

    def _adapted(self, weights: Weights, lesson: Lesson, task_id: TaskIds, *, for_good: bool = False) -> Weights:
        """Weights `[world, ...]` after the inner step of every world; gradients flow back unless it is `for_good`."""
        own = self._expanded(weights, len(task_id))
        losses = self._surrogate(self._outputs(own, lesson.obs, task_id), lesson, task_id)
        second = not (self.config.first_order or for_good)
        names = [name for name in own if self.config.adapt == "all" or HEAD in name]
        steps = torch.autograd.grad(losses.sum(), [own[name] for name in names], create_graph=second)
        rate = self.config.inner_learning_rate
        return own | {name: own[name] - rate * step for name, step in zip(names, steps, strict=True)}

    def _surrogate(self, outputs: torch.Tensor, lesson: Lesson, task_id: TaskIds) -> torch.Tensor:
        """`[world]`, minus what the policy gains by the advantages of what was drawn."""
        log_prob = self._policy.log_prob(outputs, lesson.action, self._mask_of(task_id))
        return -_mean((log_prob - lesson.log_prob).exp() * lesson.advantage, lesson.weight)

    # State

    def player(self) -> Policy:
        """See `Algorithm.player`: the same weights, with a memory of other worlds and random numbers of its own."""
        other = copy.copy(self)
        other._memory, other._own, other._plays = None, {}, True
        other._episodes = self.problem.trial_episodes
        other._holding = self._holding.anew()
        other._generator = torch.Generator(self.problem.device).manual_seed(self.problem.seed + 2)
        return other

    def begin_elsewhere(self) -> None:
        """See `Algorithm.begin_elsewhere`."""
        self._memory, self._holding = None, self._holding.anew()

    def weights(self) -> Weights:
        """The weights that adaptation begins from."""
        return {f"actor.{name}": value for name, value in self._detached().items()}

    def load_weights(self, weights: Weights) -> None:
        """Takes what `weights` gave."""
        take_weights(self.weights(), weights)

    def get_state(self) -> State:
        """The random numbers, and what is known of the trials that go on."""
        memory = None if self._memory is None else self._memory.get_state()
        own = {name: value.cpu().clone() for name, value in self._own.items()}
        held = self._holding.get_state()
        numbers = {"generator": self._generator.get_state(), "pretrains": self._pretrains}
        return {**numbers, "memory": memory, "own": own, "holding": held}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._generator.set_state(state["generator"])
        self._pretrains = bool(state["pretrains"])
        self._own = {name: value.to(self.problem.device) for name, value in state["own"].items()}
        self._holding.set_state(state["holding"], self.problem.device)
        self._memory = None
        if state["memory"] is not None:
            sizes = (self._episodes, self._inner_steps, self._shown, self._actions, self.problem.device)
            self._memory = TrialMemory(len(state["memory"]["count"]), *sizes)
            self._memory.set_state(state["memory"])

    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers of the policy."""
        return {"actor": sum(value.numel() for value in self._shared.values())}


def _mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """`[world, step]` to `[world]`, over the steps that count; 0 where none does."""
    return (values * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1.0)


def _per_episode(reward: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
    """`[world]`, the mean return of the episodes that are over."""
    return reward.sum(dim=1) / ended.sum(dim=1).clamp(min=1)


def _ages(ended: torch.Tensor) -> torch.Tensor:
    """`[world, step]` float32, steps since the episode began."""
    place = torch.arange(ended.shape[1], device=ended.device).expand_as(ended)
    begun = torch.where(ended, place + 1, 0).cummax(dim=1).values
    before = torch.cat([torch.zeros_like(begun[:, :1]), begun[:, :-1]], dim=1)
    return (place - before).to(torch.float32)
