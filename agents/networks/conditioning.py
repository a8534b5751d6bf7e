"""How a network is told the task: a code of each task, to be put beside what goes in.

What a code is, and how it is learned:

    one_hot     e_i
    embedding   a row of each task's own, learned
    descriptor  what is known of the task beforehand, such as the mass of a part
    file        a vector of each task from a file, such as a sentence embedding of its description
    critic      the code of the critics' network, without gradient (BRC, Nauman et al., 2025)
    hidden      nothing

A learned linear layer may map those that are given, and any code's length may be held to 1, or to at most 1.
"""

import math

import torch
from jaxtyping import Float32
from torch import nn

from mtrl.errors import UserError
from mtrl.parts.network import ConditioningConfig, GroupTasks, Network, NetworkShape, TaskSpecific

from .codes import read_codes
from .layers import he_bound, uniform

Code = Float32[torch.Tensor, "copies group code"]
EMBEDDING = 32
"""Numbers of a learned code where the config names none."""


class TaskCode(nn.Module):
    """The code of every task.

    Args:
        shape: Tasks and copies.
        config: Which code; `default` is one-hot.
        generator: Draws initial values.

    Attributes:
        dim: Numbers in a code.
        learned: Whether the code, or a layer that maps it, is learned here.
        borrows: Whether the code is the critics', which `lend_code` hands over.

    Raises:
        UserError: What the code is to be made of is missing.
    """

    def __init__(self, shape: NetworkShape, config: ConditioningConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.norm, self.borrows = config.norm, config.code == "critic"
        self.dim = code_dim(shape, config)
        copies = 1 if config.shared else shape.copies
        embedded = config.code == "embedding"
        self.embedding = TaskEmbedding(copies, shape.num_tasks, self.dim, generator) if embedded else None
        given = None if embedded or self.borrows else fixed_codes(shape, config)
        self.register_buffer("codes", given, persistent=False)
        width = shape.critic_code if given is None else given.shape[-1]
        mapped = config.dim > 0 and not embedded and config.code != "hidden"
        self.map = CodeMap(copies, width, config.dim, generator) if mapped else None
        self.learned = embedded or mapped
        self._lender: list[TaskCode] = []

    def borrow(self, lender: "TaskCode") -> None:
        """Takes the codes of another from now on. In a list, since it is no part of this module."""
        self._lender = [lender]

    def forward(self, task_id: GroupTasks) -> Code:
        """Codes `[1 or copies, group, code]`."""
        code = self._given(task_id)
        if self.map is not None:
            code = self.map(code)
        if self.norm == "unit":
            return nn.functional.normalize(code, dim=-1)
        if self.norm == "max_unit":
            return code / torch.linalg.vector_norm(code, dim=-1, keepdim=True).clamp(min=1.0)
        return code

    def _given(self, task_id: GroupTasks) -> Code:
        if self.embedding is not None:
            return self.embedding(task_id)
        if not self.borrows:
            return self.get_buffer("codes")[:, task_id]
        if not self._lender:
            raise RuntimeError("this network borrows the critics' code: call lend_code(critics, actor) first")
        return self._lender[0](task_id)[:1].detach()


class TaskEmbedding(TaskSpecific):
    """A learned row for each task, drawn from N(0, 1 / dim), so that its length is near 1."""

    def __init__(self, copies: int, num_tasks: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(copies, num_tasks, dim, generator=generator) / math.sqrt(dim))

    def forward(self, task_id: GroupTasks) -> Code:
        """Those of each group's task."""
        return self.weight[:, task_id]


class CodeMap(nn.Module):
    """A linear layer that all tasks share, from given codes to learned ones.

    No adapter corrects it: what that would add is a learned code.
    """

    def __init__(self, copies: int, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = uniform((copies, fan_in, fan_out), he_bound(fan_in), generator)
        self.bias = nn.Parameter(torch.zeros(copies, 1, fan_out))

    def forward(self, code: Code) -> Code:
        """`[1, group, fan_in]` to `[copies, group, fan_out]`."""
        return torch.baddbmm(self.bias, code.expand(len(self.weight), -1, -1), self.weight)


def code_dim(shape: NetworkShape, config: ConditioningConfig) -> int:
    """Numbers in a code.

    Raises:
        UserError: What the code is to be made of is missing.
    """
    if config.code == "hidden":
        return 0
    if config.code == "critic" and not shape.critic_code:
        raise UserError("task.code critic is for an actor whose critics have a code of their own: choose another code")
    if config.dim:
        return config.dim
    if config.code == "critic":
        return shape.critic_code
    return EMBEDDING if config.code == "embedding" else fixed_codes(shape, config).shape[-1]


def fixed_codes(shape: NetworkShape, config: ConditioningConfig) -> Code:
    """Codes that are not learned, `[1, task, code]`.

    Raises:
        UserError: There are none of that kind.
    """
    if config.code == "hidden":
        return torch.zeros(1, shape.num_tasks, 0)
    if config.code == "file":
        return read_codes(config.file, shape.task_names).unsqueeze(0)
    if config.code == "descriptor":
        if shape.descriptors is None:
            raise UserError(
                "task.code descriptor: no task has a descriptor: give it where the task is registered "
                "(descriptor=[...]), or choose another code"
            )
        return shape.descriptors.detach().to("cpu", torch.float32).unsqueeze(0)
    return torch.eye(shape.num_tasks).unsqueeze(0)


def lend_code(critics: Network, actor: Network) -> None:
    """Lets an actor's network use the critics' code, where its config says so.

    The critics alone own and learn it: it is in none of the actor's parameters, nor in its `state_dict`. A copy of
    both together borrows from the copied critics; a copy of the actor alone keeps the code as it was.

    Raises:
        UserError: The critics have no code to lend, or would borrow themselves.
    """
    borrowers = [module for module in actor.modules() if isinstance(module, TaskCode) and module.borrows]
    if not borrowers:
        return
    lenders = [module for module in critics.modules() if isinstance(module, TaskCode)]
    if not lenders or not lenders[0].dim:
        raise UserError(
            "task.code critic: the critics' network has no code that the actor could borrow: choose another code for "
            "the actor, or another network for the critics"
        )
    for module in borrowers:
        module.borrow(lenders[0])


def beside(x: Float32[torch.Tensor, "group sample in"], code: Code, copies: int) -> torch.Tensor:
    """Inputs with their task's code at the end, `[copies, group, sample, in + code]`."""
    wide = code.unsqueeze(2).expand(-1, -1, x.shape[1], -1)
    return torch.cat([x.expand(len(code), *x.shape), wide], dim=-1).expand(copies, -1, -1, -1)
