"""Scale-invariant weights: each task's loss divided by its own size.

For a positive loss the gradient is that of its logarithm (the SI baseline of Navon et al., "Multi-Task Learning as a
Bargaining Game", ICML 2022), so a task whose returns are a hundred times larger weighs no more than the others.
"""

import torch
from jaxtyping import Float32

from mtrl.algorithm import COMBINERS

SMALLEST = 1e-3
"""Losses smaller than this are no longer scaled up, since a loss that passes through zero has no scale."""


@COMBINERS.decorator("scale_invariant", "each task's loss divided by its own size, so that all tasks weigh the same")
def scale_invariant(losses: Float32[torch.Tensor, " task"]) -> Float32[torch.Tensor, ""]:
    """`[task]` to a scalar, whose value is the mean sign and whose gradient is what counts."""
    return (losses / losses.detach().abs().clamp(min=SMALLEST)).mean()
