"""CARE: a mixture of encoders of the state, mixed as the task's context says.

Sodhani et al., "Multi-Task Reinforcement Learning with Context-based Representations", ICML 2021, as in Meta-World+.
With the task's code z, experts h_k and perceptrons C and A:

    c = C(relu(z))                          context
    a = softmax(A(c))                       attention, one weight an expert
    output = F([sum_k a_k h_k(s), c])       F a perceptron of `depth` layers of `width` units
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from mtrl.config import Bounds, check_bounds, option
from mtrl.errors import UserError
from mtrl.parts.network import ConditioningConfig, GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs
from mtrl.parts.register import register_network

from .conditioning import TaskCode
from .experts import Experts
from .layers import Linear, perceptron

HIDDEN = 2
"""Hidden layers of context, attention and experts."""


@dataclass(frozen=True)
class CareConfig(NetworkConfig):
    """Experts, context and attention."""

    own_code: ClassVar[ConditioningConfig] = ConditioningConfig("embedding", dim=50)
    name: str = "care"
    experts: int = 6
    """Encoders of the state; 6 for MT10 and 10 for MT50 in the paper."""
    expert_width: int = 50
    """Units of each layer of an encoder, and numbers that it gives."""
    context_width: int = 50
    """Units of each layer of context and attention, and numbers in a context."""
    detach_attention: bool = False
    """The attention takes the context without gradient, as in the authors' code; not so in Meta-World+."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.task.code == "hidden":
            raise UserError(f"{option(prefix)}task.code hidden: care mixes its encoders by the task: choose another")


_BOUNDS: Bounds = {"experts": (1, 10_000), "expert_width": (1, math.inf), "context_width": (1, math.inf)}


@register_network("care", description="encoders of the state, mixed as the task's context says", config=CareConfig)
class Care(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: CareConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, context, wide = shape.copies, config.context_width, config.expert_width
        self.copies, self.detach_attention = copies, config.detach_attention
        self.code = TaskCode(shape, config.code, generator)
        # codes that are given say something with their signs, those that are learned do not yet
        self.begin = nn.ReLU() if self.code.learned else nn.Identity()
        self.context = Experts(copies, 1, (self.code.dim, *[context] * (HIDDEN + 1)), config, generator)
        self.attention = Experts(copies, 1, (*[context] * (HIDDEN + 1), config.experts), config, generator)
        sizes = (shape.in_dim, *[wide] * (HIDDEN + 1))
        self.experts = Experts(copies, config.experts, sizes, config, generator)
        self.trunk, features = perceptron(copies, wide + context, config, generator)
        self.head = Linear(copies, features, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        context = self.context(self.begin(self.code(task_id)).unsqueeze(2)).squeeze(1)
        encoded = (self.weights(context) * self.experts(x.unsqueeze(0))).sum(dim=1)
        wide = context.expand(-1, -1, x.shape[1], -1)
        return self.head(self.trunk(torch.cat([encoded, wide], dim=-1)))

    def weights(self, context: torch.Tensor) -> torch.Tensor:
        """Contexts `[copies, group, 1, context]` to the experts' weights, `[copies, expert, group, 1, 1]`."""
        context = context.detach() if self.detach_attention else context
        scores = self.attention(context).squeeze(1).squeeze(2)
        return torch.softmax(scores, dim=-1).movedim(-1, 1)[..., None, None]
