"""Experts: networks of one shape side by side, whose outputs are mixed."""

import itertools

import torch
from torch import nn

from mtrl.parts.network import NetworkConfig

from .layers import ACTIVATIONS, ExpertCopies, ExpertLinear


class Experts(nn.Module):
    """Perceptrons whose last layer is linear, all experts of all copies as one batched product.

    Args:
        copies: Independent networks.
        experts: Perceptrons in each.
        sizes: Numbers in, units of each hidden layer, numbers out.
        config: Of the network; says what follows each hidden layer.
        generator: Draws the initial weights.
    """

    def __init__(
        self, copies: int, experts: int, sizes: tuple[int, ...], config: NetworkConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.copies, self.experts = copies, experts
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes[:-1]):
            layers.append(ExpertLinear(copies, experts, fan_in, fan_out, generator))
            if config.layer_norm:
                layers.append(ExpertLayerNorm(copies, experts, fan_out))
            layers.append(ACTIVATIONS[config.activation]())
        layers.append(ExpertLinear(copies, experts, sizes[-2], sizes[-1], generator))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> ExpertCopies:
        """`[1 or copies, group, sample, in]` to `[copies, expert, group, sample, out]`."""
        return self.layers(x.unsqueeze(1).expand(self.copies, self.experts, -1, -1, -1))


class ExpertLayerNorm(nn.Module):
    """Layer normalisation with gains and biases of each expert's own."""

    def __init__(self, copies: int, experts: int, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(copies, experts, 1, 1, features))
        self.bias = nn.Parameter(torch.zeros(copies, experts, 1, 1, features))

    def forward(self, x: ExpertCopies) -> ExpertCopies:
        """Same shape."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.gain + self.bias
