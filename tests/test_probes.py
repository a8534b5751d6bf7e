"""Probe problems whose values are known in closed form (after Andy Jones, "Debugging RL, without the agonizing pain").

Temperatures are pinned near zero, so that soft values are plain values. Every registered part learns these problems;
pairs and triples of parts learn that of pair_probe.py.
"""

import dataclasses

import gymnasium
import numpy as np
import pytest
import torch
from pair_probe import STARTS, fitted, with_the_critics_of
from runner_toys import InlineVectorEnv

from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Problem
from mtrl.buffers import ReplayBuffer
from mtrl.config import ReplayConfig, RunConfig
from mtrl.goals import GoalSet
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.critic import CRITICS, CriticConfig
from mtrl.parts.groups import Groups
from mtrl.parts.network import NETWORKS, NetworkConfig
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.tasks import TaskDefinition

CPU = torch.device("cpu")
GAMMA = 0.8
ROWS = 256
LOOK = 25
"""Updates between two looks at the answers."""


PARTS = [
    (kind, name)
    for kind, registry in (("network", NETWORKS), ("critic", CRITICS), ("combiner", COMBINERS))
    for name in registry
]


def agent_of(part, tasks, seed=0, **changes):
    """A small agent with that part, on both sides, and otherwise one network with squared error and equal weights."""
    chosen = {"network": "one_hot", "critic": "mse", "combiner": "mean", part[0]: part[1]}
    size = fitted(NetworkConfig(depth=1, activation="leaky_relu").renamed(chosen["network"]))
    value = fitted(CriticConfig().renamed(chosen["critic"]), v_min=-2.0, v_max=8.0, bins=41)
    combiner = CombinerConfig().renamed(chosen["combiner"])
    config = SACConfig(
        actor=size,
        critic=size,
        value=value,
        actor_combiner=combiner,
        critic_combiner=combiner,
        batch_per_task=32,
        gamma=GAMMA,
        tau=0.1,
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-2,
        temperature_learning_rate=0.0,
        initial_temperature=1e-6,
        max_gradient_norm=10.0,
    )
    problem = Problem(
        tuple(f"probe-{i}" for i in range(tasks)),
        torch.ones(tasks, 1, dtype=torch.bool),
        torch.ones(tasks, 1, dtype=torch.bool),
        CPU,
        seed,
    )
    return SAC(dataclasses.replace(config, **changes), problem)


def learn(agent, transitions, found, right, most=1200):
    """Fills the replay of each task with `transitions(task, obs_draw, action)`; updates until answers are right.

    Right are two looks in a row, so that what only passes by is not taken for it. It gives the last answers.
    """
    tasks = agent.problem.num_tasks
    buffer = ReplayBuffer(tasks, 1, ROWS, 1, 1, CPU, shortest_episode=1)
    generator = torch.Generator().manual_seed(1)
    task_id = torch.arange(tasks)
    for _ in range(ROWS):
        draw = torch.rand(tasks, 1, generator=generator)
        action = 2 * torch.rand(tasks, 1, generator=generator) - 1
        obs, reward, next_obs, terminated = transitions(task_id, draw, action)
        buffer.start(obs)  # every transition is an episode of its own
        buffer.add(action, reward, terminated, torch.ones(tasks, dtype=torch.bool), next_obs, next_obs)
    sample = lambda: buffer.sample(agent.batch_per_task, generator, agent.gamma, agent.n_step)  # noqa: E731
    return update(agent, sample, found, right, most)


def update(agent, sample, found, right, most=1200):
    looks = number = 0
    while looks < 2 and number < most:
        agent.update(sample())
        number += 1
        if number % LOOK == 0:
            looks = looks + 1 if found().tolist() == right else 0
    return found().tolist()


def values(agent, obs, action=0.0, tasks=None):
    tasks = torch.zeros(len(obs), dtype=torch.int64) if tasks is None else torch.tensor(tasks)
    with torch.no_grad():
        column = torch.tensor(obs, dtype=torch.float32)[:, None]
        groups = Groups.of(tasks)
        inputs = groups.split(torch.cat([torch.zeros_like(column) + action, column], dim=1))
        found = agent.critic.values(agent.critics(inputs, groups.task_id), groups.task_id).mean(dim=0)
        return groups.join(found)


def zeros(task_id):
    return torch.zeros(len(task_id), 1)


@pytest.fixture(params=PARTS, ids=lambda part: part[1])
def part(request):
    return request.param


def test_a_truncated_episode_bootstraps(part):
    agent = agent_of(part, 1)
    right = pytest.approx([1 / (1 - GAMMA)], rel=0.05)
    truncated = torch.zeros(1, dtype=torch.bool)
    constant = lambda t, d, a: (zeros(t), torch.ones(1), zeros(t), truncated)  # noqa: E731
    assert learn(agent, constant, lambda: values(agent, [0.0]), right) == right


