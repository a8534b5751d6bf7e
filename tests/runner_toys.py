"""Small runs for tests: point tasks in this process, a small SAC, and a suite of both."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from toy_envs import PointEnv, sample_points, toy_task

from mtrl.algorithm import AGENTS, AgentPreset, OffPolicyAlgorithm, Problem
from mtrl.buffers import ReplayBuffer
from mtrl.checkpoint import find_checkpoint
from mtrl.config import CheckpointConfig, EvaluationConfig, ReplayConfig, RunConfig, TrackingConfig
from mtrl.goals import INACTIVE, ResampleGoals
from mtrl.run_folder import RunFolder, read_json, read_jsonl
from mtrl.suites import SUITES, Suite
from mtrl.tasks import TASKS, TaskDefinition
from mtrl.vector.build import ENGINES
from mtrl.vector.contract import TaskVectorEnv, schedule_of

TASK_NAMES = ("dot-a-v0", "dot-b-v0")
HORIZON = 10


class InlineVectorEnv(TaskVectorEnv):
    """Steps gymnasium environments one after the other in this process; saved as goals, seeds and actions."""

    def __init__(self, definitions, *, goal_set, slots_per_task=1, workers=0, goal_visible=True, device="cpu"):
        task_id = np.repeat(np.arange(len(definitions)), slots_per_task).tolist()
        super().__init__([task.spec for task in definitions], task_id, goal_set, torch.device(device))
        self.definitions = [definitions[task] for task in task_id]
        self.envs = [task.make(goal_visible) for task in self.definitions]
        self.seed = 0

    def reset(self, *, seed=None, options=None):
        self.seed = self.seed if seed is None else seed
        counts = [self.goal_set.counts[task] for task in self.task_id.tolist()]
        self.schedule = schedule_of(options) or ResampleGoals(counts, self.seed)
        self.goals = [self.schedule.first(slot) for slot in range(self.num_envs)]
        self.episodes, self.logs = [0] * self.num_envs, [[] for _ in range(self.num_envs)]
        obs = torch.stack([self.begin(slot) for slot in range(self.num_envs)])
        goals = torch.tensor(self.goals)
        return obs, {"goal_index": goals, "active": goals != INACTIVE}

    def begin(self, slot):
        if self.goals[slot] == INACTIVE:
            return torch.zeros(self.obs_mask.shape[1])
        row = self.goal_set.rows[int(self.task_id[slot])][self.goals[slot]]
        seed = int(np.random.SeedSequence([self.seed, slot, self.episodes[slot]]).generate_state(1)[0])
        return self.padded(self.envs[slot].reset(seed=seed, options={"goal": row})[0])

    def padded(self, obs):
        row = torch.zeros(self.obs_mask.shape[1])
        row[: len(obs)] = torch.as_tensor(obs, dtype=torch.float32)
        return row

    def step_async(self, actions):
        self.actions = actions.clone()

    def step_wait(self):
        slots = range(self.num_envs)
        obs, final = torch.zeros(len(slots), self.obs_mask.shape[1]), torch.zeros(len(slots), self.obs_mask.shape[1])
        reward = torch.zeros(len(slots))
        terminated, truncated, success, active = (torch.zeros(len(slots), dtype=torch.bool) for _ in range(4))
        goals = torch.tensor(self.goals)
        for slot in slots:
            if self.goals[slot] == INACTIVE:
                continue
            active[slot] = True
            action = self.actions[slot, : self.definitions[slot].action_dim].numpy()
            self.logs[slot].append(self.actions[slot].clone())
            row, reward[slot], terminated[slot], truncated[slot], info = self.envs[slot].step(action)
            success[slot] = bool(info["success"])
            obs[slot] = final[slot] = self.padded(row)
            if terminated[slot] or truncated[slot]:
                self.episodes[slot] += 1
                self.logs[slot] = []
                self.goals[slot] = self.schedule.following(slot)
                obs[slot] = self.begin(slot)
        info = {
            "success": success,
            "final_obs": final,
            "final_mask": terminated | truncated,
            "goal_index": goals,
            "active": active,
        }
        return obs, reward, terminated, truncated, info

    def get_state(self):
        logs = [torch.stack(log) if log else torch.zeros(0, self.action_mask.shape[1]) for log in self.logs]
        own = {"seed": self.seed, "goals": list(self.goals), "episodes": list(self.episodes), "logs": logs}
        return {**own, "schedule": self.schedule.get_state()}

    def set_state(self, state):
        self.reset(seed=state["seed"], options={"schedule": self.schedule} if hasattr(self, "schedule") else None)
        self.schedule.set_state(state["schedule"])
        self.goals, self.episodes = list(state["goals"]), list(state["episodes"])
        obs = []
        for slot in range(self.num_envs):
            row = self.begin(slot)
            for action in state["logs"][slot]:
                row = self.padded(self.envs[slot].step(action[: self.definitions[slot].action_dim].numpy())[0])
            self.logs[slot] = list(state["logs"][slot])
            obs.append(row)
        return torch.stack(obs)

    def render_slot(self, slot):
        return self.envs[slot].render()


def make_small(goal_visible: bool) -> gymnasium.Env:
    return PointEnv(goal_visible, horizon=HORIZON)


def make_large(goal_visible: bool) -> gymnasium.Env:
    return PointEnv(goal_visible, obs_dim=6, action_dim=3, horizon=HORIZON + 3)


class ToyAgent(OffPolicyAlgorithm):
    """A linear policy with its own noise, pulled towards rewarded actions by Adam: little work, all kinds of state."""

    def __init__(self, config: "ToyConfig", problem: Problem) -> None:
        self.batch_per_task = config.batch_per_task
        self.generator = torch.Generator().manual_seed(problem.seed)
        shape = (problem.num_tasks, problem.action_mask.shape[1], problem.obs_mask.shape[1])
        self.matrix = torch.nn.Parameter(0.1 * torch.randn(shape, generator=self.generator))
        self.optimizer = torch.optim.Adam([self.matrix], config.learning_rate)
        self.mask = problem.action_mask.float()

    def mean(self, obs, task_id):
        return torch.tanh((self.matrix[task_id] @ obs[:, :, None])[:, :, 0]) * self.mask[task_id]

    @torch.no_grad()
    def act(self, obs, task_id, *, mode):
        noise = 0.0 if mode else 0.3 * torch.randn(len(obs), self.mask.shape[1], generator=self.generator)
        return (self.mean(obs, task_id) + noise).clamp(-1, 1)

    def update(self, batch):
        error = (self.mean(batch.obs, batch.task_id) - batch.action).square().sum(-1)
        # from the global generator, which a run must save too
        losses = (batch.reward.exp() * error * torch.rand(len(error))).unflatten(0, (len(self.matrix), -1)).mean(1)
        self.optimizer.zero_grad()
        losses.mean().backward()
        self.optimizer.step()
        return {"loss/actor": losses.detach(), "size": self.matrix.detach().norm()}

    def weights(self):
        return {"matrix": self.matrix.detach()}

    def load_weights(self, weights):
        with torch.no_grad():
            self.matrix.copy_(weights["matrix"])

    def get_state(self):
        return {"optimizer": self.optimizer.state_dict(), "generator": self.generator.get_state()}

    def set_state(self, state):
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])

    def parameter_counts(self):
        return {"actor": self.matrix.numel()}


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """Hyperparameters of `ToyAgent`."""

    learning_rate: float = 0.01
    """Adam's step size."""
    batch_per_task: int = 4
    """Transitions of each task."""


