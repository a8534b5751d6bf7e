"""Building blocks of the networks, for several copies and all tasks at once."""

import itertools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.parts.network import GroupTasks, NetworkConfig, TaskSpecific

Copies = Float32[torch.Tensor, "copies group sample features"]
ExpertCopies = Float32[torch.Tensor, "copies expert group sample features"]
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}


def uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> nn.Parameter:
    """A parameter drawn from U(-bound, bound)."""
    return nn.Parameter((2.0 * torch.rand(shape, generator=generator) - 1.0) * bound)


def he_bound(fan_in: int) -> float:
    """Bound of He's uniform distribution for layers with rectifiers."""
    return math.sqrt(6.0 / max(1, fan_in))


class SharedLinear(nn.Module):
    """A linear layer that all tasks share; where the config says so, adapters correct it for each task.

    Its first argument is `[copies, (expert,) group, sample, fan_in]`, its result `[copies, (expert,) group, sample,
    fan_out]`.

    Args:
        sizes: `(copies, fan_in, fan_out)` or `(copies, experts, fan_in, fan_out)`.
    """

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = sizes


class Linear(SharedLinear):
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
        super().__init__(copies, fan_in, fan_out)
        self.weight = uniform((copies, fan_in, fan_out), he_bound(fan_in) if scale is None else scale, generator)
        bias = (copies, 1, fan_out)
        self.bias = nn.Parameter(torch.zeros(bias)) if scale is None else uniform(bias, scale, generator)

    def forward(self, x: Copies) -> Copies:
        """`[copies, group, sample, fan_in]` to `[copies, group, sample, fan_out]`."""
        return torch.baddbmm(self.bias, x.flatten(1, 2), self.weight).unflatten(1, x.shape[1:3])


class TaskLinear(TaskSpecific):
    """A linear layer of each task's own, in every copy: heads and front ends.

    Args:
        copies: Independent layers.
        num_tasks: Tasks.
        fan_in: Numbers in.
        fan_out: Numbers out.
        generator: Draws the initial weights.
        scale: As in `Linear`.
    """

    def __init__(
        self,
        copies: int,
        num_tasks: int,
        fan_in: int,
        fan_out: int,
        generator: torch.Generator,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        bound = he_bound(fan_in) if scale is None else scale
        self.weight = uniform((copies, num_tasks, fan_in, fan_out), bound, generator)
        bias = (copies, num_tasks, 1, fan_out)
        self.bias = nn.Parameter(torch.zeros(bias)) if scale is None else uniform(bias, scale, generator)

    def forward(self, x: Copies, task_id: GroupTasks) -> Copies:
        """Each group through the layer of its task."""
        return apply_to_groups(x, self.weight[:, task_id], self.bias[:, task_id])


class ExpertLinear(SharedLinear):
    """Independent linear layers of several experts or modules, in every copy, as one batched product.

    Args:
        copies: Independent networks.
        experts: Layers in each.
        fan_in: Numbers in.
        fan_out: Numbers out.
        generator: Draws the initial weights.
        scale: As in `Linear`.
    """

    def __init__(
        self,
        copies: int,
        experts: int,
        fan_in: int,
        fan_out: int,
        generator: torch.Generator,
        scale: float | None = None,
    ) -> None:
        super().__init__(copies, experts, fan_in, fan_out)
        bound = he_bound(fan_in) if scale is None else scale
        self.weight = uniform((copies, experts, fan_in, fan_out), bound, generator)
        bias = (copies, experts, 1, fan_out)
        self.bias = nn.Parameter(torch.zeros(bias)) if scale is None else uniform(bias, scale, generator)

    def forward(self, x: ExpertCopies) -> ExpertCopies:
        """`[copies, expert, group, sample, fan_in]` to `[copies, expert, group, sample, fan_out]`."""
        rows = x.flatten(0, 1).flatten(1, 2)
        product = torch.baddbmm(self.bias.flatten(0, 1), rows, self.weight.flatten(0, 1))
        return product.unflatten(1, x.shape[2:4]).unflatten(0, x.shape[:2])


def apply_to_groups(x: Copies, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Copies:
    """A linear map of each group's own.

    Args:
        x: `[copies, group, sample, in]`.
        weight: `[copies, group, in, out]`.
        bias: `[copies, group, 1, out]`.
    """
    rows, maps = x.flatten(0, 1), weight.flatten(0, 1)
    product = torch.bmm(rows, maps) if bias is None else torch.baddbmm(bias.flatten(0, 1), rows, maps)
    return product.unflatten(0, x.shape[:2])


class LayerNorm(nn.Module):
    """Layer normalisation with gains and biases of each copy's own."""

    def __init__(self, copies: int, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(copies, 1, 1, features))
        self.bias = nn.Parameter(torch.zeros(copies, 1, 1, features))

    def forward(self, x: Copies) -> Copies:
        """Same shape."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.gain + self.bias


class TaskLayerNorm(TaskSpecific):
    """Layer normalisation with gains and biases of each task's own."""

    def __init__(self, copies: int, num_tasks: int, features: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(copies, num_tasks, 1, features))
        self.bias = nn.Parameter(torch.zeros(copies, num_tasks, 1, features))

    def forward(self, x: Copies, task_id: GroupTasks) -> Copies:
        """Same shape."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.gain[:, task_id] + self.bias[:, task_id]


class TaskPerceptron(nn.Module):
    """Hidden layers of each task's own; activation and normalisation are those of the network's config.

    Args:
        copies: Independent networks.
        num_tasks: Tasks.
        sizes: Numbers in, then units of each hidden layer.
        config: Of the network.
        generator: Draws the initial weights.
    """

    def __init__(
        self, copies: int, num_tasks: int, sizes: tuple[int, ...], config: NetworkConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(TaskLinear(copies, num_tasks, *pair, generator) for pair in pairs)
        self.norms = nn.ModuleList(TaskLayerNorm(copies, num_tasks, size) for size in sizes[1:] if config.layer_norm)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, x: Copies, task_id: GroupTasks) -> Copies:
        """Each group through the layers of its task."""
        for index, layer in enumerate(self.layers):
            x = layer(x, task_id)
            if self.norms:
                x = self.norms[index](x, task_id)
            x = self.activation(x)
        return x


def perceptron(
    copies: int, fan_in: int, config: NetworkConfig, generator: torch.Generator
) -> tuple[nn.Sequential, int]:
    """Hidden layers as the config has them, and how many numbers come out of the last."""
    layers: list[nn.Module] = []
    for _ in range(config.depth):
        layers.append(Linear(copies, fan_in, config.width, generator))
        if config.layer_norm:
            layers.append(LayerNorm(copies, config.width))
        layers.append(ACTIVATIONS[config.activation]())
        fan_in = config.width
    return nn.Sequential(*layers), fan_in
