"""Optimisers and their learning rates."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from mtrl.graphs import make_recordable
from mtrl.types import State


@dataclass(frozen=True)
class Learned:
    """What one optimiser learns, and how.

    Attributes:
        parameters: They.
        rate: Step size at first.
        epsilon: Adam's.
        weight_decay: Decoupled decay.
        beta: Decay of the mean gradient.
    """

    parameters: Sequence[torch.Tensor]
    rate: float
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    beta: float = 0.9


class Optimizers:
    """AdamW for each part of an agent.

    Learning rates are numbers on the device, so that a recorded update follows them.

    Args:
        learned: What each of them learns, by name.
    """

    def __init__(self, learned: Mapping[str, Learned]) -> None:
        self._learned = dict(learned)
        self.rates = {name: torch.full((), one.rate, device=one.parameters[0].device) for name, one in learned.items()}
        self._all = {
            name: torch.optim.AdamW(
                list(one.parameters),
                self.rates[name],
                (one.beta, 0.999),
                eps=one.epsilon,
                weight_decay=one.weight_decay,
                fused=True,
            )
            for name, one in learned.items()
        }
        self._prepare()

    def __getitem__(self, name: str) -> torch.optim.Optimizer:
        """One of them."""
        return self._all[name]

    def _prepare(self) -> None:
        for name, optimizer in self._all.items():
            make_recordable(optimizer)
            optimizer.param_groups[0]["lr"] = self.rates[name]

    def scale_rates(self, names: Sequence[str], factor: float) -> None:
        """Sets learning rates to so much of what they were at first."""
        for name in names:
            self.rates[name].fill_(self._learned[name].rate * factor)

    def begin_anew(self) -> None:
        """Forgets all that was gathered."""
        for optimizer in self._all.values():
            optimizer.state.clear()

    def get_state(self) -> State:
        """As they are now: later updates do not change what was returned."""
        return {name: copy.deepcopy(optimizer.state_dict()) for name, optimizer in self._all.items()}

    def set_state(self, state: State) -> None:
        """Goes on from a state; learning rates are for the agent to set."""
        for name, optimizer in self._all.items():
            optimizer.load_state_dict(state[name])
        self._prepare()
