"""Soft Modularization: layers of shared modules, with a routing between them that state and task decide.

Yang et al., "Multi-Task Reinforcement Learning with Soft Modularization", NeurIPS 2020, as in Meta-World+. With state
features f(s) and a linear map z of the task's code, all maps but those named affine:

    e = E(relu(z * f(s)))                                    what routing follows from, E a perceptron
    e_0 = e,  e_l = e * U_l [p_0, ..., p_(l-1)]              told all routings before
    p_l = softmax over j of D_l relu(e_l)                    `[to i, from j]`; the last has one i
    x_0j = relu(f(s)),  x_(l+1)i = relu(sum_j p_l[i, j] M_lj(x_lj))
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import Bounds, check_bounds
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode
from .layers import ACTIVATIONS, Copies, ExpertLinear, LayerNorm, Linear

ROUTING_SCALE = 1e-3
"""Bound of the routing's initial weights: at the start all modules weigh nearly the same."""


@dataclass(frozen=True)
class SoftModulesConfig(NetworkConfig):
    """Modules and their routing: `depth` layers of modules, each of `width` units."""

    name: str = "soft_modules"
    modules: int = 2
    """Modules in each layer."""
    base_width: int = 400
    """Units of both layers that the state goes through before modules and routing."""
    routing_width: int = 256
    """Units that the routing follows from."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)


_BOUNDS: Bounds = {"modules": (1, 1_000), "base_width": (1, math.inf), "routing_width": (1, math.inf)}


@register_network(
    "soft_modules", description="layers of shared modules, mixed as state and task decide", config=SoftModulesConfig
)
class SoftModules(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: SoftModulesConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, base = shape.copies, config.base_width
        self.copies, self.modules_per_layer = copies, config.modules
        self.activation = ACTIVATIONS[config.activation]()
        self.base = nn.Sequential(
            Linear(copies, shape.in_dim, base, generator), self.activation, Linear(copies, base, base, generator)
        )
        self.code = TaskCode(shape, config.task, generator)
        self.task = Linear(copies, self.code.dim, base, generator)
        self.routing = Routing(copies, config, generator)
        self.first = Linear(copies, base, config.modules * config.width, generator)
        self.later = nn.ModuleList(
            ExpertLinear(copies, config.modules, config.width, config.width, generator) for _ in range(config.depth - 1)
        )
        self.norms = nn.ModuleList(LayerNorm(copies, config.width) for _ in range(config.depth * config.layer_norm))
        self.head = Linear(copies, config.width, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        state = self.base(x.expand(self.copies, *x.shape))
        code = self.code(task_id).expand(self.copies, -1, -1)
        task = self.task(code.unsqueeze(2))
        routings = self.routing(self.activation(state * task))
        modules = self.first(self.activation(state)).unflatten(-1, (self.modules_per_layer, -1)).movedim(-2, 1)
        mixed = self._mix(routings[0], modules, 0)
        for index, layer in enumerate(self.later, start=1):
            mixed = self._mix(routings[index], layer(mixed), index)
        return self.head(mixed.squeeze(1))

    def _mix(self, routing: torch.Tensor, modules: torch.Tensor, index: int) -> torch.Tensor:
        """Mixtures of a layer's modules `[copies, to, group, sample, width]`, through the activation.

        Args:
            routing: `[copies, group, sample, to, from]`.
            modules: `[copies, from, group, sample, width]`.
            index: Of the layer.
        """
        mixed = torch.einsum("cgsij,cjgsw->cigsw", routing, modules)
        if self.norms:
            mixed = self.norms[index](mixed.flatten(1, 2)).unflatten(1, mixed.shape[1:3])
        return self.activation(mixed)


class Routing(nn.Module):
    """Probabilities of all layers' modules.

    Args:
        copies: Independent networks.
        config: Of the network.
        generator: Draws the initial weights.
    """

    def __init__(self, copies: int, config: SoftModulesConfig, generator: torch.Generator) -> None:
        super().__init__()
        width, square = config.routing_width, config.modules**2
        self.activation = ACTIVATIONS[config.activation]()
        self.modules_per_layer = config.modules
        self.embed = nn.Sequential(
            Linear(copies, config.base_width, width, generator),
            self.activation,
            Linear(copies, width, width, generator),
        )
        outputs = [*[square] * (config.depth - 1), config.modules]
        self.logits = nn.ModuleList(zero_bias(copies, width, out, generator) for out in outputs)
        self.told = nn.ModuleList(Linear(copies, layer * square, width, generator) for layer in range(1, config.depth))

    def forward(self, x: Copies) -> list[torch.Tensor]:
        """Features of state and task to each layer's `[copies, group, sample, to, from]`; the last has one `to`."""
        embedded = told = self.embed(x)
        routings: list[torch.Tensor] = []
        for index, logits in enumerate(self.logits):
            if index:
                earlier = torch.cat([routing.flatten(-2) for routing in routings], dim=-1)
                told = embedded * self.told[index - 1](earlier)
            table = logits(self.activation(told)).unflatten(-1, (-1, self.modules_per_layer))
            routings.append(table.softmax(dim=-1))
        return routings


def zero_bias(copies: int, fan_in: int, fan_out: int, generator: torch.Generator) -> Linear:
    """The layer that gives a routing's logits."""
    layer = Linear(copies, fan_in, fan_out, generator, ROUTING_SCALE)
    nn.init.zeros_(layer.bias)
    return layer
