"""What can be reached in the small tasks: the best that any agent can do, and strategies to compare with."""

import functools

import numpy as np
import torch

from .rules import SPEED, process_of


def best_bandit_total(arms: int, pulls: int) -> float:
    """The most that any strategy wins on average in so many pulls at arms with probabilities from U[0, 1).

    By backward induction over what has been won and lost at each arm, whose order does not matter.
    """

    @functools.cache
    def best(seen: tuple[tuple[int, int], ...], left: int) -> float:
        if left == 0:
            return 0.0
        values = []
        for place, (won, lost) in enumerate(seen):
            if place and seen[place - 1] == (won, lost):
                continue  # equal arms are worth the same
            chance = (won + 1) / (won + lost + 2)
            others = seen[:place] + seen[place + 1 :]
            after_win = tuple(sorted((*others, (won + 1, lost))))
            after_loss = tuple(sorted((*others, (won, lost + 1))))
            values.append(chance * (1.0 + best(after_win, left - 1)) + (1.0 - chance) * best(after_loss, left - 1))
        return max(values)

    return best(((0, 0),) * arms, pulls)


def thompson_bandit_total(chances: np.ndarray, pulls: int, seed: int) -> float:
    """What Thompson's sampling wins on average in so many pulls.

    Args:
        chances: `[trial, arm]`.
        pulls: In a trial.
        seed: Fixes all draws.
    """
    generator, trials = np.random.default_rng(seed), np.arange(len(chances))
    won, lost = np.ones_like(chances), np.ones_like(chances)
    total = 0.0
    for _ in range(pulls):
        arm = generator.beta(won, lost).argmax(axis=1)
        paid = generator.random(len(chances)) < chances[trials, arm]
        won[trials, arm] += paid
        lost[trials, arm] += ~paid
        total += paid.mean()
    return float(total)


def known_goal_return(goal: torch.Tensor, horizon: int) -> torch.Tensor:
    """`[goal]`, the return of a point robot that knows its goal `[goal, 2]`: along both axes as fast as it can."""
    steps = torch.arange(1, horizon + 1, dtype=goal.dtype)[:, None, None]
    left = (goal.abs()[None] - SPEED * steps).clamp(min=0.0)
    return -left.norm(dim=2).sum(dim=0)


def best_process_total(goal: torch.Tensor, horizon: int) -> torch.Tensor:
    """`[goal]`, the most that a strategy gets on average in an episode of an MDP that it knows, by value iteration.

    Args:
        goal: `[goal, number]`, see `sample_processes`.
        horizon: Steps of the episode, from state 0.
    """
    transitions, rewards = process_of(goal)
    value = torch.zeros_like(rewards[:, :, 0])
    for _ in range(horizon):
        value = (rewards + torch.einsum("gsan,gn->gsa", transitions, value)).amax(dim=2)
    return value[:, 0]
