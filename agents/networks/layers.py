"""Building blocks of the networks."""

import math

import torch
from jaxtyping import Float32, Int64
from torch import nn

from mtrl.algorithm import NetworkConfig, NetworkShape

Copies = Float32[torch.Tensor, "copies batch features"]


class Linear(nn.Module):
    """Independent linear layers, one a copy, as one batched product.

    Args:
        copies: Independent layers.
        fan_in: Numbers in.
        fan_out: Numbers out.
        generator: Draws the initial weights.
        scale: Weights and biases from U(-scale, scale); None: He-uniform weights and zero biases.
    """

    def __init__(
        self, copies: int, fan_in: int, fan_out: int, generator: torch.Generator, scale: float | None = None
    ) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / fan_in) if scale is None else scale
        draw = torch.rand(copies, fan_in, fan_out, generator=generator)
        self.weight = nn.Parameter((2.0 * draw - 1.0) * bound)
        bias = torch.zeros(copies, 1, fan_out)
        if scale is not None:
            bias = (2.0 * torch.rand(copies, 1, fan_out, generator=generator) - 1.0) * scale
        self.bias = nn.Parameter(bias)

    def forward(self, x: Copies) -> Copies:
        """`[copies, batch, fan_in]` to `[copies, batch, fan_out]`."""
        return torch.baddbmm(self.bias, x, self.weight)


class LayerNorm(nn.Module):
    """Layer normalisation with gains and biases of each copy's own."""

    def __init__(self, copies: int, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(copies, 1, features))
        self.bias = nn.Parameter(torch.zeros(copies, 1, features))

    def forward(self, x: Copies) -> Copies:
        """Same shape."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.gain + self.bias


class Trunk(nn.Module):
    """A multi-layer perceptron over the input and the task's one-hot code, appended at the end."""

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.copies = shape.copies
        self.register_buffer("codes", torch.eye(shape.num_tasks), persistent=False)
        layers: list[nn.Module] = []
        features = shape.in_dim + shape.num_tasks
        for _ in range(config.depth):
            layers.append(Linear(shape.copies, features, config.width, generator))
            if config.layer_norm:
                layers.append(LayerNorm(shape.copies, config.width))
            layers.append(nn.ReLU())
            features = config.width
        self.layers = nn.Sequential(*layers)
        self.out_dim = features

    def forward(self, x: Float32[torch.Tensor, "batch in"], task_id: Int64[torch.Tensor, " batch"]) -> Copies:
        """Features `[copies, batch, width]`."""
        coded = torch.cat([x, self.get_buffer("codes")[task_id]], dim=-1)
        return self.layers(coded.expand(self.copies, -1, -1))
