"""Contracts between agents and the runner: what is acted with, what is learned, what is saved."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool, Float32, Int64

from mtrl.config import RunConfig
from mtrl.ranks import ALONE, Ranks
from mtrl.registry import Registry
from mtrl.types import Actions, Flags, Observations, Rewards, State, TaskIds

if TYPE_CHECKING:
    from mtrl.buffers import ReplayBuffer
    from mtrl.rollouts import RolloutBuffer
    from mtrl.trial_index import TrialIndex


@dataclass(frozen=True)
class Problem:
    """What an agent is built for.

    Attributes:
        task_names: The suite's tasks, in order.
        obs_mask: `[task, obs]` bool, which observation numbers are real.
        action_mask: `[task, act]` bool, which action numbers are real.
        device: Where the agent lives.
        seed: Fixes initial weights and all sampling of the agent.
        descriptors: `[task, descriptor]`, what is known of the tasks beforehand, padded with zeros; None: nothing.
        ranks: Processes that train together; each has worlds of its own, and the same agent.
        trial_episodes: Where the agent learns to learn: episodes of a trial in which it adapts; otherwise 0.
        learned_episodes: The same in training; 0: as many.
        horizon: Steps of the longest episode, where the agent learns to learn; otherwise 0.
    """

    task_names: tuple[str, ...]
    obs_mask: Bool[torch.Tensor, "task obs"]
    action_mask: Bool[torch.Tensor, "task act"]
    device: torch.device
    seed: int
    descriptors: Float32[torch.Tensor, "task descriptor"] | None = None
    ranks: Ranks = ALONE
    trial_episodes: int = 0
    learned_episodes: int = 0
    horizon: int = 0

    @property
    def num_tasks(self) -> int:
        """Tasks in the suite."""
        return len(self.task_names)


@dataclass(frozen=True)
class Batch:
    """Transitions of an update, the same number for each task, sorted by task.

    `terminated` is 1 where no value follows; a truncated episode has 0 and its last observation as `next_obs`.
    `discount` is what the value of `next_obs` counts with otherwise: gamma, to the power of the steps between.
    """

    obs: Float32[torch.Tensor, "batch obs"]
    action: Float32[torch.Tensor, "batch act"]
    reward: Float32[torch.Tensor, " batch"]
    next_obs: Float32[torch.Tensor, "batch obs"]
    terminated: Float32[torch.Tensor, " batch"]
    task_id: Int64[torch.Tensor, " batch"]
    discount: Float32[torch.Tensor, " batch"]


@dataclass(frozen=True)
class Step:
    """One step of all worlds, `[env]` or `[env, ...]`, on the environment's device.

    `terminated` is set where the state is terminal, `ended` where an episode is over, one way or the other; `obs` is
    what the step began from.
    """

    obs: Observations
    action: Actions
    reward: Rewards
    terminated: Flags
    ended: Flags
    task_id: TaskIds


class Replay(Protocol):
    """What an agent may ask of what it learns from."""

    def mean_reward(self) -> Float32[torch.Tensor, " task"]:
        """Mean reward of each task over all that is held."""
        ...


Metrics = dict[str, torch.Tensor]
"""Name to a detached scalar, or to one number a task (`[task]`)."""


class Policy(Protocol):
    """What evaluation and video need of an agent.

    One that knows for how long it was trained may tell so (`steps_per_task`), for the evaluation's record. One that
    acts otherwise while it adapts may have `adapts`, which is told before each step where it is to, `[env]` bool.
    """

    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions for each slot; `mode` takes the most likely one instead of a sample."""
        ...

    def begin_episodes(self, mask: torch.Tensor) -> None:
        """Called before each step with where new episodes begin, `[env]` bool, which may be nowhere.

        Policies without memory ignore it; others had better not ask the device whether it is nowhere.
        """
        ...


class Algorithm(abc.ABC):
    """What all agents that learn have in common; derive `OffPolicyAlgorithm` or `OnPolicyAlgorithm`."""

    @abc.abstractmethod
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions `[env, act]` in [-1, 1], without gradient."""

    def player(self) -> Policy:
        """What plays evaluations and films while training goes on; agents with memory give one that has its own."""
        return self

    def begin_episodes(self, mask: torch.Tensor) -> None:  # noqa: B027 - most agents have no memory
        """New episodes begin where `mask` is set, which may be nowhere. Nothing to do without memory."""

    def compile(self) -> None:  # noqa: B027 - not every agent can
        """Compiles what it can of its networks; numbers then differ by rounding from those of the plain form."""

    def record(self) -> None:  # noqa: B027 - not every agent can
        """Has updates recorded once and replayed, where the device can (CUDA graphs); their numbers stay the same."""

    def observe(self, step: Step) -> None:  # noqa: B027 - not every agent keeps statistics
        """Takes in each step of the training environment, warm-up included, without waiting for the device."""

    @property
    def follows_success(self) -> bool:
        """Whether `follow_success` is to be called."""
        return False

    def follow_success(self, success: Float32[torch.Tensor, " task"]) -> None:  # noqa: B027 - few agents care
        """Takes in how often recent training episodes of each task succeeded; NaN where none is over yet."""

    def begin_elsewhere(self) -> None:  # noqa: B027 - only for agents that follow single worlds
        """All worlds are other ones from the next step on: a run was interrupted, and goes on on another engine."""

    @abc.abstractmethod
    def weights(self) -> dict[str, torch.Tensor]:
        """Named network parameters, for safetensors: all that acting needs, and the critics."""

    @abc.abstractmethod
    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes parameters of the same names and shapes."""

    @abc.abstractmethod
    def get_state(self) -> State:
        """Everything besides the weights that training needs to go on: optimisers, RNG, counters."""

    @abc.abstractmethod
    def set_state(self, state: State) -> None:
        """Goes on from a state."""

    @abc.abstractmethod
    def parameter_counts(self) -> dict[str, int]:
        """Learned numbers in each part, such as `{"actor": ..., "critics": ...}`."""


