"""Networks: the contract of a way to share layers between tasks, its settings, and calling it for all tasks at once."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float32, Int64
from torch import nn

from mtrl.config import Bounds, check_bounds, option
from mtrl.errors import UserError
from mtrl.registry import Registry

from .part import Part, PartConfig

Inputs = Float32[torch.Tensor, "group sample in"]
GroupTasks = Int64[torch.Tensor, " group"]
Outputs = Float32[torch.Tensor, "copies group sample out"]
NETWORKS: Registry[Part[Any]] = Registry("network")


@dataclass(frozen=True)
class ConditioningConfig:
    """How a network is told the task."""

    code: Literal["default", "one_hot", "embedding", "descriptor", "file", "critic", "hidden"] = "default"
    """`default`: the network's own way, mostly one-hot; `one_hot`; `embedding` (learned); `descriptor` (given with the
    task); `file` (such as sentence embeddings); `critic` (the critics' code, without gradient); `hidden` (not told)."""
    dim: int = 0
    """Numbers of a learned code (0: 32); of others that they are mapped to by a learned linear layer (0: none)."""
    norm: Literal["free", "unit", "max_unit"] = "free"
    """Length of a code: free, 1, or at most 1."""
    shared: bool = False
    """All copies of a network (both critics) learn one code instead of one each."""
    file: str = ""
    """JSON (task name to numbers) or safetensors file (a vector a task) of `file`."""


@dataclass(frozen=True)
class AdapterConfig:
    """Low-rank adapters: a correction of every shared linear layer that is a task's own (LoRA, Hu et al., 2022)."""

    rank: int = 0
    """Rank of the correction; 0: no adapters."""
    scale: float = 1.0
    """What the correction is multiplied with."""


@dataclass(frozen=True)
class NetworkConfig(PartConfig):
    """A network and its size."""

    kind: ClassVar[Registry[Part[Any]]] = NETWORKS
    own_code: ClassVar[ConditioningConfig] = ConditioningConfig("one_hot")
    """What the code `default` stands for; a network's config may have another."""
    name: str = "multi_head"
    """Registered network; `mtrl list networks` shows all."""
    width: int = 400
    """Units of each hidden layer."""
    depth: int = 3
    """Hidden layers."""
    activation: Literal["relu", "leaky_relu", "tanh", "elu", "silu"] = "relu"
    """After each hidden layer."""
    layer_norm: bool = False
    """Normalise each hidden layer before its activation."""
    input_norm: bool = False
    """Normalise each row that goes in."""
    task: ConditioningConfig = dataclasses.field(default_factory=ConditioningConfig)
    """How the network is told the task."""
    adapters: AdapterConfig = dataclasses.field(default_factory=AdapterConfig)
    """Low-rank adapters of each task's own."""
    shared_from: str = ""
    """Run folder whose newest checkpoint the layers that all tasks share begin with; empty: they are drawn."""
    freeze_shared: bool = False
    """The layers that all tasks share stay as they are; heads, adapters and the like learn alone."""

    @property
    def code(self) -> ConditioningConfig:
        """How the network is told the task, with what `default` stands for filled in."""
        if self.task.code != "default":
            return self.task
        own, task = self.own_code, self.task
        norm = own.norm if task.norm == "free" else task.norm
        return dataclasses.replace(own, dim=task.dim or own.dim, norm=norm, shared=task.shared or own.shared)

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        check_bounds(self, _BOUNDS, prefix)
        if (self.task.code == "file") != bool(self.task.file):
            name = option(prefix + "task")
            raise UserError(f"{name}.code file and {name}.file PATH go together: give both or none")


_BOUNDS: Bounds = {
    "width": (1, math.inf),
    "depth": (1, 100),
    "task.dim": (0, math.inf),
    "adapters.rank": (0, math.inf),
}


def without_sources(algorithm: Any) -> Any:
    """The same settings of an algorithm whose weights will be loaded: no network looks for those of another run."""
    networks = {
        field.name: getattr(algorithm, field.name)
        for field in dataclasses.fields(algorithm)
        if isinstance(getattr(algorithm, field.name), NetworkConfig)
    }
    return dataclasses.replace(
        algorithm, **{name: dataclasses.replace(network, shared_from="") for name, network in networks.items()}
    )


@dataclass(frozen=True)
class NetworkShape:
    """Sizes that follow from the suite.

    Attributes:
        num_tasks: Tasks.
        in_dim: Numbers that go in, without the task.
        out_dim: Numbers that come out.
        copies: Independent copies.
        head_scale: The last layer's weights and biases are drawn from U(-head_scale, head_scale).
        in_mask: `[task, in]` bool, which of the numbers that go in are real; None: all.
        descriptors: `[task, descriptor]`, what is known of the tasks beforehand; None: nothing.
        task_names: Names of the tasks, in order; empty where they do not matter.
        critic_code: Numbers in the critics' code of a task, which an actor may borrow; 0: there is none.
    """

    num_tasks: int
    in_dim: int
    out_dim: int
    copies: int
    head_scale: float
    in_mask: Bool[torch.Tensor, "task in"] | None = None
    descriptors: Float32[torch.Tensor, "task descriptor"] | None = None
    task_names: tuple[str, ...] = ()
    critic_code: int = 0


class TaskSpecific(nn.Module):
    """A layer all of whose parameters are `[copies, task, ...]`: each task learns its own, no task those of another."""


class Network(nn.Module):
    """A way of sharing layers between tasks.

    It is handed the task and never looks for it in the observation. Copies are independent networks of one shape: two
    critics are one module. Whatever a task has of its own lies in `TaskSpecific` modules.
    """

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """`[group, sample, in]` and the task of each group to `[copies, group, sample, out]`."""
        raise NotImplementedError

    def project(self) -> None:
        """Brings parameters back to where they may lie, such as a sphere; called after each optimiser step."""

    def reset_tasks(self, mask: Bool[torch.Tensor, " task"], generator: torch.Generator) -> None:
        """Begins anew what the marked tasks have of their own, without waiting for the device."""


class NetworkAround(Network):
    """A network with something around it.

    Attributes:
        body: The network within.
    """

    def __init__(self, body: Network) -> None:
        super().__init__()
        self.body = body

    def project(self) -> None:
        """See `Network`."""
        self.body.project()

    def reset_tasks(self, mask: Bool[torch.Tensor, " task"], generator: torch.Generator) -> None:
        """See `Network`."""
        self.body.reset_tasks(mask, generator)


@dataclass(frozen=True)
class TaskParameters:
    """Parameters to call a network with, each task its own.

    Attributes:
        shared: Name to `[task, *shape]`.
        specific: Name to a parameter of `TaskSpecific` modules, `[copies, task, ...]`, whose rows are the tasks' own.
        order: None, or `[task]`: the first of these tasks, as many as there are rows in `shared`, have those.
        others: Name to `[*shape]`, what all further tasks of `order` share.
    """

    shared: dict[str, torch.Tensor]
    specific: dict[str, torch.Tensor]
    order: Int64[torch.Tensor, " task"] | None = None
    others: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)


