"""What experiments/bench_gpu.py runs: environments of the warp engine, and where their actions come from."""

import functools
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from mtrl.agents.sac import SAC
from mtrl.algorithm import AGENTS, Problem
from mtrl.buffers import ReplayBuffer
from mtrl.envs.suites import MT10, MT50
from mtrl.goals import GoalSet, make_goal_sets
from mtrl.rollouts import RolloutBuffer
from mtrl.scenes.vector import SceneVectorEnv
from mtrl.scenes.warp.settings import Grouping, WarpSettings
from mtrl.scenes.warp.vector import WarpVectorEnv
from mtrl.tasks import TASKS
from mtrl.types import Actions, State
from mtrl.vector.processes import available_cores

SUITES: Mapping[str, tuple[str, ...]] = {
    "MT1 reach": ("reach-v3",),
    "MT1 peg-insert-side": ("peg-insert-side-v3",),
    "MT3": ("reach-v3", "drawer-open-v3", "peg-insert-side-v3"),
    "MT10": MT10,
    "MT50": MT50,
}
"""MT3 stands for the others where all must be small: a free object, a sliding one, and nothing to touch."""
GOAL_SEED = 42
EXPERT_STEPS = 160
PHASES = 32
"""Worlds begin to play their expert's actions in one of so many steps, so that they do not all do the same at once."""
ROLLOUT = 16
"""Steps of storage that the loops with a policy write to, around and around."""


