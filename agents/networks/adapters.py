"""Low-rank adapters: a correction of every shared linear layer that is a task's own.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; one for each task in Agiza et al., "MTLoRA",
CVPR 2024, and in ARS-LoRA (ICML 2025). A layer with weights W answers x W + b + scale (x A_i) B_i for task i, which is
that layer with the weights W + scale A_i B_i. B_i begins at zero, so at the start nothing is changed.
"""

from typing import Any

import torch
from torch import nn

from mtrl.errors import UserError
from mtrl.parts.network import AdapterConfig, GroupTasks, Inputs, Network, NetworkAround, Outputs, TaskSpecific

from .layers import SharedLinear, he_bound, uniform

DOWN, UP = "adapter_down", "adapter_up"


class Adapter(TaskSpecific):
    """The corrections of one layer.

    Args:
        layer: What is corrected.
        num_tasks: Tasks.
        config: Rank and scale.
        generator: Draws A.
    """

    def __init__(self, layer: SharedLinear, num_tasks: int, config: AdapterConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, *experts, fan_in, fan_out = layer.sizes
        self.down = uniform((copies, num_tasks, *experts, fan_in, config.rank), he_bound(fan_in), generator)
        self.up = nn.Parameter(torch.zeros(copies, num_tasks, *experts, config.rank, fan_out))
        self.scale = config.scale

    def forward(self, task_id: GroupTasks) -> tuple[torch.Tensor, torch.Tensor]:
        """A and scale times B of each group's task, `[copies, (expert,) group, in, out]`."""
        down, up = self.down[:, task_id], self.scale * self.up[:, task_id]
        return (down, up) if down.ndim == 4 else (down.transpose(1, 2), up.transpose(1, 2))


class Adapted(NetworkAround):
    """A network whose shared linear layers are corrected.

    Layers do not know the task of a group, and most networks do not tell them. So each layer has two places for the
    corrections of the groups at hand, which `functional_call` fills for the time of a call.

    Args:
        network: Whose layers they are.
        num_tasks: Tasks.
        config: Rank and scale.
        generator: Draws A.

    Raises:
        UserError: The network has no shared linear layer.
    """

    def __init__(self, network: Network, num_tasks: int, config: AdapterConfig, generator: torch.Generator) -> None:
        super().__init__(network)
        layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, SharedLinear)}
        if not layers:
            raise UserError(f"{type(network).__name__} has no shared linear layer: leave out its adapters")
        self.names = tuple(layers)
        self.adapters = nn.ModuleList(Adapter(layer, num_tasks, config, generator) for layer in layers.values())
        for layer in layers.values():
            layer.register_buffer(DOWN, torch.zeros(0), persistent=False)
            layer.register_buffer(UP, torch.zeros(0), persistent=False)
            layer.register_forward_hook(_correct)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        places: dict[str, torch.Tensor] = {}
        for name, adapter in zip(self.names, self.adapters, strict=True):
            places[f"{name}.{DOWN}"], places[f"{name}.{UP}"] = adapter(task_id)
        return torch.func.functional_call(self.body, places, (x, task_id), tie_weights=False)

    def reset_tasks(self, mask: torch.Tensor, generator: torch.Generator) -> None:
        """See `Network`; the corrections of marked tasks become zero."""
        super().reset_tasks(mask, generator)
        with torch.no_grad():
            for adapter in self.adapters:
                up = adapter.get_parameter("up")
                up.masked_fill_(mask.reshape(1, -1, *[1] * (up.ndim - 2)), 0.0)


def _correct(layer: nn.Module, arguments: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    """Adds (x A) B to what a layer answers, `[copies, (expert,) group, sample, out]`."""
    return output + arguments[0] @ layer.get_buffer(DOWN) @ layer.get_buffer(UP)
