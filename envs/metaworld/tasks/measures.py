"""Building blocks of the V2 rewards, as in dm_control's `rewards` and Meta-World's `reward_utils`, in batches.

Distances are m, everything else is a number in [0, 1] and of shape `[world]`.
"""

import torch

Number = float | torch.Tensor
LONG_TAIL = 3.0
"""Makes `1 / ((x * LONG_TAIL)**2 + 1)` a tenth at x = 1."""
GAUSSIAN = -2.302585092994046
"""Makes `exp(x**2 * GAUSSIAN)` a tenth at x = 1."""
_TINY = 1e-30
"""Divides in place of zero: a margin of zero makes a step. Single precision can hold it."""


def _beyond(x: torch.Tensor, upper: Number, margin: Number, lower: Number | None) -> torch.Tensor:
    """How far x is outside its bounds, in margins."""
    distance = x - upper
    if lower is not None:
        distance = torch.maximum(distance, lower - x)
    distance = distance.clamp_(min=0)
    return distance / (margin.clamp(min=_TINY) if isinstance(margin, torch.Tensor) else max(margin, _TINY))


def near(x: torch.Tensor, upper: Number, margin: Number, lower: Number | None = None) -> torch.Tensor:
    """1 within `[lower, upper]`, a tenth a margin away from it, with a long tail (`tolerance(..., "long_tail")`).

    Args:
        x: `[world]`.
        upper: Upper bound.
        margin: Distance from the bound at which the value is a tenth; zero makes a step.
        lower: Lower bound; None where x cannot be below it.
    """
    return _beyond(x, upper, margin, lower).mul_(LONG_TAIL).square_().add_(1).reciprocal_()


def near_gaussian(x: torch.Tensor, upper: Number, margin: Number) -> torch.Tensor:
    """1 up to the bound, a tenth a margin beyond, as a Gaussian (`tolerance(..., "gaussian")`)."""
    return _beyond(x, upper, margin, None).square_().mul_(GAUSSIAN).exp_()


def near_either(x: torch.Tensor, upper: Number, margin: Number, gaussian: torch.Tensor) -> torch.Tensor:
    """`near_gaussian` where `gaussian`, a bool `[world]`, is set, and `near` elsewhere."""
    square = _beyond(x, upper, margin, None).square_()
    tail = (square * LONG_TAIL**2).add_(1).reciprocal_()
    return torch.where(gaussian, square.mul_(GAUSSIAN).exp_(), tail)


def both(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Hamacher's product: high where both are high, 0 where both are 0."""
    product = a * b
    return product / (a + b - product).clamp_(min=_TINY)


def distance(a: torch.Tensor, b: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
    """Length of `(a - b) * scale`, `[world]`."""
    difference = a - b
    return torch.linalg.vector_norm(difference if scale is None else difference.mul_(scale), dim=-1)


def funnel(radius: torch.Tensor, threshold: Number, slope: Number, height: Number) -> torch.Tensor:
    """Height of a logarithmic funnel at a radius, m: `slope * log(radius - threshold) + height`, 0 within."""
    outside = radius > threshold
    return torch.where(outside, (radius - threshold).clamp_(min=_TINY).log_().mul_(slope).add_(height), 0.0)
