"""Small runs for tests: point tasks in this process, a small SAC, and a suite of both."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from toy_envs import PointEnv, sample_points

from mtrl.algorithm import AGENTS, AgentPreset, NetworkConfig
from mtrl.config import CheckpointConfig, EvaluationConfig, ReplayConfig, RunConfig, TrackingConfig
from mtrl.goals import INACTIVE, GoalSet, ResampleGoals
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
        self.reset(seed=state["seed"])
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


def tiny_sac(config: Any, problem: Any) -> Any:
    from mtrl.agents.sac import SAC

    return SAC(config, problem)


def register() -> None:
    """Registers the toys once in a process."""
    if "dot-suite" in SUITES:
        return
    from mtrl.agents.sac import SACConfig

    ENGINES.register("inline", InlineVectorEnv, "in this process, for tests")
    TASKS.register(TASK_NAMES[0], TaskDefinition(TASK_NAMES[0], "toy", make_small, sample_points, 4, 2, HORIZON, "inline"), "toy")
    large = TaskDefinition(TASK_NAMES[1], "toy", make_large, sample_points, 6, 3, HORIZON + 3, "inline")
    TASKS.register(TASK_NAMES[1], large, "toy")
    SUITES.register("dot-suite", Suite("dot-suite", TASK_NAMES, goals_per_task=5), "toy")
    network = NetworkConfig("multi_head", width=8, depth=1)
    defaults = RunConfig(
        suite="dot-suite",
        agent="tiny",
        steps_per_task=80,
        slots_per_task=2,
        warmup_steps=20,
        updates_per_step=0.5,
        device="cpu",
        replay=ReplayConfig(capacity_per_task=50),
        evaluation=EvaluationConfig(every=40, goals=2),
        checkpoint=CheckpointConfig(every=20),
        tracking=TrackingConfig(log_every=10),
        algorithm=SACConfig(actor=network, critic=network, batch_per_task=4),
    )
    AGENTS.register("tiny", AgentPreset("tiny", defaults, tiny_sac, "none", "tests"), "small SAC")


def tiny_config(folder: Path, **changes: Any) -> RunConfig:
    """A run of two toy tasks that takes well under a second."""
    register()
    return dataclasses.replace(AGENTS.get("tiny").defaults, run_folder=str(folder), **changes)


def toy_goals(count: int = 4) -> GoalSet:
    """Goals of both toy tasks."""
    return GoalSet("train", tuple(sample_points(count, seed) for seed in range(2)))
