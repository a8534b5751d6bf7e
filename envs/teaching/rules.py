"""The functions of the tasks.

Where an action chooses one of several things, the largest of its numbers does, and the next observation tells which.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from mtrl.plain_types import GoalRows
from mtrl.tensors.task import Draws, Goals, Moved, TensorTask, WorldState

from . import ARMS, CHOICES, STATES

SPEED = 0.1
"""Of a point robot, at most, a step in each direction."""
NEAR = 0.1
"""Distance from a goal within which a point robot is there."""
SPARSE_NEAR = 0.2
"""The same where only that is paid."""


def sample_arms(count: int, seed: int) -> GoalRows:
    """Probabilities of arms, `[count, arm]`, from U[0, 1)."""
    return np.random.default_rng([seed, 1]).random((count, ARMS))


def sample_disc(count: int, seed: int) -> GoalRows:
    """Places `[count, 2]`, uniform in the unit disc."""
    generator = np.random.default_rng([seed, 2])
    angle, radius = generator.uniform(0.0, 2.0 * math.pi, count), np.sqrt(generator.random(count))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def sample_half_circle(count: int, seed: int) -> GoalRows:
    """Places `[count, 2]`, uniform on the upper half of the unit circle."""
    angle = np.random.default_rng([seed, 3]).uniform(0.0, math.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def sample_processes(count: int, seed: int) -> GoalRows:
    """MDPs `[count, number]`: transitions `[state, action, state]`, flat Dirichlet, then mean rewards from N(1, 1).

    Duan et al., "RL2", 2016, section 3.2.
    """
    generator = np.random.default_rng([seed, 4])
    transitions = generator.dirichlet(np.ones(STATES), (count, STATES, CHOICES))
    rewards = generator.normal(1.0, 1.0, (count, STATES, CHOICES))
    return np.concatenate([transitions.reshape(count, -1), rewards.reshape(count, -1)], axis=1)


def process_of(goal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Goals to transitions `[world, state, action, state]` and mean rewards `[world, state, action]`."""
    pairs = STATES * CHOICES
    transitions = goal[:, : pairs * STATES].unflatten(1, (STATES, CHOICES, STATES))
    return transitions, goal[:, pairs * STATES :].unflatten(1, (STATES, CHOICES))


def _no_arm(goal: Goals, draws: Draws) -> WorldState:
    return torch.zeros_like(goal)


def _pull(state: WorldState, action: torch.Tensor, goal: Goals, draws: Draws) -> Moved:
    arm = action.argmax(dim=1, keepdim=True)
    chance = goal.gather(1, arm)
    pulled = torch.zeros_like(goal).scatter(1, arm, 1.0)
    return Moved(pulled, (draws < chance).to(goal.dtype)[:, 0], (chance >= goal.amax(dim=1, keepdim=True))[:, 0])


def _origin(goal: Goals, draws: Draws) -> WorldState:
    return torch.zeros_like(goal)


def _move(state: WorldState, action: torch.Tensor, goal: Goals, draws: Draws) -> Moved:
    place = state + SPEED * action.clamp(-1.0, 1.0)
    distance = (place - goal).norm(dim=1)
    return Moved(place, -distance, distance < NEAR)


def _move_blindly(state: WorldState, action: torch.Tensor, goal: Goals, draws: Draws) -> Moved:
    place = state + SPEED * action.clamp(-1.0, 1.0)
    distance = (place - goal).norm(dim=1)
    there = distance < SPARSE_NEAR
    return Moved(place, (1.0 - distance) * there, there)


def _place_and_goal(state: WorldState, goal: Goals) -> torch.Tensor:
    return torch.cat([state, goal], dim=1)


def _first_state(goal: Goals, draws: Draws) -> WorldState:
    first = torch.zeros((len(goal), STATES + CHOICES), dtype=goal.dtype, device=goal.device)
    first[:, 0] = 1.0
    return first


def _transit(state: WorldState, action: torch.Tensor, goal: Goals, draws: Draws) -> Moved:
    transitions, means = process_of(goal)
    worlds, choice = torch.arange(len(goal), device=goal.device), action.argmax(dim=1)
    now = state[:, :STATES].argmax(dim=1)
    reach, mean = transitions[worlds, now, choice], means[worlds, now, choice]
    after = (draws[:, :1] >= reach.cumsum(dim=1)[:, :-1]).sum(dim=1)
    normal = torch.sqrt(-2.0 * torch.log1p(-draws[:, 1])) * torch.cos(2.0 * math.pi * draws[:, 2])  # Box and Muller
    best = mean >= means[worlds, now].amax(dim=1)
    told = [torch.nn.functional.one_hot(one, size) for one, size in ((after, STATES), (choice, CHOICES))]
    return Moved(torch.cat(told, dim=1).to(goal.dtype), mean + normal, best)


def _state_itself(state: WorldState, goal: Goals) -> torch.Tensor:
    return state


RULES = {
    "bernoulli-arms-v0": TensorTask(_no_arm, _pull, _state_itself, draws=1),
    "point-robot-v0": TensorTask(_origin, _move, _place_and_goal, goal_part=(2, 4)),
    "sparse-point-robot-v0": TensorTask(_origin, _move_blindly, _place_and_goal, goal_part=(2, 4)),
    "tabular-mdp-v0": TensorTask(_first_state, _transit, _state_itself, draws=3),
}
GOAL_SAMPLERS: dict[str, Callable[[int, int], GoalRows]] = {
    "bernoulli-arms-v0": sample_arms,
    "point-robot-v0": sample_disc,
    "sparse-point-robot-v0": sample_half_circle,
    "tabular-mdp-v0": sample_processes,
}
