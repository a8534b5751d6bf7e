"""The optimisers of soft actor-critic and their learning rates."""

import copy
from collections.abc import Mapping, Sequence

import torch

from mtrl.graphs import make_recordable
from mtrl.types import State

from .sac_config import SACConfig

FINAL_LEARNING_RATE = 0.1
"""What is left of the learning rates after annealing."""


class Optimizers:
    """AdamW of actor and critics, Adam of the log temperatures.

    Learning rates are numbers on the device, so that a recorded update follows them.

    Args:
        config: Learning rates, decay and annealing.
        parameters: What `actor`, `critic` and `temperature` learn.
    """

    def __init__(self, config: SACConfig, parameters: Mapping[str, Sequence[torch.Tensor]]) -> None:
        self._config = config
        self._initial = {
            "actor": config.actor_learning_rate,
            "critic": config.critic_learning_rate,
            "temperature": config.temperature_learning_rate,
        }
        self._rates = {
            name: torch.full((), rate, device=parameters[name][0].device) for name, rate in self._initial.items()
        }
        self._all: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.AdamW(
                parameters[name],
                self._rates[name],
                eps=config.adam_epsilon,
                weight_decay=config.weight_decay,
                fused=True,
            )
            for name in ("actor", "critic")
        }
        self._all["temperature"] = torch.optim.Adam(
            parameters["temperature"], self._rates["temperature"], (config.temperature_beta, 0.999), fused=True
        )
        self._prepare()

    def __getitem__(self, name: str) -> torch.optim.Optimizer:
        """One of them."""
        return self._all[name]

    def _prepare(self) -> None:
        for name, optimizer in self._all.items():
            make_recordable(optimizer)
            optimizer.param_groups[0]["lr"] = self._rates[name]

    def anneal(self, updates: int) -> None:
        """Sets the learning rates of an update, of which there were so many with it."""
        if not self._config.anneal_updates:
            return
        progress = (updates - self._config.anneal_after) / self._config.anneal_updates
        factor = 1.0 + (FINAL_LEARNING_RATE - 1.0) * min(max(progress, 0.0), 1.0)
        for name in ("actor", "critic"):
            self._rates[name].fill_(self._initial[name] * factor)

    def begin_anew(self) -> None:
        """Forgets all that was gathered."""
        for optimizer in self._all.values():
            optimizer.state.clear()

    def get_state(self) -> State:
        """As they are now: later updates do not change what was returned."""
        return {name: copy.deepcopy(optimizer.state_dict()) for name, optimizer in self._all.items()}

    def set_state(self, state: State) -> None:
        """Goes on from a state; learning rates follow from the settings."""
        for name, optimizer in self._all.items():
            optimizer.load_state_dict(state[name])
        self._prepare()
