"""Probe problems whose values and best actions are known, learned by PPO with every registered part."""

import dataclasses

import pytest
import torch
from agent_toys import CPU
from pair_probe import BINS, CONSTANT, FIRST, LAST, SLOPE, fitted
from test_probes import PARTS

from mtrl.agents.ppo import PPO
from mtrl.agents.ppo_config import PPOConfig
from mtrl.algorithm import Problem
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.groups import Groups
from mtrl.parts.network import NetworkConfig
from mtrl.rollouts import RolloutBuffer
from mtrl.runner.on_policy import Lessons

TASKS, WORLDS, STEPS, GAMMA = 2, 8, 8, 0.5
MOST, LOOK, STARTS = 120, 5, 4
"""Rollouts at most, those between two looks at the answers, and initial weights that are tried."""
PARTS = [part for part in PARTS if part[1] != "temperature"]  # of which PPO has none


def agent_of(part, seed, **changes):
    chosen = {"network": "one_hot", "critic": "mse", "combiner": "mean", part[0]: part[1]}
    size = fitted(NetworkConfig(depth=1, activation="leaky_relu").renamed(chosen["network"]))
    combiner = CombinerConfig().renamed(chosen["combiner"])
    value = fitted(CriticConfig().renamed(chosen["critic"]), **BINS)
    if chosen["critic"] == "popart":
        value = dataclasses.replace(value, beta=0.1)
    config = PPOConfig(
        actor=size,
        critic=size,
        value=value,
        actor_combiner=combiner,
        critic_combiner=combiner,
        rollout_steps=STEPS,
        epochs=4,
        minibatches=2,
        gamma=GAMMA,
        gae_lambda=0.8,
        entropy_weight=0.0,
        initial_log_std=-1.0,
        actor_learning_rate=3e-3,
        critic_learning_rate=1e-2,
        max_gradient_norm=10.0,
    )
    obs, action = (torch.ones(TASKS, numbers, dtype=torch.bool) for numbers in (len(FIRST), 1))
    return PPO(dataclasses.replace(config, **changes), Problem(("up", "down"), obs, action, CPU, seed))


def two_places(number, action, task_id):
    """Pays c + s a at the last place, where an episode terminates, and s a at the first, before it."""
    last = number % 2 == 1
    reward = CONSTANT[task_id] * last + SLOPE[task_id] * action[:, 0]
    return reward, torch.full((len(reward),), last), torch.full((len(reward),), last)


def for_ever(number, action, task_id):
    """Pays 1 + task at every step, and is truncated after every second."""
    reward = 1.0 + task_id.float()
    return reward, torch.zeros(len(reward), dtype=torch.bool), torch.full((len(reward),), number % 2 == 1)


def learn(agent, step, found, right):
    """Rollouts of `step(number, action, task_id) -> (reward, terminated, ended)` until two looks in a row are right."""
    task_id = torch.arange(TASKS).repeat_interleave(WORLDS)
    rollout = RolloutBuffer(STEPS, len(task_id), len(FIRST), 1, CPU, shortest_episode=2)
    lessons = Lessons(agent.epochs, agent.minibatches, 0, CPU)
    places = [FIRST.expand(len(task_id), -1), LAST.expand(len(task_id), -1)]
    looks = 0
    for number in range(MOST):
        for now in range(STEPS):
            explored = agent.explore(places[now % 2], task_id)
            reward, terminated, ended = step(now, explored.action, task_id)
            rollout.add(places[now % 2], explored.drawn, explored.log_prob, reward, terminated, ended, places[0])
        lessons.begin(agent.digest(rollout, places[0], number / MOST))
        rollout.clear()
        while lessons.made < lessons.total:
            agent.update(lessons.next())
        if number % LOOK == LOOK - 1:
            looks = looks + 1 if found(agent).tolist() == right else 0
            if looks == 2:
                break
    return found(agent).tolist()


@torch.no_grad()
def values(agent):
    """Of the first place in both tasks, then of the last."""
    obs = torch.stack([FIRST, FIRST, LAST, LAST])
    groups = Groups.of(torch.tensor([0, 1, 0, 1]))
    outputs = agent.critics(groups.split(obs), groups.task_id)
    return groups.join(agent.critic.values(outputs, groups.task_id).mean(dim=0))


def modes(agent):
    """The most likely actions, in the same order."""
    return agent.act(torch.stack([FIRST, FIRST, LAST, LAST]), torch.tensor([0, 1, 0, 1]), mode=True)[:, 0]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part[1])
def test_the_policy_finds_what_pays_and_values_are_those_of_the_policy(part):
    # At the last place 1.5 + 1.5 and -1.5 + 1.5 with the best action; before it 1.5 and half of that.
    best, worth = torch.tensor([1.0, -1.0, 1.0, -1.0]), torch.tensor([3.0, 1.5, 3.0, 0.0])

    def right(agent):
        return ((modes(agent) - best).abs() < 0.1) & ((values(agent) - worth).abs() < 0.4)

    def learned(seed):
        return learn(agent_of(part, seed), two_places, right, [True] * 4)

    assert any(learned(seed) == [True] * 4 for seed in range(STARTS))


@pytest.mark.parametrize("part", [part for part in PARTS if part[0] != "combiner"], ids=lambda part: part[1])
def test_truncated_episodes_bootstrap_from_where_they_ended(part):
    # 1 and 2 at every step for ever; were the truncation an end, the last place would be worth 1 and 2 alone.
    right = pytest.approx([2.0, 4.0, 2.0, 4.0], abs=0.3)
    assert any(learn(agent_of(part, seed), for_ever, values, right) == right for seed in range(STARTS))
