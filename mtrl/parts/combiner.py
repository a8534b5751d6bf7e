"""Combiners: the objective that a network is updated for, and the ways to make one update of all tasks' losses.

`Weighting` reduces the losses to one scalar. `GradientCombiner` looks at the gradients of the tasks: every published
one gives a direction d = sum_i w_i g_i whose weights follow from the scalar products of the gradients alone.
"""

import abc
import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float32, Int64
from torch import nn

from mtrl.randomness import go_on_drawing
from mtrl.ranks import ALONE, Ranks
from mtrl.registry import Registry
from mtrl.types import State

from .network import TaskParameters, split_parameters
from .part import Part, PartConfig, PerTask

Gram = Float32[torch.Tensor, "task task"]
Named = dict[str, torch.Tensor]
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
        if not rows:
            return self.losses.new_zeros(len(self.losses), len(self.losses))
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
        ranks: Processes that train together; losses and gradients are means over all of them.
    """

    network: nn.Module
    num_tasks: int
    losses: Callable[[TaskParameters | None], PerTask]
    log_temperature: PerTask | None = None
    ranks: Ranks = ALONE

    def value(self) -> PerTask:
        """Losses at the network's own parameters, without gradient."""
        with torch.no_grad():
            return self.ranks.mean(self.losses(None))[0]

    def backward(self, weigh: Callable[[PerTask], PerTask]) -> PerTask:
        """Sets `grad` of the network's parameters to that of a weighted sum of the losses.

        Args:
            weigh: Losses, without gradient, to their weights.

        Returns:
            The losses, detached.
        """
        self.network.zero_grad(set_to_none=True)
        losses = self.losses(None)
        (found,) = self.ranks.mean(losses.detach())
        losses.backward(weigh(found))
        self.ranks.share_gradients(self.network.parameters())
        return found

    def task_gradients(self, parameters: TaskParameters | None = None) -> TaskGradients:
        """Gradients of every task's loss in one backward pass.

        Args:
            parameters: Where; None: at the network's own parameters.
        """
        parameters = self._own_parameters(self.num_tasks) if parameters is None else parameters
        losses, shared, _, specific = self._differentiate(parameters)
        return TaskGradients(losses, shared, specific)

    def some_gradients(self, order: Int64[torch.Tensor, " task"], count: int) -> TaskGradients:
        """Gradients of some tasks' losses, and of the sum of all others', in one backward pass.

        It takes the memory of the tasks asked for, not of all.

        Args:
            order: All tasks, in any order.
            count: The first so many are asked for; less than all.

        Returns:
            Losses of all tasks in their own order; gradients in `shared` of the first tasks of `order`, and then one
            of the sum of all others.
        """
        own = split_parameters(self.network)
        others = {name: value.detach() for name, value in own.shared.items()}
        given = dataclasses.replace(self._own_parameters(count), order=order, others=others)
        losses, shared, rest, specific = self._differentiate(given)
        rows = {name: torch.cat([gradient, rest[name][None]]) for name, gradient in shared.items()}
        return TaskGradients(losses, rows, specific)

    def _own_parameters(self, count: int) -> TaskParameters:
        """The network's own, the same for so many tasks."""
        own = split_parameters(self.network)
        expanded = {name: value.detach().expand(count, *value.shape) for name, value in own.shared.items()}
        return TaskParameters(expanded, own.specific)

    def _differentiate(self, at: TaskParameters) -> tuple[PerTask, Named, Named, Named]:
        """Losses, and the derivatives of their sum by `shared`, `others` and `specific`."""
        leaves, every = [], []
        for part in (at.shared, at.others, at.specific):
            leaves.append({name: value.detach().requires_grad_() for name, value in part.items()})
            every += leaves[-1].values()
        given = dataclasses.replace(at, shared=leaves[0], others=leaves[1], specific=leaves[2])
        with torch.enable_grad():
            losses = self.losses(given)
        found = torch.autograd.grad(losses.sum(), every, materialize_grads=True)
        total, *rest = self.ranks.mean(losses.detach(), *found)
        gradients = iter(rest)
        shared, others, specific = ({name: next(gradients) for name in part} for part in leaves)
        return total, shared, others, specific


