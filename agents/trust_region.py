"""A step to a better policy within a region of trust, measured by the divergence from the policy before.

Schulman et al., "Trust Region Policy Optimization", ICML 2015, appendix C.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Vector = torch.Tensor
"""`[number]`, all parameters in a row."""
Measure = Callable[[list[torch.Tensor]], tuple[torch.Tensor, torch.Tensor]]
"""Parameters to the loss and the divergence, two scalars; the divergence and its gradient are 0 at the start."""


@dataclass(frozen=True)
class TrustRegion:
    """How a step is looked for.

    Attributes:
        limit: Of the divergence.
        iterations: Of the conjugate gradient method.
        damping: Added to the curvature, times the identity.
        shrink: What the step is multiplied with each time that it does not do.
        attempts: Steps that are tried before none is made.
    """

    limit: float = 0.01
    iterations: int = 10
    damping: float = 1e-5
    shrink: float = 0.8
    attempts: int = 15

    def step(self, parameters: list[torch.Tensor], measure: Measure) -> dict[str, torch.Tensor]:
        """Changes the parameters, in place, to the first that are better within the limit, or not at all.

        Args:
            parameters: What to change.
            measure: What is to become smaller, and what may not become larger than the limit.

        Returns:
            `loss/actor` before, `gain` and `kl` of the step that was made, and `share`, what was left of the full one.
        """
        loss, divergence = measure(parameters)
        downhill = -_flat(torch.autograd.grad(loss, parameters, retain_graph=True))
        slope = _flat(torch.autograd.grad(divergence, parameters, create_graph=True))

        def curvature(vector: Vector) -> Vector:
            product = torch.autograd.grad(slope @ vector, parameters, retain_graph=True)
            return _flat(product) + self.damping * vector

        direction = conjugate_gradient(curvature, downhill, self.iterations)
        bend = direction @ curvature(direction)
        full = direction * (2.0 * self.limit / bend.clamp(min=1e-12)).sqrt()
        full = torch.where(torch.isfinite(full).all(), full, torch.zeros_like(full))
        return self._search(parameters, measure, full, loss.detach())

    @torch.no_grad()
    def _search(
        self, parameters: list[torch.Tensor], measure: Measure, full: Vector, before: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The longest of ever shorter steps that does; the host waits for each."""
        start, nothing = [parameter.clone() for parameter in parameters], torch.zeros_like(before)
        share = 1.0
        for _ in range(self.attempts):
            _move(parameters, start, full, share)
            with torch.enable_grad():  # losses may have gradients within
                loss, divergence = (value.detach() for value in measure(parameters))
            if bool((loss < before) & (divergence <= self.limit)):
                return {"loss/actor": before, "gain": before - loss, "kl": divergence, "share": nothing + share}
            share *= self.shrink
        _move(parameters, start, full, 0.0)
        return {"loss/actor": before, "gain": nothing, "kl": nothing, "share": nothing}


def conjugate_gradient(product: Callable[[Vector], Vector], right: Vector, iterations: int) -> Vector:
    """X with `product(x)` near `right`, for a linear function that is symmetric and positive definite.

    Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952. It ends by itself where
    nothing is left: a residual of 0 makes no further step.

    Args:
        product: The function.
        right: What it is to give.
        iterations: At most; as many as there are numbers solve the system but for rounding.
    """
    solution, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    squared = residual @ residual
    for _ in range(iterations):
        bent = product(direction)
        length = _ratio(squared, direction @ bent)
        solution = solution + length * direction
        residual = residual - length * bent
        before, squared = squared, residual @ residual
        direction = residual + _ratio(squared, before) * direction
    return solution


def _ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """0 where there is nothing left to divide by."""
    return torch.where(
        below > 0, above / torch.where(below > 0, below, torch.ones_like(below)), torch.zeros_like(above)
    )


def _flat(parts: tuple[torch.Tensor, ...]) -> Vector:
    return torch.cat([part.reshape(-1) for part in parts])


def _move(parameters: list[torch.Tensor], start: list[torch.Tensor], full: Vector, share: float) -> None:
    """Puts the parameters a share of the full step away from the start."""
    parts = full.split([parameter.numel() for parameter in parameters])
    for parameter, place, part in zip(parameters, start, parts, strict=True):
        parameter.copy_(place + share * part.view_as(parameter))