def test_reward_two_steps_away_is_discounted_once(part):
    agent = agent_of(part, 1)

    def chain(task_id, draw, action):
        second = draw.squeeze(1) < 0.5
        return second[:, None].float(), second.float(), torch.ones(1, 1), second

    right = pytest.approx([GAMMA, 1.0], abs=0.05)
    assert learn(agent, chain, lambda: values(agent, [0.0, 1.0]), right) == right


def test_the_policy_finds_the_action_that_pays(part):
    best, ended = torch.tensor([[0.5], [-0.5]]), torch.ones(2, dtype=torch.bool)

    def quadratic(task_id, draw, action):
        return zeros(task_id), 1 - (action - best).square().squeeze(1), zeros(task_id), ended

    def learned(seed):
        agent = agent_of(part, 2, seed)
        worth = lambda: values(agent, [0.0] * 4, torch.tensor([0.5, -0.5] * 2)[:, None], [0, 0, 1, 1])  # noqa: E731
        learn(agent, quadratic, worth, pytest.approx([1.0, 0.0, 0.0, 1.0], abs=0.2))
        agent = with_the_critics_of(agent)
        where, right = (torch.zeros(2, 1), torch.arange(2)), pytest.approx([0.5, -0.5], abs=0.15)
        return learn(agent, quadratic, lambda: agent.act(*where, mode=True).squeeze(1), right, most=600) == right

    # Some initial weights have actions at the ends, where they hardly change.
    assert any(learned(seed) for seed in range(STARTS))


def test_value_depends_on_the_task_alone(part):
    agent = agent_of(part, 4)

    def by_task(task_id, draw, action):
        return draw, task_id.float(), draw, torch.ones(4, dtype=torch.bool)

    def found():
        return values(agent, [0.1] * 4 + [0.9] * 4, tasks=[0, 1, 2, 3] * 2)

    right = pytest.approx([0.0, 1.0, 2.0, 3.0] * 2, abs=0.25)
    assert learn(agent, by_task, found, right) == right


@pytest.fixture(params=["one_hot", "multi_head"])
def network(request):
    return "network", request.param


def test_rewards_over_several_steps_reach_back_at_once(network):
    """A chain of four steps that pays at its end: with three steps a transition, two bootstraps reach all of it."""
    agent = agent_of(network, 1, n_step=3)
    buffer = ReplayBuffer(1, 4, ROWS, 1, 1, CPU, shortest_episode=4)
    place = torch.tensor([0.0, 1.0, 2.0, 3.0])
    buffer.start(place[:, None])
    generator = torch.Generator().manual_seed(1)
    for _ in range(ROWS // 4):
        ended, final = place == 3, place + 1
        following = torch.where(ended, 0.0, final)
        action = 2 * torch.rand(4, 1, generator=generator) - 1
        buffer.add(action, ended.float(), ended, ended, final[:, None], following[:, None])
        place = following
    sample = lambda: buffer.sample(agent.batch_per_task, generator, agent.gamma, agent.n_step)  # noqa: E731
    right = pytest.approx([GAMMA**3, GAMMA**2, GAMMA, 1.0], abs=0.06)
    assert update(agent, sample, lambda: values(agent, [0.0, 1.0, 2.0, 3.0]), right) == right


def test_temperatures_fall_where_the_policy_has_more_entropy_than_its_target(network):
    agent = agent_of(
        network, 2, initial_temperature=1.0, temperature_learning_rate=3e-2, target_entropy_per_action=-0.5
    )
    nothing = torch.ones(2, dtype=torch.bool)
    # Nothing is paid, so the policy becomes uniform, whose entropy is log 2 > -0.5
    unpaid = lambda t, d, a: (zeros(t), torch.zeros(2), zeros(t), nothing)  # noqa: E731
    assert all(learn(agent, unpaid, lambda: agent.log_temperature.exp() < 0.2, [True, True]))


class OneStep(gymnasium.Env):
    """Starts at 0 or at 1, moves to 1 whatever is done, pays where it began, and is cut off after that one step."""

    observation_space = gymnasium.spaces.Box(-1.0, 2.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = float(self.np_random.integers(2))
        return np.array([self.place], np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), self.place, False, True, {"success": False}


def test_the_loop_bootstraps_from_where_a_truncated_episode_ended(network):
    """From the observation of the next episode instead, which is 0 or 1, the value at 1 would be 3, not 5."""
    rows = np.arange(4.0)[:, None]
    task = TaskDefinition("one-step", "probe", lambda visible: OneStep(), lambda n, s: rows[:n], 1, 1, 1, "inline")
    env = InlineVectorEnv([task], goal_set=GoalSet("train", (rows,)), slots_per_task=2)
    config = RunConfig(warmup_steps=64, updates_per_step=2.0, replay=ReplayConfig(capacity_per_task=256))
    agent = agent_of(network, 1)
    loop = OffPolicyLoop(agent, env, config)
    loop.start()
    for _ in range(250):
        loop.advance()
    assert values(agent, [0.0, 1.0]).tolist() == pytest.approx([GAMMA / (1 - GAMMA), 1 / (1 - GAMMA)], rel=0.1)
