"""What agents with an actor and critics have in common: their parts, acting, and one step of a network.

Every loss is a vector with one entry a task. What becomes of it is the combiner's part, how values are represented the
critic's, and how tasks share layers the networks'; none of these knows which agent it serves.
"""

import abc
from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import nn

from mtrl.algorithm import Algorithm, Metrics, Problem, Step
from mtrl.compiling import compiled
from mtrl.graphs import Recorded, Recorder, Tensors, prepare_parts, record_on_cuda
from mtrl.parts.combiner import Objective
from mtrl.parts.critic import Critic
from mtrl.parts.groups import GroupMemory, Groups
from mtrl.parts.network import Network, TaskParameters, call_network
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.scale import Scale
from mtrl.randomness import go_on_drawing
from mtrl.types import Actions, Observations, State, TaskIds

from .actor_critic_config import ActorCriticConfig
from .build import build_combiners, count, learned
from .focus import Focus
from .optimizers import Learned, Optimizers
from .policy import Distribution
from .precision import in_precision
from .statistics import ObsNormalizer
from .weights import take_weights

Config = TypeVar("Config", bound=ActorCriticConfig)


class ActorCritic(Algorithm, Generic[Config]):
    """An actor, critics, and the parts around them; a derived class says what they are to learn.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed.
        policy: What the actor's outputs stand for.
        target_entropy: `[task]`, for parts that ask; None: there is none.
    """

    _optimizers: Optimizers

    def __init__(
        self, config: Config, problem: Problem, policy: Distribution, target_entropy: PerTask | None = None
    ) -> None:
        self.config, self.problem, self._policy = config, problem, policy
        self._ranks, device, tasks = problem.ranks, problem.device, problem.num_tasks
        self._mask = problem.action_mask.to(device, torch.float32)
        names = problem.task_names
        self._setting = Setting(tasks, config.gamma, device, problem.seed, target_entropy, names, self._ranks)
        self.critic: Critic = config.value.build(self._setting, config.value).to(device)
        self.actor, self.critics = self._build_networks(problem.seed)
        self.combiners = build_combiners(config, self._setting)
        self.scale: Scale = config.scale.build(self._setting, config.scale).to(device)
        self._normalizer = self._build_normalizer() if config.normalize_obs else None
        self._focus = Focus(config.focus_floor, tasks, device)
        self._generator = torch.Generator(device).manual_seed(self._ranks.seed(problem.seed + 1))
        self._generators = [self._generator]
        self._groups, self._memory = Groups.equal(tasks, device), GroupMemory()
        self._call = in_precision(call_network, config.precision, device)
        self._no_temperatures = torch.full((tasks,), -torch.inf, device=device)
        self._parameters = {"actor": learned(self.actor), "critic": learned(self.critics)}
        self._seen = 0
        self._recorder: Recorder | None = None
        self._recorded: Recorded | None = None

    @abc.abstractmethod
    def _build_networks(self, seed: int) -> tuple[Network, Network]:
        """The actor and the critics with initial weights of this seed; `self.critic` is there."""

    def _build_normalizer(self) -> ObsNormalizer:
        """Normalises observations, each task's by its own."""
        return ObsNormalizer(self.problem.obs_mask.to(self.problem.device), self._ranks)

    def _sides(self) -> dict[str, Learned]:
        """What actor and critics learn, for `Optimizers`."""
        config = self.config
        rates = {"actor": config.actor_learning_rate, "critic": config.critic_learning_rate}
        return {
            name: Learned(parameters, rates[name], config.adam_epsilon, config.weight_decay)
            for name, parameters in self._parameters.items()
        }

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions `[env, act]`: the most likely one, or a sample."""
        groups = self._memory.of(task_id)
        outputs, mask = self._act_outputs(obs, groups)
        return self._likeliest(outputs, mask, groups) if mode else self._drawn(outputs, mask, groups, len(obs))

    def _likeliest(self, outputs: torch.Tensor, mask: torch.Tensor, groups: Groups) -> Actions:
        return groups.join(self._policy.mode(outputs, mask))

    def _drawn(self, outputs: torch.Tensor, mask: torch.Tensor, groups: Groups, rows: int) -> Actions:
        drawn, _ = self._policy.sample(outputs, groups.split(self._noise(rows)), mask)
        return groups.join(self._policy.action(drawn))

    def _act_outputs(self, obs: Observations, groups: Groups) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the actor, `[group, sample, 2 * act]`, and which action numbers are real."""
        rows = self._normal(groups.split(obs), groups.task_id)
        return self._call(self.actor, rows, groups.task_id)[0], self._mask[groups.task_id].unsqueeze(1)

    def _normal(self, obs: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        """Observations `[group, sample, obs]` as the networks see them."""
        return obs if self._normalizer is None else self._normalizer(obs, task_id)

    def _noise(self, rows: int) -> torch.Tensor:
        shape = (rows, self._mask.shape[1])
        return torch.empty(shape, device=self._mask.device).normal_(generator=self._generator)

    def compile(self) -> None:
        """Compiles the networks."""
        self._call = in_precision(compiled(call_network, "networks"), self.config.precision, self.problem.device)
        self._record_anew()

    def record(self, recorder: Recorder | None = None) -> None:
        """Has updates recorded and replayed: on CUDA as graphs; elsewhere only where a recorder is given."""
        self._recorder = recorder or (record_on_cuda if self.problem.device.type == "cuda" else None)
        self._record_anew()

    def _record_anew(self) -> None:
        """Called where what an update works on lies elsewhere from now on."""
        if self._recorder is None or not all(combiner.replayable for combiner in self.combiners.values()):
            return
        generators = prepare_parts((*self.combiners.values(), self.critic, self.scale))
        self._recorded = Recorded("updates", self._apply, [*self._generators, *generators], self._recorder)

    @abc.abstractmethod
    def _apply(self, rows: Tensors) -> Metrics:
        """An update with these rows; all of it is on the device, so that it can be recorded."""

    def _update(self, rows: Tensors) -> Metrics:
        """The same, replayed where it was recorded."""
        return self._apply(rows) if self._recorded is None else self._recorded(rows)

    def observe(self, step: Step) -> None:
        """Keeps the statistics of rewards and observations."""
        self.scale.observe(step.reward, step.terminated, step.ended, step.task_id)
        until = self.config.normalize_obs_steps
        if self._normalizer is not None and (not until or self._seen < until):
            self._normalizer.observe(step.obs)
        self._seen += self._ranks.size * len(step.reward) // self.problem.num_tasks

    def _log_temperatures(self) -> PerTask:
        """Of every task, without gradient; without temperatures, rewards alone count."""
        return self._no_temperatures

    def _objective(self, network: Network, losses: Callable[[TaskParameters | None], PerTask]) -> Objective:
        """What a combiner takes its gradients of."""
        return Objective(network, self.problem.num_tasks, losses, self._log_temperatures(), self._ranks)

    def _step(self, name: str, network: Network, objective: Objective) -> PerTask:
        """One step of a network, as its combiner has it; the losses before it."""
        combiner = self.combiners[name]
        losses = combiner.backward(objective)
        nn.utils.clip_grad_norm_(self._parameters[name], self.config.max_gradient_norm, foreach=True)
        self._optimizers[name].step()
        network.project()
        combiner.stepped(objective)
        return losses

    def _report_parts(self) -> Metrics:
        """What the parts tell of an update."""
        report = self._focus.report()
        if self.config.scale.name != "none":
            report["reward_scale"] = self.scale.factors(self._log_temperatures())
        for name, combiner in self.combiners.items():
            report |= {f"{key}/{name}": value for key, value in combiner.report().items()}
        return report

    @property
    def follows_success(self) -> bool:
        """Whether losses of tasks that fail weigh more."""
        return self._focus.floor < 1.0

    def follow_success(self, success: PerTask) -> None:
        """See `Algorithm.follow_success`."""
        self._focus.follow(success)

    def begin_elsewhere(self) -> None:
        """See `Algorithm.begin_elsewhere`."""
        self.scale.forget_worlds()

    def weights(self) -> dict[str, torch.Tensor]:
        """Parameters of both networks, and what critics and observations are normalised by."""
        modules = {"actor": self.actor, "critics": self.critics, "critic": self.critic}
        modules |= {} if self._normalizer is None else {"obs": self._normalizer}
        return {f"{part}.{name}": p.detach() for part, m in modules.items() for name, p in m.state_dict().items()}

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes what `weights` gave."""
        take_weights(self.weights(), weights)

    def get_state(self) -> State:
        """All but the weights, as it is now: later updates do not change what was returned."""
        return {
            "optimizers": self._optimizers.get_state(),
            "combiners": {name: combiner.get_state() for name, combiner in self.combiners.items()},
            "scale": self.scale.get_state(),
            "focus": self._focus.get_buffer("weight").clone(),
            "generators": [generator.get_state() for generator in self._generators],
            "seen": self._seen,
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._optimizers.set_state(state["optimizers"])
        for name, combiner in self.combiners.items():
            combiner.set_state(state["combiners"][name])
        self.scale.set_state(state["scale"])
        self._focus.get_buffer("weight").copy_(state["focus"])
        for generator, its_state in zip(self._generators, state["generators"], strict=True):
            go_on_drawing(generator, its_state)
        self._seen = int(state["seen"])
        self._record_anew()

    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers of the actor and of all critics."""
        return {"actor": count(self._parameters["actor"]), "critics": count(self._parameters["critic"])}
