"""FiLM: the task scales and shifts the layers of an encoder of the state.

Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018; in multi-task reinforcement
learning a scalar a layer (Sodhani et al., ICML 2021), as in Meta-World+. With the task's code z and a perceptron G:

    g_1, b_1, g_2, b_2, g_3, b_3 = G(z)
    h_1 = (1 + g_1) relu(W_1 s) + b_1
    h_2 = (1 + g_2) relu(W_2 h_1) + b_2
    h_3 = (1 + g_3) W_3 h_2 + b_3
    output = F([h_3, z])                F a perceptron of `depth` layers of `width` units
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from mtrl.config import Bounds, check_bounds, option
from mtrl.errors import UserError
from mtrl.parts.network import ConditioningConfig, GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode
from .experts import Experts
from .layers import ACTIVATIONS, Linear, perceptron

LAYERS = 3
"""Layers of the encoder."""
HIDDEN = 2
"""Hidden layers between code and modulation."""


@dataclass(frozen=True)
class FilmConfig(NetworkConfig):
    """Encoder and modulation."""

    own_code: ClassVar[ConditioningConfig] = ConditioningConfig("embedding", dim=50)
    name: str = "film"
    film_width: int = 50
    """Units of each layer of the encoder, and of those between code and modulation."""
    modulates: Literal["layer", "unit"] = "layer"
    """One scale and shift for each layer, or for each unit (as in the original)."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.task.code == "hidden":
            raise UserError(f"{option(prefix)}task.code hidden: film modulates layers by the task: choose another")


_BOUNDS: Bounds = {"film_width": (1, math.inf)}


@register_network("film", description="the task scales and shifts the layers of an encoder", config=FilmConfig)
class Film(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: FilmConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, wide = shape.copies, config.film_width
        self.code = TaskCode(shape, config.code, generator)
        self.each = 1 if config.modulates == "layer" else wide
        sizes = (self.code.dim, *[wide] * HIDDEN, LAYERS * 2 * self.each)
        self.modulation = Experts(copies, 1, sizes, config, generator)
        widths = [shape.in_dim, *[wide] * (LAYERS - 1)]
        self.layers = nn.ModuleList(Linear(copies, fan_in, wide, generator) for fan_in in widths)
        self.activation = ACTIVATIONS[config.activation]()
        self.trunk, features = perceptron(copies, wide + self.code.dim, config, generator)
        self.head = Linear(copies, features, shape.out_dim, generator, shape.head_scale)
        self.copies = copies

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        code = self.code(task_id).unsqueeze(2)
        modulation = self.modulation(code).squeeze(1).unflatten(-1, (LAYERS, 2, self.each))
        hidden = x.expand(self.copies, *x.shape)
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden) if index == LAYERS - 1 else self.activation(layer(hidden))
            gain, shift = modulation[..., index, 0, :], modulation[..., index, 1, :]
            hidden = (1.0 + gain) * hidden + shift
        wide = code.expand(self.copies, -1, x.shape[1], -1)
        return self.head(self.trunk(torch.cat([hidden, wide], dim=-1)))