class OffPolicyAlgorithm(Algorithm):
    """An agent that learns from replayed transitions.

    Attributes:
        batch_per_task: Transitions of each task in the batch that `update` takes.
        gamma: Discount of the batch: within rewards over several steps, and in `Batch.discount`.
        n_step: Steps that each transition of the batch goes over.
        by_goal: Batches are of goals: `draw` gets an index of the trials that were played.
    """

    batch_per_task: int
    gamma: float = 1.0
    n_step: int = 1
    by_goal: bool = False

    def begin_updates(self, steps_per_task: int, replay: Replay) -> int:
        """Called before the updates of every step that learns.

        Args:
            steps_per_task: Environment steps of each task so far.
            replay: What is learned from.

        Returns:
            How many updates are made besides those that are due.
        """
        return 0

    def draw(self, replay: "ReplayBuffer", index: "TrialIndex | None", generator: torch.Generator) -> Batch:
        """The batch of an update, without waiting for the device."""
        return replay.sample(self.batch_per_task, generator, self.gamma, self.n_step)

    @abc.abstractmethod
    def update(self, batch: Batch) -> Metrics:
        """One gradient step of everything that learns. Losses are computed per task (`[task]`)."""


@dataclass(frozen=True)
class Explored:
    """What an agent does to find out, `[env]` or `[env, ...]`.

    Attributes:
        action: In [-1, 1], for the environment.
        drawn: As its policy drew it, before it was brought to [-1, 1].
        log_prob: Of what was drawn.
    """

    action: Actions
    drawn: Actions
    log_prob: Float32[torch.Tensor, " env"]


Rows = dict[str, torch.Tensor]
"""What on-policy updates learn from, by name: `[task, sample, ...]`."""


class OnPolicyAlgorithm(Algorithm):
    """An agent that learns from what its newest policy did, some times over.

    Attributes:
        rollout_steps: Steps of all worlds between two rounds of learning.
        epochs: How often each of them is learned from.
        minibatches: Updates in an epoch, each from an equal part of every task's steps.
        overlap: Learn from one rollout while the next is collected, instead of between the two.
        whole_trials: In every rollout all worlds begin anew.
    """

    rollout_steps: int
    epochs: int
    minibatches: int
    overlap: bool = False
    whole_trials: bool = False

    @abc.abstractmethod
    def explore(self, obs: Observations, task_id: TaskIds) -> Explored:
        """Draws actions, without gradient."""

    @abc.abstractmethod
    def digest(self, rollout: "RolloutBuffer", last_obs: Observations, progress: float) -> Rows:
        """What is learned from a complete rollout: observations, actions, advantages, targets of values.

        Args:
            rollout: The steps; it is written over later.
            last_obs: Observations after the last step, where the next rollout begins.
            progress: Share of the run that is done, from 0 to 1.
        """

    @abc.abstractmethod
    def update(self, rows: Rows) -> Metrics:
        """One gradient step of everything that learns, from some of the rows, equally many of every task."""


def learns_in_trials(algorithm: Any) -> bool:
    """Whether an agent with these settings learns to learn, in trials: they have `training_episodes`."""
    return hasattr(algorithm, "training_episodes")


@dataclass(frozen=True)
class AgentPreset:
    """One word for a way to train: a registered agent.

    Attributes:
        name: As on the command line, `--agent NAME`.
        defaults: The run configuration that the preset starts from; its `algorithm` is a frozen dataclass with all
            hyperparameters, whose fields become options (`--algorithm.gamma`).
        build: `(algorithm config, problem) -> algorithm`; for a fixed policy (`zero`, `random`, `repeat`) a `Policy`.
        cost: Rough cost of a run, for `--help`.
        source: Paper or code that the settings are from.
        trainable: False for the fixed policies.
        notes: Where the settings differ from the source's, in a sentence or more.
    """

    name: str
    defaults: RunConfig
    build: Callable[[Any, Problem], Any]
    cost: str
    source: str
    trainable: bool = True
    notes: str = ""


AGENTS: Registry[AgentPreset] = Registry("agent")
