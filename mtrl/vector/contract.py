"""The contract of all vector environments."""

import abc
from collections.abc import Sequence
from typing import Any, TypedDict

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from mtrl.errors import UserError
from mtrl.goals import GoalSchedule, GoalSet
from mtrl.tasks import TaskSpec
from mtrl.types import Actions, Flags, Observations, Rewards, State


class StepInfo(TypedDict):
    """What `step` returns besides observation and reward, one entry a slot, always all keys.

    Attributes:
        success: The task's success in the state after this step, before any autoreset.
        final_obs: `[env, obs]`; where `final_mask` is set, the last observation of the episode that this step ended,
            elsewhere the same as the returned observation. It is always the right "next observation" to store.
        final_mask: Where an episode ended with this step.
        goal_index: The goal that was played during this step; `mtrl.goals.INACTIVE` in an inactive slot.
        active: False where the slot's schedule had nothing left before this step: ignore all its other entries.
    """

    success: Flags
    final_obs: Observations
    final_mask: Flags
    goal_index: torch.Tensor
    active: Flags


class TaskVectorEnv(gymnasium.vector.VectorEnv, abc.ABC):
    """Slots of one or several tasks, stepped together; torch in and out, on one device.

    - Slots are sorted by task; `task_id[slot]` never changes.
    - Autoreset is SAME_STEP: the step that ends an episode returns the first observation of the next one, and the last
      one of the old in `final_obs`.
    - Observations and actions are padded to the suite's largest; `obs_mask` and `action_mask` say what is real. Padding
      in observations is zero; padding in actions is ignored.
    - Actions lie in [-1, 1]; values outside are passed on as they are (upstream's rewards read the raw action).
    - Every tensor that `reset` and `step` return belongs to the caller and is never written again.
    - An episode is a pure function of (goal, episode seed, actions), and the episode seed one of (seed, slot, episode).
    - Training never terminates on success; `terminated` is true only where the task itself has a terminal state.

    Attributes:
        tasks: The suite's tasks, in order.
        task_id: `[env]` int64, index into `tasks`.
        obs_mask: `[task, obs]` bool.
        action_mask: `[task, act]` bool.
        goal_set: The goals that `goal_index` refers to.
        device: Where tensors live.
        report_every: Steps between two looks of the host at what happened on the device. 1 where stepping happens on
            the host anyway; an engine on a device sets more, so that no step waits for it. A composite takes its parts'
            maximum. An environment with more than 1 may be stepped on after all its slots have become inactive.
        trial_episodes: Episodes in a row with the same goal that are one long episode of this environment; 1 but for
            `mtrl.vector.trials.Trials`, where what ends and begins is a trial.
        adapting: The first so many of them do not count in an evaluation: an agent adapts in them.
        playing: How many slots of each task are stepped.
        twin: None but for `mtrl.vector.shifting.ShiftingWorlds`, where slots that rest repeat others: `[env]` int64,
            the slot that each one repeats.
    """

    report_every: int = 1
    trial_episodes: int = 1
    adapting: int = 0
    twin: torch.Tensor | None = None
    metadata: dict[str, Any] = {  # noqa: RUF012 - as gymnasium declares it
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "render_modes": ["rgb_array"],
    }

    def __init__(
        self, tasks: Sequence[TaskSpec], task_id: Sequence[int], goal_set: GoalSet, device: torch.device
    ) -> None:
        self.tasks = tuple(tasks)
        self.task_id = torch.tensor(list(task_id), dtype=torch.int64, device=device)
        self.goal_set = goal_set
        self.device = device
        self.num_envs = len(task_id)
        self.playing = tuple(np.bincount(task_id, minlength=len(tasks)).tolist())
        obs_dim, action_dim = max(t.obs_dim for t in tasks), max(t.action_dim for t in tasks)
        self.obs_mask = torch.stack([torch.arange(obs_dim) < t.obs_dim for t in tasks]).to(device)
        self.action_mask = torch.stack([torch.arange(action_dim) < t.action_dim for t in tasks]).to(device)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (action_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def goal_counts(self) -> list[int]:
        """How many goals each slot may play."""
        return [self.goal_set.counts[task] for task in self.task_id.tolist()]

    @abc.abstractmethod
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Starts the first episode of every slot.

        Args:
            seed: Fixes goals and episode seeds of everything that follows; None keeps the seed of before (0 at first).
            options: `{"schedule": GoalSchedule}` plays that schedule; without one, goals are resampled every episode.
                `{"random_progress": True}` begins each slot's first episode at a random step of its horizon, so that
                slots do not end together; not for evaluation, and only where the engine can.

        Returns:
            Observations `[env, obs]` (zeros in inactive slots), and `{"goal_index": [env], "active": [env]}`.
        """

    @abc.abstractmethod
    def step_async(self, actions: Actions) -> None:
        """Begins a step; the caller may work meanwhile. `[env, act]` float32."""

    @abc.abstractmethod
    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:
        """Ends the step that `step_async` began: observation, reward, terminated, truncated, info.

        Raises:
            WorkerDied: A worker ended and could not be restarted.
        """

    def step(self, actions: Actions) -> tuple[Observations, Rewards, Flags, Flags, StepInfo]:  # type: ignore[override]
        """`step_async` and `step_wait`."""
        self.step_async(actions)
        return self.step_wait()

    def compile(self) -> None:
        """Compiles the torch code of a step, where an engine has some: the first step takes long, the others less."""

    @abc.abstractmethod
    def get_state(self) -> State:
        """All that is needed to go on exactly, schedule included. Not while a step is under way."""

    @abc.abstractmethod
    def set_state(self, state: State) -> Observations:
        """Goes on from a state of an equally built environment; returns the current observations `[env, obs]`.

        The schedule in use must be of the same kind: call `reset(options={"schedule": ...})` first.
        """

    @property
    def engine_name(self) -> str:
        """What steps it; a run that is saved goes on exactly where this is the same."""
        return type(self).__name__

    @property
    def faults(self) -> np.ndarray:
        """Episodes cut short because their physics failed, `[task]` int64, since the environment was built.

        Such an episode is truncated with reward 0 and its last sound observation, and no other slot notices.
        """
        return np.zeros(len(self.tasks), np.int64)

    @property
    def fault_reasons(self) -> dict[str, int]:
        """What cut episodes short and how often, where an engine tells; the same counts as `faults` or more."""
        return {}

    @abc.abstractmethod
    def render_slot(self, slot: int) -> np.ndarray:
        """An image of one slot, uint8 `[height, width, 3]`.

        Raises:
            UserError: The task cannot render, or no GL is there.
        """


def slots_of_each_task(env: TaskVectorEnv) -> int:
    """How many slots every task has.

    Raises:
        UserError: Slots are not sorted by task, or tasks have different numbers of them.
    """
    found, tasks = env.task_id.tolist(), len(env.tasks)
    slots = max(1, len(found) // tasks)
    if found != [task for task in range(tasks) for _ in range(slots)]:
        raise UserError(
            "training needs slots that are sorted by task and equally many of each task: build the environment with "
            "mtrl.make_vector_env, or give its parts the same slots_per_task"
        )
    return slots


def refuse_random_progress(options: dict[str, Any] | None) -> None:
    """For engines that cannot begin within an episode.

    Raises:
        UserError: They are asked to.
    """
    if (options or {}).get("random_progress"):
        raise UserError(
            "random initial progress needs the native or the warp engine: leave it off, or use --engine native"
        )


def schedule_of(options: dict[str, Any] | None) -> GoalSchedule | None:
    """The schedule in reset options, if any."""
    return (options or {}).get("schedule")
