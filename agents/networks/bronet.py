"""BroNet: wide residual blocks with layer normalisation, as in BRO and BRC.

Nauman et al., "Bigger, Regularized, Optimistic", NeurIPS 2024; "Bigger, Regularized, Categorical", NeurIPS 2025, for
many tasks, with a learned embedding of the task beside the input. D are linear layers, N layer normalisations:

    h_0 = relu(N(D([s, z])))
    h_(l+1) = h_l + N(D(relu(N(D(h_l)))))
    output = D(h_L)

All weights begin orthogonal, times sqrt(2), and biases at zero, the last layer's too.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mtrl.config import Bounds, check_bounds
from mtrl.parts.network import ConditioningConfig, GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode, beside
from .layers import ACTIVATIONS, Copies, LayerNorm, Linear

GAIN = math.sqrt(2.0)


@dataclass(frozen=True)
class BroNetConfig(NetworkConfig):
    """`width` units everywhere; `depth` and `layer_norm` have no use here."""

    own_code: ClassVar[ConditioningConfig] = ConditioningConfig("embedding", dim=32, norm="unit")
    name: str = "bronet"
    blocks: int = 2
    """Residual blocks, of two layers each."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)


_BOUNDS: Bounds = {"blocks": (0, 1_000)}


@register_network("bronet", description="wide residual blocks with layer norm, a task embedding", config=BroNetConfig)
class BroNet(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: BroNetConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, width = shape.copies, config.width
        self.copies = copies
        self.code = TaskCode(shape, config.code, generator)
        activation = ACTIVATIONS[config.activation]
        self.begin = nn.Sequential(
            _orthogonal(copies, shape.in_dim + self.code.dim, width, generator), LayerNorm(copies, width), activation()
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                _orthogonal(copies, width, width, generator),
                LayerNorm(copies, width),
                activation(),
                _orthogonal(copies, width, width, generator),
                LayerNorm(copies, width),
            )
            for _ in range(config.blocks)
        )
        self.head = _orthogonal(copies, width, shape.out_dim, generator)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        hidden: Copies = self.begin(beside(x, self.code(task_id), self.copies))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return self.head(hidden)


def _orthogonal(copies: int, fan_in: int, fan_out: int, generator: torch.Generator) -> Linear:
    layer = Linear(copies, fan_in, fan_out, generator)
    for copy in range(copies):
        nn.init.orthogonal_(layer.weight[copy], GAIN, generator)
    return layer
