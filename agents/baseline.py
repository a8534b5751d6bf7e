"""A linear baseline for returns, fitted to each rollout.

Duan et al., "Benchmarking Deep Reinforcement Learning for Continuous Control", ICML 2016, as the on-policy agents of
Meta-World+ (McLean et al., 2025) use it.
"""

import torch
from jaxtyping import Float32

from mtrl.parts.critic import Samples
from mtrl.ranks import ALONE, Ranks

FURTHEST = 10.0
"""Observations are clipped to this."""
STEPS = 100.0
"""Times are counted in so many steps."""
POWERS = 3
RIDGE = 1e-5
"""Of the normal equations, which many features of an observation that never change would make singular."""


def features(
    obs: Float32[torch.Tensor, "group sample obs"], age: Float32[torch.Tensor, "group sample"]
) -> Float32[torch.Tensor, "group sample feature"]:
    """Observations, their squares, the first powers of the time in the episode, and 1."""
    near, time = obs.clamp(-FURTHEST, FURTHEST), age.unsqueeze(-1) / STEPS
    powers = [time**power for power in range(1, POWERS + 1)]
    return torch.cat([near, near.square(), *powers, torch.ones_like(time)], dim=-1)


def fit(inputs: torch.Tensor, returns: Samples, ranks: Ranks = ALONE) -> torch.Tensor:
    """Weights `[group, feature]` of the linear functions that are nearest to the returns, in double precision.

    Args:
        inputs: `[group, sample, feature]`.
        returns: `[group, sample]`.
        ranks: Processes that each have samples of their own, for one fit to all of them.
    """
    x, y = inputs.to(torch.float64), returns.to(torch.float64).unsqueeze(-1)
    ridge = RIDGE * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    products, right = (ranks.size * mean for mean in ranks.mean(x.mT @ x, x.mT @ y))
    # `solve_ex` waits for no device to say whether all went well; the ridge sees to it that it does.
    return torch.linalg.solve_ex(products + ridge, right).result.squeeze(-1)


def predict(inputs: torch.Tensor, weights: torch.Tensor) -> Samples:
    """What the linear functions give, `[group, sample]`."""
    return (inputs.to(torch.float64) @ weights.unsqueeze(-1)).squeeze(-1).to(torch.float32)
