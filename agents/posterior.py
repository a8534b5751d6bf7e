"""Posteriors of latent variables: products of Gaussians, one factor for each step that was seen."""

from dataclasses import dataclass

import torch

LEAST_DEVIATION = 1e-3
"""Of a factor."""


def factors(outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """An encoder's outputs `[..., 2 * latent]` as means and precisions `[..., latent]` of Gaussian factors."""
    mean, raw = outputs.chunk(2, dim=-1)
    return mean, (torch.nn.functional.softplus(raw) + LEAST_DEVIATION) ** -2


@dataclass(frozen=True)
class Posterior:
    """Independent Gaussians.

    Attributes:
        mean: `[row, latent]`.
        precision: `[row, latent]`, one over the variance.
    """

    mean: torch.Tensor
    precision: torch.Tensor

    @classmethod
    def prior(cls, rows: int, latent: int, device: torch.device) -> "Posterior":
        """Standard normal ones."""
        mean = torch.zeros((rows, latent), device=device)
        return cls(mean, torch.ones_like(mean))

    @property
    def deviation(self) -> torch.Tensor:
        """`[row, latent]`."""
        return self.precision.rsqrt()

    def with_factors(
        self, mean: torch.Tensor, precision: torch.Tensor, where: torch.Tensor | None = None
    ) -> "Posterior":
        """Times one Gaussian factor a row; the product of several is one with their precisions' sum.

        Args:
            mean: `[row, latent]` of the factors.
            precision: `[row, latent]` of the factors.
            where: `[row]` bool, which rows have one; None: all.
        """
        if where is not None:
            precision = precision * where.unsqueeze(1)
        total = self.precision + precision
        return Posterior((self.precision * self.mean + precision * mean) / total, total)

    def begun_where(self, mask: torch.Tensor) -> "Posterior":
        """The prior again where `mask`, `[row]` bool, is set."""
        chosen = mask.unsqueeze(1)
        return Posterior(self.mean.masked_fill(chosen, 0.0), self.precision.masked_fill(chosen, 1.0))

    def divergence(self) -> torch.Tensor:
        """`[row]`, Kullback-Leibler from the standard normal to it: how much was learned."""
        each = 1.0 / self.precision + self.mean.square() - 1.0 + self.precision.log()
        return 0.5 * each.sum(dim=1)
