"""PaCo: the parameters of a task's network are a mixture of sets that all tasks share.

Sun et al., "PaCo: Parameter-Compositional Multi-Task Reinforcement Learning", NeurIPS 2022, as in Meta-World+: for task
i every layer has the weights sum_k w_k(i) W_k and the bias sum_k w_k(i) b_k, with w(i) = C_i + c learned.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float32
from torch import nn

from mtrl.config import Bounds, check_bounds
from mtrl.errors import UserError
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs, TaskSpecific
from mtrl.parts.register import register_network

from .layers import ACTIVATIONS, Copies, LayerNorm, SharedLinear, apply_to_groups, he_bound, uniform

Mixture = Float32[torch.Tensor, "copies group set"]


@dataclass(frozen=True)
class PaCoConfig(NetworkConfig):
    """Parameter sets and how they begin."""

    name: str = "paco"
    sets: int = 5
    """Parameter sets."""
    identical_sets: bool = False
    """All sets begin with the same parameters."""
    mixture: Literal["he", "normal"] = "he"
    """How each task's weights of the sets are drawn: He-uniform, which keeps signals at their size, or N(0, 1)."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.task.code not in ("default", "one_hot", "hidden"):
            raise UserError(
                f"--{prefix}task.code {self.task.code} has no use in paco, whose mixtures tell the tasks apart: "
                "leave it out"
            )


_BOUNDS: Bounds = {"sets": (1, 10_000)}


@register_network("paco", description="each task's parameters are a learned mixture of shared sets", config=PaCoConfig)
class PaCo(Network):
    """Mixed first and multiplied once, so that the cost hardly depends on the number of sets."""

    def __init__(self, shape: NetworkShape, config: PaCoConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies = shape.copies
        self.copies = copies
        self.mixtures = Mixtures(copies, shape.num_tasks, config, generator)
        self.shift = nn.Parameter(torch.zeros(copies, 1, config.sets))
        sizes = [shape.in_dim, *[config.width] * config.depth]
        layers = [MixedLinear(copies, config.sets, *pair, generator) for pair in itertools.pairwise(sizes)]
        layers.append(MixedLinear(copies, config.sets, sizes[-1], shape.out_dim, generator, shape.head_scale))
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(LayerNorm(copies, config.width) for _ in range(config.depth * config.layer_norm))
        self.activation = ACTIVATIONS[config.activation]()
        if config.identical_sets:
            with torch.no_grad():
                for parameter in self.layers.parameters():
                    parameter.copy_(parameter[:, :1].expand_as(parameter))

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        mixture = self.mixtures(task_id) + self.shift
        hidden = x.expand(self.copies, *x.shape)
        for index, layer in enumerate(self.layers):
            if index:
                hidden = self.norms[index - 1](hidden) if self.norms else hidden
                hidden = self.activation(hidden)
            hidden = layer(hidden, mixture)
        return hidden

    @torch.no_grad()
    def reset_tasks(self, mask: Bool[torch.Tensor, " task"], generator: torch.Generator) -> None:
        """Gives each marked task a random convex combination of the mixtures of those that are not marked.

        Where all are marked, nothing changes.
        """
        kept = (~mask).float()
        draws = torch.rand(len(mask), len(mask), device=mask.device, generator=generator) * kept
        shares = draws / draws.sum(dim=1, keepdim=True).clamp(min=1e-12)
        table = self.mixtures.table
        table.copy_(torch.where((mask & ~mask.all())[:, None], shares @ table, table))


class Mixtures(TaskSpecific):
    """The weights that each task gives to the sets."""

    def __init__(self, copies: int, num_tasks: int, config: PaCoConfig, generator: torch.Generator) -> None:
        super().__init__()
        shape = (copies, num_tasks, config.sets)
        if config.mixture == "normal":
            self.table = nn.Parameter(torch.randn(shape, generator=generator))
        else:
            self.table = uniform(shape, he_bound(num_tasks), generator)

    def forward(self, task_id: GroupTasks) -> Mixture:
        """Those of each group's task."""
        return self.table[:, task_id]


class MixedLinear(SharedLinear):
    """A linear layer whose weights and bias are mixtures of those of its sets.

    Args:
        copies: Independent networks.
        sets: Parameter sets.
        fan_in: Numbers in.
        fan_out: Numbers out.
        generator: Draws the initial weights.
        scale: As in `Linear`.
    """

    def __init__(
        self, copies: int, sets: int, fan_in: int, fan_out: int, generator: torch.Generator, scale: float | None = None
    ) -> None:
        super().__init__(copies, fan_in, fan_out)
        bound = he_bound(fan_in) if scale is None else scale
        self.weight = uniform((copies, sets, fan_in, fan_out), bound, generator)
        bias = (copies, sets, fan_out)
        self.bias = nn.Parameter(torch.zeros(bias)) if scale is None else uniform(bias, scale, generator)

    def forward(self, x: Copies, mixture: Mixture) -> Copies:
        """Each group through the layer that its mixture makes."""
        weight = (mixture @ self.weight.flatten(2)).unflatten(2, self.weight.shape[2:])
        bias = (mixture @ self.bias).unsqueeze(2)
        return apply_to_groups(x, weight, bias)