def register() -> None:
    """Registers the toys once in a process."""
    if "dot-suite" in SUITES:
        return
    from mtrl.agents.sac import SAC
    from mtrl.agents.sac_config import SACConfig
    from mtrl.parts.network import NetworkConfig

    ENGINES.register("inline", InlineVectorEnv, "in this process, for tests")
    for name, wall in (("wire-a-v0", np.inf), ("wire-b-v0", 1.05)):  # the second one has a terminal state
        TASKS.register(name, toy_task(name, wall=wall), "toy in a worker")
    TASKS.register(
        TASK_NAMES[0], TaskDefinition(TASK_NAMES[0], "toy", make_small, sample_points, 4, 2, HORIZON, "inline"), "toy"
    )
    large = TaskDefinition(TASK_NAMES[1], "toy", make_large, sample_points, 6, 3, HORIZON + 3, "inline")
    TASKS.register(TASK_NAMES[1], large, "toy")
    SUITES.register("dot-suite", Suite("dot-suite", TASK_NAMES, goals_per_task=5), "toy")
    defaults = RunConfig(
        suite="dot-suite",
        agent="toy",
        steps_per_task=80,
        slots_per_task=2,
        warmup_steps=20,
        updates_per_step=0.5,
        device="cpu",
        replay=ReplayConfig(capacity_per_task=50),
        evaluation=EvaluationConfig(every=40, goals=2),
        checkpoint=CheckpointConfig(every=20),
        tracking=TrackingConfig(log_every=10),
        algorithm=ToyConfig(),
    )
    AGENTS.register("toy", AgentPreset("toy", defaults, ToyAgent, "none", "tests"), "linear")
    network = NetworkConfig("multi_head", width=8, depth=1)
    small = dataclasses.replace(defaults, agent="tiny", algorithm=SACConfig(network, network, batch_per_task=4))
    AGENTS.register("tiny", AgentPreset("tiny", small, SAC, "none", "tests"), "small SAC")