@dataclass(frozen=True)
class Case:
    """An environment that is measured.

    Attributes:
        suite: A name in `SUITES`.
        worlds: At most so many, as many of each task.
        grouping: Which scenes share a model.
        goals: Goals of each task.
        settings: Further settings of the engine.
    """

    suite: str
    worlds: int
    grouping: Grouping = "layout"
    goals: int = 50
    settings: WarpSettings = field(default_factory=WarpSettings)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names."""
        return SUITES[self.suite]

    @property
    def per_task(self) -> int:
        """Worlds of each task."""
        return max(1, self.worlds // len(self.tasks))

    def build(self, device: torch.device) -> WarpVectorEnv:
        """The environment."""
        return WarpVectorEnv(
            [TASKS.get(name) for name in self.tasks],
            goal_set=goals_of(self.suite, self.goals),
            slots_per_task=self.per_task,
            device=device,
            settings=replace(self.settings, grouping=self.grouping),
        )

    def native(self) -> SceneVectorEnv:
        """The same worlds on the native engine."""
        return SceneVectorEnv(
            [TASKS.get(name) for name in self.tasks],
            goal_set=goals_of(self.suite, self.goals),
            slots_per_task=self.per_task,
            workers=available_cores(),
        )

    def reset(
        self, env: WarpVectorEnv | SceneVectorEnv, *, goals: int = 0, random_progress: bool = False
    ) -> torch.Tensor:
        """Begins all episodes: the worlds of each task take goals in turn, out of the first `goals` (0: of all)."""
        schedule = InTurn(self.per_task, goals or self.goals)
        return env.reset(seed=0, options={"schedule": schedule, "random_progress": random_progress})[0]


@functools.cache
def goals_of(suite: str, count: int) -> GoalSet:
    """The first training goals of each task."""
    return make_goal_sets([TASKS.get(name) for name in SUITES[suite]], count, GOAL_SEED)[0]


@dataclass
class InTurn:
    """Each world plays one goal again and again, the worlds of a task different ones; see `mtrl.goals.GoalSchedule`."""

    per_task: int
    goals: int

    def first(self, slot: int) -> int:
        """The goal of that slot."""
        return slot % self.per_task % self.goals

    following = first

    def get_state(self) -> State:
        """Nothing changes."""
        return {}

    def set_state(self, state: State) -> None:
        """Nothing changes."""


@dataclass(frozen=True)
class Played:
    """What the scripted experts did on the native engine.

    Attributes:
        actions: `[task, goal, step, 4]` float32, clipped.
        states: Of the native engine with its rules' memory, before some steps.
        steps: Which steps these are.
    """

    actions: np.ndarray
    states: tuple[State, ...]
    steps: tuple[int, ...]


@functools.cache
def play_experts(suite: str, goals: int, keep: tuple[int, ...] = (), steps: int = EXPERT_STEPS) -> Played:
    """Plays upstream's scripted experts on the first goals of each task, one world each.

    Args:
        suite: A name in `SUITES`.
        goals: Of each task.
        keep: Steps before which the state is kept.
        steps: How many are played.
    """
    from metaworld.policies import ENV_POLICY_MAP

    warnings.filterwarnings("ignore", "Constant.s. may be too high")  # actions are clipped here
    case = Case(suite, goals * len(SUITES[suite]), goals=goals)
    env = case.native()
    obs = case.reset(env)
    experts = [ENV_POLICY_MAP[name]() for name in case.tasks for _ in range(goals)]
    actions, states = [], []
    for step in range(steps):
        if step in keep:
            states.append(env.get_state())
        rows = [expert.get_action(row) for expert, row in zip(experts, obs.double().numpy(), strict=True)]
        actions.append(np.clip(rows, -1, 1).astype(np.float32))
        obs = env.step(torch.from_numpy(actions[-1]))[0]
    env.close()
    table = np.stack(actions, axis=1).reshape(len(case.tasks), goals, steps, -1)
    return Played(table, tuple(states), keep)


Loop = Callable[[], None]
"""One step of all worlds, with whatever belongs to it."""


def random_actions(env: WarpVectorEnv) -> Loop:
    """Fresh uniform actions in every step."""
    shape = (env.num_envs, env.action_mask.shape[1])
    generator = torch.Generator(env.device).manual_seed(0)

    def step() -> None:
        env.step(2.0 * torch.rand(shape, generator=generator, device=env.device) - 1.0)

    return step


def expert_actions(env: WarpVectorEnv, case: Case, played: Played) -> Loop:
    """The experts' recorded actions, begun in different steps, with contacts as the experts make them.

    The environment must have been reset with as many goals as were played. Past their end, the last actions go on.
    """
    device = env.device
    goals, steps = played.actions.shape[1:3]
    slot = torch.arange(env.num_envs, device=device)
    within = slot % case.per_task
    # Before the first action there is a step of rest.
    table = torch.from_numpy(played.actions).to(device).flatten(0, 1)
    table = torch.cat([torch.zeros_like(table[:, :1]), table], dim=1).flatten(0, 1)
    row = (slot // case.per_task * goals + within % goals) * (steps + 1)
    clock = 1 - within // goals % PHASES

    def step() -> None:
        env.step(table[row + clock.clamp(0, steps)])
        clock.add_(1)

    return step


def agent_of(env: WarpVectorEnv) -> SAC:
    """The agent of the preset mtmhsac, as it is before training."""
    preset = AGENTS.get("mtmhsac")
    names = tuple(task.name for task in env.tasks)
    return preset.build(preset.defaults.algorithm, Problem(names, env.obs_mask, env.action_mask, env.device, 0))


class PolicyLoop:
    """Observation to action to storage on the device, as the training loops do it.

    Args:
        env: The environment, after a reset.
        obs: Its observations.
        storage: `replay`: an off-policy agent's. `rollout`: with the policy's log-probabilities.

    Attributes:
        parts: The functions `act` and `store`, which may be replaced by others that time them.
    """

    def __init__(self, env: WarpVectorEnv, obs: torch.Tensor, storage: str) -> None:
        self.env, self._obs, self._agent = env, obs, agent_of(env)
        sizes = (env.obs_mask.shape[1], env.action_mask.shape[1], env.device)
        shortest, self.per_task = min(task.horizon for task in env.tasks), env.num_envs // len(env.tasks)
        self._log_prob = torch.zeros(0)
        self.parts: dict[str, Callable[..., Actions | None]] = {}
        if storage == "replay":
            room = ROLLOUT * self.per_task
            self._replay = ReplayBuffer(len(env.tasks), self.per_task, room, *sizes, shortest_episode=shortest)
            self._replay.start(obs)
            self.parts = {"policy": self._act, "storage": self._to_replay}
        else:
            self._rollout = RolloutBuffer(ROLLOUT, env.num_envs, *sizes, shortest_episode=shortest)
            self.parts = {"policy": self._explore, "storage": self._to_rollout}

    @torch.no_grad()
    def __call__(self) -> None:
        """One step."""
        action = self.parts["policy"]()
        assert action is not None
        outcome = self.env.step(action)
        self.parts["storage"](action, *outcome)
        self._obs = outcome[0]

    def _act(self) -> Actions:
        return self._agent.act(self._obs, self.env.task_id, mode=False)

    def _explore(self) -> Actions:
        agent, groups = self._agent, self._agent._groups
        obs = groups.split(self._obs)
        action, log_prob = agent._sample_actions(obs, agent._noise(len(self._obs)), None)
        self._log_prob = groups.join(log_prob)
        return groups.join(action)

    def _to_replay(self, action: Actions, obs: torch.Tensor, reward: torch.Tensor, *rest: object) -> None:
        terminated, _, info = rest
        self._replay.add(action, reward, terminated, info["final_mask"], info["final_obs"], obs)  # pyright: ignore

    def _to_rollout(self, action: Actions, obs: torch.Tensor, reward: torch.Tensor, *rest: object) -> None:
        terminated, _, info = rest
        if self._rollout.full:
            self._rollout.clear()
        ended, final = info["final_mask"], info["final_obs"]  # pyright: ignore
        self._rollout.add(self._obs, action, self._log_prob, reward, terminated, ended, final)  # pyright: ignore


def synchronize(device: torch.device) -> None:
    """Waits for everything on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> float:
    """Seconds, when everything on the device is done."""
    synchronize(device)
    return time.perf_counter()
