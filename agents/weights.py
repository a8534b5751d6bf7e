"""Saved weights: whether they fit an agent."""

import torch

from mtrl.errors import UserError


def check_weights(own: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    """Makes sure that two sets of parameters have the same names and shapes.

    Raises:
        UserError: They have not.
    """
    for name in sorted({*own, *given}):
        if name not in own or name not in given or own[name].shape != given[name].shape:
            raise UserError(
                f"saved weights do not fit this agent at '{name}': load them with the run's own configuration"
            )


@torch.no_grad()
def take_weights(own: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> None:
    """Copies saved parameters into an agent's own.

    Raises:
        UserError: They have other names or shapes.
    """
    check_weights(own, given)
    for name, value in own.items():
        value.copy_(given[name])