class Combiner(nn.Module, abc.ABC):
    """Makes one update of the losses of all tasks; chosen for actor and critics separately.

    Attributes:
        optimizer: Of what the combiner itself learns; None where it learns nothing.
        generator: Of what it draws, on the agent's device; None where it draws nothing.
        needs_temperatures: Whether it can do nothing for agents that have no temperatures.
        replayable: Whether every call does the same operations, so that one can be recorded and replayed.
    """

    optimizer: torch.optim.Optimizer | None = None
    generator: torch.Generator | None = None
    needs_temperatures: bool = False
    replayable: bool = True

    def __init__(self) -> None:
        super().__init__()
        self._report: dict[str, torch.Tensor] = {}

    @abc.abstractmethod
    def weigh(self, gradients: TaskGradients, objective: Objective) -> PerTask:
        """Weights w of the direction d = sum_i w_i g_i, detached; also learns what there is to learn from these."""

    @abc.abstractmethod
    def backward(self, objective: Objective) -> PerTask:
        """Sets `grad` of every parameter of the objective's network; nothing waits for the device.

        Returns:
            The losses, detached.
        """

    def own_weights(self, weights: PerTask) -> PerTask:
        """What the gradients of parameters that are the tasks' own are multiplied with, given the shared ones'."""
        return weights

    def stepped(self, objective: Objective) -> None:
        """Called after the optimiser's step, with the objective that it was made for."""

    def report(self) -> dict[str, torch.Tensor]:
        """What there is to tell of the last update: `weight` (`[task]`) and, of gradients, `conflict` (`conflicts`)."""
        return self._report

    def get_state(self) -> State:
        """All that is needed to go on, as it is now."""
        return {
            "buffers": {name: value.clone() for name, value in self.state_dict().items()},
            "optimizer": None if self.optimizer is None else copy.deepcopy(self.optimizer.state_dict()),
            "generator": None if self.generator is None else self.generator.get_state(),
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self.load_state_dict(state["buffers"])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.generator is not None:
            go_on_drawing(self.generator, state["generator"])


class Weighting(Combiner):
    """Reduces the losses to one scalar, whose gradient is the update. A subclass writes `total`."""

    @abc.abstractmethod
    def total(self, losses: PerTask, objective: Objective) -> torch.Tensor:
        """`[task]`, with gradient, to a scalar. What it learns itself gets its gradient from there as well."""

    def weigh(self, gradients: TaskGradients, objective: Objective) -> PerTask:
        """The total's derivatives by the losses."""
        return self._weigh(gradients.losses, objective)

    def _weigh(self, losses: PerTask, objective: Objective) -> PerTask:
        self.zero_grad(set_to_none=True)
        leaf = losses.detach().requires_grad_()
        with torch.enable_grad():
            total = self.total(leaf, objective)
        total.backward()
        if self.optimizer is not None:
            self.optimizer.step()
        weights = torch.zeros_like(losses) if leaf.grad is None else leaf.grad
        self._report = {"weight": weights}
        return weights

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        return objective.backward(lambda losses: self._weigh(losses, objective))


class GradientCombiner(Combiner):
    """Moves along d = sum_i w_i g_i, over the gradients of single tasks. A subclass writes `weights`.

    What a task has of its own follows the mean of the losses, as with equal weights: no other task's gradient meets it.
    """

    @abc.abstractmethod
    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """The tasks' weights from the scalar products g_i . g_j of their gradients, without gradient."""

    def own_weights(self, weights: PerTask) -> PerTask:
        """Those of the mean."""
        return torch.full_like(weights, 1.0 / len(weights))

    @torch.no_grad()
    def weigh(self, gradients: TaskGradients, objective: Objective) -> PerTask:
        """See `Combiner.weigh`."""
        gram = gradients.gram()
        weights = self.weights(gram, gradients.losses).to(gram.dtype)
        self._report = {"weight": weights, "conflict": conflicts(gram)}
        return weights

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        gradients = objective.task_gradients()
        weights = self.weigh(gradients, objective)
        set_gradients(objective, gradients, weights, self.own_weights(weights))
        return gradients.losses


def conflicts(gram: Gram) -> torch.Tensor:
    """Share of the pairs of tasks whose gradients point away from each other."""
    tasks = len(gram)
    return (gram < 0.0).sum() / max(tasks * (tasks - 1), 1)


def set_gradients(objective: Objective, gradients: TaskGradients, weights: PerTask, own: PerTask) -> None:
    """Sets `grad` of the objective's network.

    Args:
        objective: Whose network.
        gradients: Of all tasks.
        weights: Of shared parameters: sum_i w_i g_i.
        own: Factors of the gradients of what tasks have of their own.
    """
    parameters = dict(objective.network.named_parameters())
    for name, gradient in gradients.shared.items():
        parameters[name].grad = torch.tensordot(weights, gradient, dims=1)
    for name, gradient in gradients.specific.items():
        parameters[name].grad = gradient * beside_copies(own, gradient)


def beside_copies(values: PerTask, like: torch.Tensor) -> torch.Tensor:
    """`[task]` in a shape that multiplies the rows of `[copies, task, ...]`."""
    return values.view(1, -1, *[1] * (like.ndim - 2))
