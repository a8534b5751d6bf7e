"""Task-based flat regions: sharpness-aware minimisation of each task's loss, around any other combiner.

Phan et al., "Beyond Losses Reweighting: Empowering Multi-Task Learning via the Generalization Perspective", ICCV 2025.
"""

import dataclasses
from dataclasses import dataclass, field

import torch

from mtrl.config import check_bounds, option
from mtrl.errors import UserError
from mtrl.parts.combiner import (
    Combiner,
    CombinerConfig,
    Objective,
    TaskGradients,
    Weighting,
    beside_copies,
    set_gradients,
)
from mtrl.parts.network import TaskParameters, split_parameters
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner
from mtrl.types import State


@dataclass(frozen=True)
class FlatRegionsConfig(CombinerConfig):
    """How far tasks look around, and what combines them."""

    radius: float = 0.05
    """Length of the step uphill after which gradients are taken again: of shared parameters, and of a task's own."""
    inner: CombinerConfig = field(default_factory=CombinerConfig)
    """What combines both parts of the gradients."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"radius": (0.0, 100.0)}, prefix)
        if self.inner.name == self.name:
            raise UserError(f"{option(prefix + 'inner.name')} {self.name} is what it is within: give another combiner")
        self.inner.resolved().check(f"{prefix}inner.")


@register_combiner(
    "flat_regions",
    description="sharpness-aware minimisation of each task around another combiner",
    config=FlatRegionsConfig,
)
class FlatRegions(Combiner):
    """d = A(g_1 .. g_N) + A(f_1 .. f_N), with f_i = g_i' - g_i and g_i' the gradient of task i's loss uphill of it.

    Uphill is theta + radius g_i / |g_i|, each task at a point of its own, for shared parameters and for its own. A is
    the inner combiner: one for each part, since some learn. Where its weights follow from the losses alone both parts
    have the same. What tasks have of their own moves along g_i', as the inner combiner weighs it.
    """

    def __init__(self, setting: Setting, config: FlatRegionsConfig) -> None:
        super().__init__()
        self.radius = config.radius
        inner = config.inner.resolved()
        self.inner: Combiner = inner.build(setting, inner)
        same = isinstance(self.inner, Weighting)
        self.flat: Combiner = self.inner if same else inner.build(setting, inner)
        self.replayable = self.inner.replayable

    def weigh(self, gradients: TaskGradients, objective: Objective) -> PerTask:
        """Those of the inner combiner."""
        return self.inner.weigh(gradients, objective)

    def own_weights(self, weights: PerTask) -> PerTask:
        """Those of the inner combiner."""
        return self.inner.own_weights(weights)

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        here = objective.task_gradients()
        uphill = objective.task_gradients(self._uphill(objective, here))
        weights = self.weigh(here, objective)
        rise = {name: uphill.shared[name] - gradient for name, gradient in here.shared.items()}
        flat = dataclasses.replace(uphill, losses=here.losses, shared=rise)
        flat_weights = weights if self.flat is self.inner else self.flat.weigh(flat, objective)
        set_gradients(objective, flat, flat_weights, self.own_weights(weights))
        parameters = dict(objective.network.named_parameters())
        for name, gradient in here.shared.items():
            parameters[name].grad += torch.tensordot(weights, gradient, dims=1)
        return here.losses

    def _uphill(self, objective: Objective, gradients: TaskGradients) -> TaskParameters:
        """A point for each task."""
        own = split_parameters(objective.network)
        shared = [gradient.flatten(1).square().sum(dim=1) for gradient in gradients.shared.values()]
        specific = [gradient.movedim(1, 0).flatten(1).square().sum(dim=1) for gradient in gradients.specific.values()]
        steps, own_steps = self._step(shared), self._step(specific)
        return TaskParameters(
            {
                name: own.shared[name].detach() + steps.view(-1, *[1] * (gradient.ndim - 1)) * gradient
                for name, gradient in gradients.shared.items()
            },
            {
                name: own.specific[name].detach() + beside_copies(own_steps, gradient) * gradient
                for name, gradient in gradients.specific.items()
            },
        )

    def _step(self, squares: list[torch.Tensor]) -> torch.Tensor:
        """`[task]`: what a gradient is multiplied with, given the squares that its length is the sum of."""
        if not squares:
            return torch.zeros(())
        total = torch.stack(squares).sum(dim=0)
        return torch.where(total > 0.0, self.radius * total.clamp(min=1e-38).rsqrt(), 0.0)

    def stepped(self, objective: Objective) -> None:
        """See `Combiner.stepped`."""
        self.inner.stepped(objective)
        if self.flat is not self.inner:
            self.flat.stepped(objective)

    def report(self) -> dict[str, torch.Tensor]:
        """What the inner combiner tells of the gradients themselves."""
        return self.inner.report()

    def get_state(self) -> State:
        """Of both parts."""
        return {"inner": self.inner.get_state(), "flat": self.flat.get_state()}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self.inner.set_state(state["inner"])
        self.flat.set_state(state["flat"])
