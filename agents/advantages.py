"""Advantages of a rollout, and the shapes between rollouts, `[time, world]`, and updates, `[task, sample]`."""

from typing import Literal

import torch
from jaxtyping import Float32

from mtrl.parts.critic import Samples
from mtrl.ranks import ALONE, Ranks
from mtrl.rollouts import PerStep, RolloutBuffer, gae
from mtrl.types import Observations

from . import baseline

LEAST_DEVIATION = 1e-8
"""Of advantages."""


def by_task(rows: torch.Tensor, tasks: int) -> torch.Tensor:
    """`[time, world, ...]`, worlds sorted by task, to a copy `[task, sample, ...]`; samples are sorted by time."""
    return rows.unflatten(1, (tasks, -1)).movedim(1, 0).clone(memory_format=torch.contiguous_format).flatten(1, 2)


def over_time(rows: torch.Tensor, steps: int) -> torch.Tensor:
    """The inverse of `by_task`, for so many steps."""
    return rows.unflatten(1, (steps, -1)).movedim(0, 1).flatten(1, 2)


def with_values(
    rollout: RolloutBuffer,
    reward: PerStep,
    value: PerStep,
    last: Float32[torch.Tensor, " world"],
    final: torch.Tensor,
    gamma: float,
    lam: float,
) -> tuple[PerStep, PerStep]:
    """Generalised advantages over a critic's values, and what these are to become.

    Args:
        rollout: A complete one.
        reward: Its rewards, on whatever scale the critic's values are.
        value: Of its observations.
        last: Values after its last step.
        final: Values of the last observations of episodes, `rollout.final_obs`.
        gamma: Discount.
        lam: See `gae`.
    """
    following = rollout.next_values(value, last, final)
    return gae(reward, value, following, rollout.terminated, rollout.ended, gamma=gamma, lam=lam)


def with_linear_baseline(
    rollout: RolloutBuffer,
    last_obs: Observations,
    reward: PerStep,
    tasks: int,
    gamma: float,
    lam: float,
    ranks: Ranks = ALONE,
) -> tuple[PerStep, PerStep]:
    """Generalised advantages over a linear function of observation and time, fitted to this very rollout.

    It is fitted to the discounted rewards up to the end of the episode, or of the rollout, and nothing is thought to
    follow the end of an episode: a rollout should hold whole ones.

    Args:
        rollout: A complete one.
        last_obs: After its last step.
        reward: Its rewards.
        tasks: Tasks.
        gamma: Discount.
        lam: See `gae`.
        ranks: Processes that each have a rollout of their own.
    """
    steps, nothing = len(reward), torch.zeros_like(reward)
    returns, _ = gae(reward, nothing, nothing, rollout.terminated, rollout.ended, gamma=gamma, lam=1.0)
    inputs = baseline.features(by_task(rollout.obs, tasks), by_task(rollout.age, tasks).to(torch.float32))
    weights = baseline.fit(inputs, by_task(returns, tasks), ranks)
    value = over_time(baseline.predict(inputs, weights), steps)
    age = rollout.next_age.to(torch.float32)
    after = baseline.features(by_task(last_obs[None], tasks), by_task(age[None], tasks))
    last = over_time(baseline.predict(after, weights), 1)[0]
    final = torch.zeros(rollout.final_obs.shape[:2], device=reward.device)
    return with_values(rollout, reward, value, last, final, gamma, lam)


def normalized(advantage: Samples, scope: Literal["task", "all", "none"], ranks: Ranks = ALONE) -> Samples:
    """Advantages `[task, sample]` with mean 0 and deviation 1 for each task, or over all tasks, or as they are."""
    if scope == "none":
        return advantage
    axes = (1,) if scope == "task" else (0, 1)
    centred = advantage - ranks.mean(advantage.mean(dim=axes, keepdim=True))[0]
    variance = ranks.mean(centred.square().mean(dim=axes, keepdim=True))[0]
    return centred / (variance.sqrt() + LEAST_DEVIATION)
