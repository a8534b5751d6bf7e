"""A hypernetwork: all weights of a small main network are made from the task's code.

Ha et al., "HyperNetworks", ICLR 2017; in reinforcement learning Sarafian et al., ICML 2021, and Beck et al.,
"Hypernetworks in Meta-Reinforcement Learning", CoRL 2022. With the task's code z (an embedding, the task's id, or what
is known of the task) and a perceptron T of `depth` layers of `width` units with F numbers at its end:

    e = t / |t|,  t = T(z)
    W_l = sum_f G_lf e_f + H_l         weights of layer l of the main network, its bias likewise

With H_l = 0 they begin with the variance of a plain network's (hyperfan-in, Chang et al., ICLR 2020), which is that of
G_l, since |e| = 1; that also keeps the optimiser's steps from adding up over F. With G_l = 0 all tasks
begin with one network (Bias-HyperInit, Beck et al., 2022).
"""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mtrl.config import Bounds, check_bounds, option
from mtrl.errors import UserError
from mtrl.parts.network import ConditioningConfig, GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode
from .layers import ACTIVATIONS, Copies, LayerNorm, Linear, apply_to_groups, he_bound, perceptron, uniform


@dataclass(frozen=True)
class HypernetConfig(NetworkConfig):
    """The hypernetwork has `depth` layers of `width` units; the main network has sizes of its own."""

    own_code: ClassVar[ConditioningConfig] = ConditioningConfig("embedding", dim=32)
    name: str = "hypernet"
    main_width: int = 128
    """Units of each hidden layer of the main network."""
    main_depth: int = 2
    """Hidden layers of the main network."""
    features: int = 32
    """Numbers that the weights are linear in."""
    same_start: bool = False
    """All tasks begin with the same main network, instead of one each."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.task.code == "hidden":
            raise UserError(f"{option(prefix)}task.code hidden: hypernet makes weights from the task: choose another")


_BOUNDS: Bounds = {"main_width": (1, math.inf), "main_depth": (1, 100), "features": (1, math.inf)}


@register_network("hypernet", description="makes the weights of a small network for each task", config=HypernetConfig)
class Hypernet(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: HypernetConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.copies = shape.copies
        self.code = TaskCode(shape, config.code, generator)
        self.trunk, features = perceptron(self.copies, self.code.dim, config, generator)
        self.last = Linear(self.copies, features, config.features, generator)
        sizes = [shape.in_dim, *[config.main_width] * config.main_depth, shape.out_dim]
        pairs = list(itertools.pairwise(sizes))
        scales = [*[None] * config.main_depth, shape.head_scale]
        self.layers = nn.ModuleList(
            GeneratedLayer(self.copies, config, pair, generator, scale)
            for pair, scale in zip(pairs, scales, strict=True)
        )
        widths = sizes[1:-1] if config.layer_norm else []
        self.norms = nn.ModuleList(LayerNorm(self.copies, width) for width in widths)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        hidden = x.expand(self.copies, *x.shape)
        for index, (weight, bias) in enumerate(self.generated(task_id)):
            if index:
                hidden = self.norms[index - 1](hidden) if self.norms else hidden
                hidden = self.activation(hidden)
            hidden = apply_to_groups(hidden, weight, bias)
        return hidden

    def generated(self, task_id: GroupTasks) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight `[copies, group, in, out]` and bias `[copies, group, 1, out]` of each layer of the main network."""
        code = self.code(task_id).expand(self.copies, -1, -1).unsqueeze(2)
        features = nn.functional.normalize(self.last(self.trunk(code)).squeeze(2), dim=-1)
        return [layer(features) for layer in self.layers]


class GeneratedLayer(nn.Module):
    """Makes the weights and the bias of a linear layer.

    Args:
        copies: Independent layers.
        config: Of the network.
        sizes: Numbers in and numbers out of the layer that is made.
        generator: Draws the initial values.
        scale: Its weights begin with the variance of U(-scale, scale); None: of He-uniform ones.
    """

    def __init__(
        self,
        copies: int,
        config: HypernetConfig,
        sizes: tuple[int, int],
        generator: torch.Generator,
        scale: float | None,
    ) -> None:
        super().__init__()
        self.sizes, features = sizes, config.features
        fan_in, fan_out = sizes
        drawn = uniform((copies, features, fan_in * fan_out), he_bound(fan_in) if scale is None else scale, generator)
        zeros = torch.zeros(copies, features, fan_in * fan_out)
        self.directions = nn.Parameter(zeros) if config.same_start else drawn
        self.base = nn.Parameter((drawn.detach() if config.same_start else zeros)[:, :1].clone())
        self.bias_base = nn.Parameter(torch.zeros(copies, 1, fan_out))
        self.bias_directions = nn.Parameter(torch.zeros(copies, features, fan_out))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, Copies]:
        """`[copies, group, feature]` to weight `[copies, group, in, out]` and bias `[copies, group, 1, out]`."""
        weight = torch.baddbmm(self.base, features, self.directions).unflatten(-1, self.sizes)
        return weight, torch.baddbmm(self.bias_base, features, self.bias_directions).unsqueeze(2)