def split_parameters(network: nn.Module) -> TaskParameters:
    """Learned parameters of a network by name: those that all tasks share (not expanded), and those of single tasks."""
    own = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in network.named_modules()
        if isinstance(module, TaskSpecific)
        for name, _ in module.named_parameters()
    }
    every: dict[str, torch.Tensor] = {
        name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad
    }
    shared = {name: parameter for name, parameter in every.items() if name not in own}
    return TaskParameters(shared, {name: parameter for name, parameter in every.items() if name in own})


def call_network(
    network: nn.Module, x: Inputs, task_id: GroupTasks, parameters: TaskParameters | None = None
) -> Outputs:
    """Calls a network, with parameters of each group's own where they are given.

    With those, one backward pass through the results gives the gradients of all tasks apart. It does the same work
    as a plain one: each task's gradient needs that task's samples alone.

    Args:
        network: The network.
        x: `[group, sample, in]`.
        task_id: `[group]`.
        parameters: None, or what the network is called with in place of its own; group i is task i then.
    """
    if parameters is None:
        return network(x, task_id)

    def call(shared: dict[str, torch.Tensor], rows: torch.Tensor, task: torch.Tensor) -> torch.Tensor:
        given = {**shared, **parameters.specific}
        return torch.func.functional_call(network, given, (rows.unsqueeze(0), task.unsqueeze(0))).squeeze(1)

    each = torch.func.vmap(call, out_dims=1)
    if parameters.order is None:
        return each(parameters.shared, x, task_id)
    count = len(next(iter(parameters.shared.values())))
    first, rest = parameters.order[:count], parameters.order[count:]
    given = {**parameters.others, **parameters.specific}
    together = torch.func.functional_call(network, given, (x[rest], task_id[rest]))
    outputs = torch.cat([each(parameters.shared, x[first], task_id[first]), together], dim=1)
    return outputs[:, parameters.order.argsort()]
