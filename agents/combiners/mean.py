"""Equal weights: the mean over tasks."""

import torch
from jaxtyping import Float32

from mtrl.algorithm import COMBINERS


@COMBINERS.decorator("mean", "mean over tasks: every task weighs as much as its loss is large")
def mean(losses: Float32[torch.Tensor, " task"]) -> Float32[torch.Tensor, ""]:
    """`[task]` to a scalar."""
    return losses.mean()
