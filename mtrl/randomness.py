"""Random number generators that go on where they were saved."""

import torch


def go_on_drawing(generator: torch.Generator, state: torch.Tensor) -> None:
    """Puts a generator to a saved state; one of another kind of device has no use for it, and draws on as it is."""
    if len(state) == len(generator.get_state()):
        generator.set_state(state.cpu())
