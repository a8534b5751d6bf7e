"""The layers that all tasks share, taken over from another run, and frozen."""

from pathlib import Path
from typing import Literal

import torch

from mtrl.checkpoint import find_checkpoint
from mtrl.errors import UserError
from mtrl.parts.network import Network, NetworkConfig, split_parameters
from mtrl.run_folder import RunFolder

Side = Literal["actor", "critic"]
PREFIXES: dict[Side, str] = {"actor": "actor.", "critic": "critics."}
"""Of weights in a checkpoint."""
WRAPPED = "body."
"""Where adapters, PopArt and the like have the network that they are put around."""


@torch.no_grad()
def take_shared(network: Network, config: NetworkConfig, side: Side) -> None:
    """Gives a network the shared parameters of another run's newest checkpoint.

    Args:
        network: For any suite, with nothing around it.
        config: Whose `shared_from` is the run folder.
        side: Which of the run's networks.

    Raises:
        UserError: There is no such run or checkpoint, or a parameter is missing or of another shape.
    """
    option = f"--algorithm.{side}.shared-from {config.shared_from}"
    found = _weights(config.shared_from, side, option)
    strange = sorted(found.keys() ^ network.state_dict().keys())
    if strange:
        where = "only there" if strange[0] in found else "not there"
        raise UserError(f"{option}: parameter '{strange[0]}' is {where}: give both networks the same name and depth")
    for name, own in split_parameters(network).shared.items():
        there, here = tuple(found[name].shape), tuple(own.shape)
        if there != here:
            raise UserError(f"{option}: parameter '{name}' is {there} there and {here} here; {_reason(there, here)}")
        own.copy_(found[name])


def freeze_shared(network: Network, side: Side) -> None:
    """Keeps the shared parameters of a network from learning.

    Raises:
        UserError: Nothing is left that learns.
    """
    parameters = split_parameters(network)
    for parameter in parameters.shared.values():
        parameter.requires_grad_(False)
    if not parameters.specific:
        raise UserError(
            f"--algorithm.{side}.freeze-shared leaves nothing to learn: all layers are shared, so add "
            f"--algorithm.{side}.adapters.rank 8, or take another network"
        )


def _weights(path: str, side: Side, option: str) -> dict[str, torch.Tensor]:
    """One network's parameters, by their names in the network alone."""
    folder = RunFolder(Path(path))
    if not folder.is_run():
        raise UserError(f"{option}: there is no run (no config.json): give the folder of a run")
    checkpoint = find_checkpoint(folder, with_replay=False)
    if checkpoint is None:
        raise UserError(f"{option}: the run has no checkpoint yet: let it train on (`mtrl resume {path}`)")
    found, prefix = checkpoint.weights(), PREFIXES[side]
    while any(name.startswith(prefix) for name in found):
        found = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        prefix = WRAPPED
    return found


def _reason(there: tuple[int, ...], here: tuple[int, ...]) -> str:
    """Why shapes differ, as far as they tell, and what to do."""
    if len(there) == len(here) == 3 and there[0] == here[0] and there[2] == here[2]:
        return (
            "more or fewer numbers go in, as where tasks are told by one-hot codes or observe other things: take "
            "network front_ends, whose shared layers depend on neither"
        )
    return "give both networks the same sizes and as many copies"