def tiny_config(folder: Path, agent: str = "toy", **changes: Any) -> RunConfig:
    """A run of two toy tasks that takes well under a second."""
    register()
    return dataclasses.replace(AGENTS.get(agent).defaults, run_folder=str(folder), **changes)


def tensors_differ(one: Any, other: Any, path: str = "") -> str:
    """The first place at which two nested states differ in a bit; empty where they do not."""
    if isinstance(one, torch.Tensor):
        same = isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return "" if same and one.numpy().tobytes() == other.numpy().tobytes() else path
    if isinstance(one, dict):
        if not isinstance(other, dict) or set(one) != set(other):
            return path
        return next((p for key in one if (p := tensors_differ(one[key], other[key], f"{path}.{key}"))), "")
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return path
        return next(
            (p for i, pair in enumerate(zip(one, other, strict=True)) if (p := tensors_differ(*pair, f"{path}[{i}]"))),
            "",
        )
    return "" if type(one) is type(other) and (one == other or (one != one and other != other)) else path


def everything(folder: Path) -> dict[str, Any]:
    """All that a run left, but for the clock: newest checkpoint, replay, and lines of both jsonl files."""
    run = RunFolder(folder)
    checkpoint = find_checkpoint(run, with_replay=True)
    assert checkpoint is not None
    state = checkpoint.state()
    del state["clock"]
    segments = list(checkpoint.segments(run.replay))
    config = read_json(run.config)["config"]
    slots, capacity = config["slots_per_task"], config["replay"]["capacity_per_task"]
    worlds, (obs_dim, action_dim) = segments[0]["obs"].shape[1], (segments[0][n].shape[2] for n in ("obs", "action"))
    buffer = ReplayBuffer(
        worlds // slots, slots, capacity, obs_dim, action_dim, torch.device("cpu"), shortest_episode=1
    )
    for rows in segments:
        buffer.extend(rows)
    return {
        "step": checkpoint.manifest["env_step"],
        "weights": checkpoint.weights(),
        "state": state,
        "replay": buffer.rows_since(0),
        "metrics": [without_clock(line) for line in read_jsonl(run.metrics)],
        "evaluations": [without_clock(line) for line in read_jsonl(run.evaluations)],
    }


def without_clock(line: dict[str, Any]) -> dict[str, Any]:
    """A line of jsonl without what differs from run to run."""
    clocks = ("wall_s", "cpu_s")
    return {name: value for name, value in line.items() if name not in clocks and not name.startswith("speed/")}
