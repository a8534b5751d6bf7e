"""SimbaV2: everything on the unit sphere, features and weights.

Lee et al., "Hyperspherical Normalization for Scalable Deep Reinforcement Learning", ICML 2025. With n(x) = x / |x|,
linear layers W without bias whose columns (the weights of one output) have length 1, and learned vectors a, b, c:

    h_0 = n(a * W_0 n([s, z, shift]))
    m = n(W_2 relu(b * W_1 h_l)),  h_(l+1) = n(h_l + c * (m - h_l))        a block: a step towards m on the sphere
    output = W_4 (d * W_3 h_L) + bias

The shift keeps the length of the input, which n would lose. After each step of the optimiser, `project` brings every
column back to length 1.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import Bounds, check_bounds
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode, beside
from .layers import Copies, SharedLinear

EPSILON = 1e-8
"""Least length that is divided by; added after rectifiers, so that no vector is 0."""


@dataclass(frozen=True)
class SimbaV2Config(NetworkConfig):
    """`width` units in the stream; `depth`, `layer_norm` and `activation` have no use here."""

    name: str = "simba_v2"
    blocks: int = 2
    """Residual blocks."""
    expansion: int = 4
    """How many times wider than the stream a block is within."""
    shift: float = 3.0
    """Put beside the input before it is normalised."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)


_BOUNDS: Bounds = {"blocks": (0, 1_000), "expansion": (1, 100), "shift": (1e-6, 1e6)}


@register_network("simba_v2", description="features and weights on the unit sphere", config=SimbaV2Config)
class SimbaV2(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: SimbaV2Config, generator: torch.Generator) -> None:
        super().__init__()
        copies, width = shape.copies, config.width
        self.copies, self.shift = copies, config.shift
        self.code = TaskCode(shape, config.code, generator)
        scale = math.sqrt(2.0 / width)
        self.embed = UnitLinear(copies, shape.in_dim + self.code.dim + 1, width, generator)
        self.embed_scale = Scaler(copies, width, scale, scale)
        self.blocks = nn.ModuleList(LerpBlock(copies, config, generator) for _ in range(config.blocks))
        self.head = UnitLinear(copies, width, width, generator)
        self.head_scale = Scaler(copies, width, scale, scale)
        self.last = UnitLinear(copies, width, shape.out_dim, generator)
        self.bias = nn.Parameter(torch.zeros(copies, 1, 1, shape.out_dim))

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        rows = beside(x, self.code(task_id), self.copies)
        shifted = unit(nn.functional.pad(rows, (0, 1), value=self.shift))
        hidden = unit(self.embed_scale(self.embed(shifted)))
        for block in self.blocks:
            hidden = block(hidden)
        return self.last(self.head_scale(self.head(hidden))) + self.bias

    @torch.no_grad()
    def project(self) -> None:
        """See `Network`."""
        for module in self.modules():
            if isinstance(module, UnitLinear):
                module.weight.copy_(nn.functional.normalize(module.weight, dim=1, eps=EPSILON))


class UnitLinear(SharedLinear):
    """A linear layer without bias, all of whose outputs have weights of length 1; they begin orthogonal."""

    def __init__(self, copies: int, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        super().__init__(copies, fan_in, fan_out)
        drawn = torch.empty(copies, fan_in, fan_out)
        for copy in range(copies):
            nn.init.orthogonal_(drawn[copy], generator=generator)
        self.weight = nn.Parameter(nn.functional.normalize(drawn, dim=1, eps=EPSILON))

    def forward(self, x: Copies) -> Copies:
        """`[copies, group, sample, fan_in]` to `[copies, group, sample, fan_out]`."""
        return torch.bmm(x.flatten(1, 2), self.weight).unflatten(1, x.shape[1:3])


class Scaler(nn.Module):
    """Multiplies each number with a learned one.

    Args:
        copies: Independent networks.
        features: Numbers.
        start: What they are multiplied with at the start.
        scale: What is learned begins at, and is multiplied with start / scale: it sets how fast Adam moves it.
    """

    def __init__(self, copies: int, features: int, start: float, scale: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.full((copies, 1, 1, features), scale))
        self.factor = start / scale

    def forward(self, x: Copies) -> Copies:
        """Same shape."""
        return self.value * self.factor * x


class LerpBlock(nn.Module):
    """A step on the sphere, from the stream towards what two layers make of it."""

    def __init__(self, copies: int, config: SimbaV2Config, generator: torch.Generator) -> None:
        super().__init__()
        width, inner = config.width, config.width * config.expansion
        scale = math.sqrt(2.0 / width) / math.sqrt(config.expansion)
        self.up = UnitLinear(copies, width, inner, generator)
        self.up_scale = Scaler(copies, inner, scale, scale)
        self.down = UnitLinear(copies, inner, width, generator)
        self.step = Scaler(copies, width, 1.0 / (config.blocks + 1), 1.0 / math.sqrt(width))

    def forward(self, x: Copies) -> Copies:
        """Same shape."""
        inner = torch.relu(self.up_scale(self.up(x))) + EPSILON
        return unit(x + self.step(unit(self.down(inner)) - x))


def unit(x: Copies) -> Copies:
    """Vectors of length 1."""
    return nn.functional.normalize(x, dim=-1, eps=EPSILON)
