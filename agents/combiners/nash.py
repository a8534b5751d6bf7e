"""Nash-MTL: the tasks bargain for the direction; what they agree on does not depend on the scale of any loss.

Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022.
"""

from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import check_bounds
from mtrl.parts.combiner import CombinerConfig, GradientCombiner, Gram, Objective
from mtrl.parts.network import split_parameters
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner
from mtrl.types import State

from .solvers import angles_of, balance


@dataclass(frozen=True)
class NashConfig(CombinerConfig):
    """How often the tasks bargain, and for how long a step."""

    every: int = 1
    """Updates between two bargains; in between, the losses keep their weights, at the cost of a plain update."""
    max_norm: float = 1.0
    """The shared parameters' gradient is scaled down to this norm; 1e12 leaves it at the square root of the tasks."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"every": (1, 1_000_000), "max_norm": (1e-12, 1e12)}, prefix)


@register_combiner("nash", description="the tasks' bargain, whatever the scale of their losses", config=NashConfig)
class Nash(GradientCombiner):
    """d = sum_i a_i g_i with a > 0 and G a = 1 / a, where G_ij = g_i . g_j.

    That is the direction in the unit ball with the largest product of all tasks' gains. The weights act on the losses,
    and so on what tasks have of their own too. A task whose gradient is zero weighs nothing.
    """

    def __init__(self, setting: Setting, config: NashConfig) -> None:
        super().__init__()
        self.every, self.max_norm = config.every, config.max_norm
        self.replayable = config.every == 1
        self.register_buffer("kept", torch.ones(setting.num_tasks, device=setting.device))
        self._updates = 0

    def own_weights(self, weights: PerTask) -> PerTask:
        """The same: they weigh losses."""
        return weights

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """See the class."""
        kept = self.get_buffer("kept")
        if self._updates % self.every == 0:
            weights = bargain(gram)
            norm = (weights @ (gram.double() @ weights)).clamp(min=0.0).sqrt()
            kept.copy_(weights * (self.max_norm / norm.clamp(min=1e-300)).clamp(max=1.0))
        self._updates += 1
        return kept.clone()

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        if self._updates % self.every == 0:
            return super().backward(objective)
        self._updates += 1
        losses = objective.backward(lambda losses: self.get_buffer("kept"))
        shared = split_parameters(objective.network).shared.values()
        nn.utils.clip_grad_norm_(shared, self.max_norm, foreach=True)
        return losses

    def get_state(self) -> State:
        """See `Combiner.get_state`."""
        return {**super().get_state(), "updates": self._updates}

    def set_state(self, state: State) -> None:
        """See `Combiner.set_state`."""
        super().set_state(state)
        self._updates = int(state["updates"])


def bargain(gram: torch.Tensor) -> torch.Tensor:
    """The only a > 0 with G a = 1 / a; 0 for gradients that are zero."""
    angles = angles_of(gram)
    return angles.present * balance(angles.cosines, torch.ones_like(angles.norms), 1.0) / angles.norms
