"""Building a network from its settings, with what any network may be given besides."""

import torch

from mtrl.errors import UserError
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkAround, NetworkConfig, NetworkShape, Outputs

from .adapters import Adapted
from .transfer import Side, freeze_shared, take_shared

EPSILON = 1e-5
"""Added to the variance of rows that are normalised."""


def build_network(
    shape: NetworkShape, config: NetworkConfig, generator: torch.Generator, side: Side = "actor"
) -> Network:
    """The network of that name: its shared layers as another run left them, frozen, adapted, as the settings have it.

    Args:
        shape: Sizes that follow from the suite.
        config: Settings.
        generator: Draws initial values.
        side: What it is for.

    Raises:
        UserError: There is none, or it cannot be built like that.
    """
    config = config.resolved()
    network = config.build(shape, config, generator)
    if not isinstance(network, Network):
        raise UserError(
            f"network '{config.name}' is a {type(network).__name__}: let it be a mtrl.parts.network.Network"
        )
    if config.shared_from:
        take_shared(network, config, side)
    if config.adapters.rank:
        network = Adapted(network, shape.num_tasks, config.adapters, generator)
    if config.freeze_shared:
        freeze_shared(network, side)
    return NormalizedInput(network, shape) if config.input_norm else network


class NormalizedInput(NetworkAround):
    """A network whose rows are brought to mean 0 and deviation 1 over the numbers that are real for their task.

    Gains and biases would add nothing: what goes in is multiplied with learned weights next.
    """

    def __init__(self, network: Network, shape: NetworkShape) -> None:
        super().__init__(network)
        real = torch.ones(shape.num_tasks, shape.in_dim) if shape.in_mask is None else shape.in_mask.float()
        self.register_buffer("real", real, persistent=False)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        real = self.get_buffer("real")[task_id].unsqueeze(1)
        count = real.sum(dim=-1, keepdim=True)
        centred = (x - (x * real).sum(dim=-1, keepdim=True) / count) * real
        variance = centred.square().sum(dim=-1, keepdim=True) / count
        return self.body(centred * (variance + EPSILON).rsqrt(), task_id)
