"""Building a network from its settings, with what any network may be given besides."""

import torch

from mtrl.errors import UserError
from mtrl.parts.network import NETWORKS, Network, NetworkConfig, NetworkShape


def build_network(shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> Network:
    """The network of that name.

    Raises:
        UserError: There is none, or it cannot be built like that.
    """
    part = NETWORKS.get(config.name)
    config = config if isinstance(config, part.config) else config.renamed(config.name)
    network = part.build(shape, config, generator)
    if not isinstance(network, Network):
        raise UserError(
            f"network '{config.name}' is a {type(network).__name__}: let it be a mtrl.parts.network.Network"
        )
    return network
