"""MOORE: experts whose outputs are made orthonormal in every state, and mixed for each task.

Hendawy et al., "Multi-Task Reinforcement Learning with Mixture of Orthogonal Experts", ICLR 2024. With the outputs
v_1 ... v_K of the experts in state s:

    u_k = r_k / |r_k|,  r_k = v_k - sum_(j < k) (v_k . u_j) u_j     Gram-Schmidt, in each state
    features = tanh(sum_k w_k(i) u_k)                               w(i) of task i, a bias-free map of its code
    output = head of task i

Gram-Schmidt needs only the scalar products of the experts: with V the rows v_k and V V^T = L L^T, L lower triangular,
the u_k are the rows of L^-1 V, so the mixture is (w L^-1) V. That reads V twice, in place of K^2 times.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import nn

from mtrl.config import Bounds, check_bounds, option
from mtrl.errors import UserError
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkConfig, NetworkShape, Outputs, TaskSpecific
from mtrl.parts.register import register_network

from .conditioning import TaskCode
from .experts import Experts
from .layers import TaskLinear, he_bound, uniform

Vectors = Float[torch.Tensor, "*rows expert features"]
Square = Float[torch.Tensor, "*rows expert expert"]
TINY = 1e-8
"""Added to squared lengths: an expert that answers 0, as all do at first in a state of zeros, stays 0."""


@dataclass(frozen=True)
class MooreConfig(NetworkConfig):
    """Experts of `depth` layers of `width` units; the last of each is linear."""

    name: str = "moore"
    experts: int = 4
    """Experts; 4 for MT10 and 6 for MT50 in Meta-World+."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, _BOUNDS, prefix)
        if self.task.code == "hidden":
            raise UserError(f"{option(prefix)}task.code hidden: moore mixes its experts by the task: choose another")
        if self.experts > self.width:
            raise UserError(
                f"{option(prefix)}experts {self.experts} cannot be orthogonal in {self.width} numbers: give fewer "
                "experts, or more width"
            )


_BOUNDS: Bounds = {"experts": (1, 10_000)}


@register_network("moore", description="orthogonal experts, mixed for each task; a head a task", config=MooreConfig)
class Moore(Network):
    """See the module's text."""

    def __init__(self, shape: NetworkShape, config: MooreConfig, generator: torch.Generator) -> None:
        super().__init__()
        copies, width = shape.copies, config.width
        sizes = (shape.in_dim, *[width] * config.depth)
        self.experts = Experts(copies, config.experts, sizes, config, generator)
        if config.code.code == "one_hot" and not config.code.dim:
            self.mixture = MixtureRows(copies, shape.num_tasks, config.experts, generator)
        else:
            self.mixture = MixtureOfCode(shape, config, generator)
        self.heads = TaskLinear(copies, shape.num_tasks, width, shape.out_dim, generator, shape.head_scale)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        vectors = self.experts(x.unsqueeze(0)).movedim(1, 3).contiguous()
        weights = self.mixture(task_id).unsqueeze(2).expand(-1, -1, x.shape[1], -1)
        return self.heads(torch.tanh(mix_orthonormal(vectors, weights)), task_id)


class MixtureRows(TaskSpecific):
    """The weights of the experts, a row of each task's own: the bias-free linear map of a one-hot code."""

    def __init__(self, copies: int, num_tasks: int, experts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.table = uniform((copies, num_tasks, experts), he_bound(num_tasks), generator)

    def forward(self, task_id: GroupTasks) -> torch.Tensor:
        """`[copies, group, expert]`."""
        return self.table[:, task_id]


class MixtureOfCode(nn.Module):
    """The weights of the experts as a bias-free linear map of the task's code."""

    def __init__(self, shape: NetworkShape, config: MooreConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.code = TaskCode(shape, config.code, generator)
        bound = he_bound(self.code.dim)
        self.weight = uniform((shape.copies, self.code.dim, config.experts), bound, generator)

    def forward(self, task_id: GroupTasks) -> torch.Tensor:
        """`[copies, group, expert]`."""
        return self.code(task_id) @ self.weight


def mix_orthonormal(vectors: Vectors, weights: Float[torch.Tensor, "*rows expert"]) -> torch.Tensor:
    """sum_k w_k u_k with the orthonormal u_k that Gram-Schmidt makes of the vectors, `[*rows, features]`."""
    return ((weights.unsqueeze(-2) @ gram_schmidt(vectors)) @ vectors).squeeze(-2)


def gram_schmidt(vectors: Vectors) -> Square:
    """The lower triangle T with which the rows of T V are those that Gram-Schmidt makes of the rows of V.

    Vectors that nearly depend on earlier ones give finite numbers: the scalar products of vectors of length 1 get a
    few roundings on top of their diagonal, so that they keep a triangle.
    """
    # symmetric, so this has the value and the gradient of V V^T, with one large product in the backward pass, not two
    half = vectors @ vectors.detach().mT
    products = half + half.mT - half.detach()
    inverse_length = (products.diagonal(dim1=-2, dim2=-1) + TINY).rsqrt()
    count = vectors.shape[-2]
    eye = torch.eye(count, dtype=vectors.dtype, device=vectors.device)
    cosines = products * inverse_length.unsqueeze(-1) * inverse_length.unsqueeze(-2)
    few_roundings = 8 * count * torch.finfo(vectors.dtype).eps
    triangle = torch.linalg.cholesky_ex(cosines + few_roundings * eye).L
    inverse = torch.linalg.solve_triangular(triangle, eye.expand_as(triangle), upper=False)
    return inverse * inverse_length.unsqueeze(-2)
