"""Combiners: the objective that a network is updated for, and the ways to make one update of all tasks' losses.

`Weighting` reduces the losses to one scalar. `GradientCombiner` looks at the gradients of the tasks: every published
one gives a direction d = sum_i w_i g_i whose weights follow from the scalar products of the gradients alone.
"""

import abc
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.registry import Registry
from mtrl.types import State

from .network import TaskParameters, split_parameters
from .part import Part, PartConfig, PerTask

Gram = Float32[torch.Tensor, "task task"]
COMBINERS: Registry[Part[Any]] = Registry("combiner")


@dataclass(frozen=True)
class CombinerConfig(PartConfig):
    """How the losses or gradients of all tasks become one update."""

    kind: ClassVar[Registry[Part[Any]]] = COMBINERS
    name: str = "mean"
    """Registered combiner; `mtrl list combiners` shows all."""


@dataclass(frozen=True)
class TaskGradients:
    """Losses and gradients of all tasks at one point.

    Attributes:
        losses: `[task]`, detached.
        shared: Name to `[task, *shape]`: row i is the gradient of task i's loss.
        specific: Name to the gradient of the sum of all losses for what tasks have of their own.
    """

    losses: PerTask
    shared: dict[str, torch.Tensor]
    specific: dict[str, torch.Tensor]

    def gram(self) -> Gram:
        """Scalar products g_i . g_j of the tasks' gradients over shared parameters."""
        rows = [gradient.flatten(1) for gradient in self.shared.values()]
        return torch.stack([row @ row.T for row in rows]).sum(dim=0)


@dataclass(frozen=True)
class Objective:
    """The losses of all tasks as a function of one network's parameters.

    Attributes:
        network: What is updated.
        num_tasks: Tasks.
        losses: `(None or TaskParameters) -> [task]`, with the network's own parameters or with others; noise and
            targets are the same at every call.
        log_temperature: `[task]`, of agents that have temperatures; detached.
    """

    network: nn.Module
    num_tasks: int
    losses: Callable[[TaskParameters | None], PerTask]
    log_temperature: PerTask | None = None

    def task_gradients(self, parameters: TaskParameters | None = None) -> TaskGradients:
        """Gradients of every task's loss in one backward pass.

        Args:
            parameters: Where; None: at the network's own parameters.
        """
        if parameters is None:
            own = split_parameters(self.network)
            expanded = {name: value.detach().expand(self.num_tasks, *value.shape) for name, value in own.shared.items()}
            parameters = TaskParameters(expanded, {name: value.detach() for name, value in own.specific.items()})
        leaves = TaskParameters(
            {name: value.detach().requires_grad_() for name, value in parameters.shared.items()},
            {name: value.detach().requires_grad_() for name, value in parameters.specific.items()},
        )
        with torch.enable_grad():
            losses = self.losses(leaves)
        every = [*leaves.shared.values(), *leaves.specific.values()]
        gradients = torch.autograd.grad(losses.sum(), every, materialize_grads=True)
        count = len(leaves.shared)
        shared = dict(zip(leaves.shared, gradients[:count], strict=True))
        return TaskGradients(losses.detach(), shared, dict(zip(leaves.specific, gradients[count:], strict=True)))


class Combiner(nn.Module, abc.ABC):
    """Makes one update of the losses of all tasks; chosen for actor and critics separately.

    Attributes:
        optimizer: Of what the combiner itself learns; None where it learns nothing.
    """

    optimizer: torch.optim.Optimizer | None = None

    @abc.abstractmethod
    def backward(self, objective: Objective) -> PerTask:
        """Sets `grad` of every parameter of the objective's network; nothing waits for the device.

        Returns:
            The losses, detached.
        """

    def stepped(self, objective: Objective) -> None:
        """Called after the optimiser's step, with the objective that it was made for."""

    def get_state(self) -> State:
        """All that is needed to go on, as it is now."""
        optimizer = None if self.optimizer is None else copy.deepcopy(self.optimizer.state_dict())
        return {"buffers": {name: value.clone() for name, value in self.state_dict().items()}, "optimizer": optimizer}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self.load_state_dict(state["buffers"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])


class Weighting(Combiner):
    """Reduces the losses to one scalar, whose gradient is the update. A subclass writes `total`."""

    @abc.abstractmethod
    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """`[task]`, with gradient, to a scalar. What it learns itself gets its gradient from there as well."""

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        objective.network.zero_grad(set_to_none=True)
        self.zero_grad(set_to_none=True)
        losses = objective.losses(None)
        self.total(losses, objective).backward()
        if self.optimizer is not None:
            self.optimizer.step()
        return losses.detach()


class GradientCombiner(Combiner):
    """Moves along d = sum_i w_i g_i, over the gradients of single tasks. A subclass writes `weights`.

    What a task has of its own follows the mean of the losses, as with equal weights: no other task's gradient meets it.
    """

    @abc.abstractmethod
    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """The tasks' weights from the scalar products g_i . g_j of their gradients, without gradient."""

    def gradients(self, objective: Objective) -> TaskGradients:
        """The gradients that are combined."""
        return objective.task_gradients()

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        gradients = self.gradients(objective)
        with torch.no_grad():
            weights = self.weights(gradients.gram(), gradients.losses)
        set_gradients(objective, gradients, weights)
        return gradients.losses


def set_gradients(objective: Objective, gradients: TaskGradients, weights: PerTask) -> None:
    """Sets `grad` of shared parameters to sum_i w_i g_i, and of the tasks' own to that of the mean loss."""
    parameters = dict(objective.network.named_parameters())
    for name, gradient in gradients.shared.items():
        parameters[name].grad = torch.tensordot(weights, gradient, dims=1)
    for name, gradient in gradients.specific.items():
        parameters[name].grad = gradient / objective.num_tasks
