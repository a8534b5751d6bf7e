"""Small problems in the tasks' weights, solved on the device: a fixed number of steps, in double precision.

Gradients of tasks differ in length by many orders of magnitude. So unknowns are measured in lengths of gradients, and
what is solved has the cosines between them for coefficients: it is as well scaled as the tasks are different.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64

Vector = Float64[torch.Tensor, " unknown"]
Matrix = Float64[torch.Tensor, "unknown unknown"]
RIDGE = 1e-6
"""Added to cosines, as much as their rounding: solutions stay bounded where gradients cancel exactly."""
TO_THE_EDGE = 0.99
"""Share of the way to the nearest bound that a step may go."""


@dataclass(frozen=True)
class Angles:
    """A Gram matrix taken apart. A task whose gradient is zero is at right angles to all.

    Attributes:
        norms: `[task]`, lengths of the gradients; 1 where it is zero.
        cosines: `[task, task]`.
        present: `[task]`, 1, or 0 where the gradient is zero.
    """

    norms: Float64[torch.Tensor, " task"]
    cosines: Float64[torch.Tensor, "task task"]
    present: Float64[torch.Tensor, " task"]


def angles_of(gram: torch.Tensor) -> Angles:
    """Lengths and cosines of gradients from their scalar products."""
    gram = gram.double()
    squares = gram.diagonal()
    present = squares > 0.0
    norms = torch.where(present, squares, 1.0).sqrt()
    cosines = (gram / torch.outer(norms, norms)).clamp(-1.0, 1.0) * torch.outer(present, present)
    one = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return Angles(norms, torch.where(one > 0.0, one, cosines), present.double())


def minimize(
    value: Callable[[Float64[torch.Tensor, "point unknown"]], Float64[torch.Tensor, " point"]],
    derivatives: Callable[[Vector], tuple[Vector, Matrix]],
    row: Vector,
    start: Vector,
    steps: int,
) -> Vector:
    """Minimum of a convex function over row . x = 1, x >= 0, by a primal-dual interior-point method with line search.

    The barrier shrinks tenfold at each step that is taken in full, so that a dozen steps reach 1e-9.

    Args:
        value: Of several points at once.
        derivatives: Gradient and Hessian at a point.
        row: Of the equation.
        start: A point inside.
        steps: Newton steps.
    """
    x, dual, count = start, torch.ones_like(start), len(start)
    system = x.new_zeros(count + 1, count + 1)
    system[count, :count], system[:count, count] = row, row
    lengths = _lengths(x)
    for _ in range(steps):
        gradient, hessian = derivatives(x)
        barrier = 0.1 * (x * dual).mean()
        system[:count, :count] = hessian + torch.diag(dual / x)
        right = torch.cat([barrier / x - gradient, (1.0 - row @ x)[None]])
        move = _solve(system, right)[:count]
        dual_move = (barrier - dual * move) / x - dual
        points = x + _longest(x, move) * lengths * move
        x = _lowest(points, value(points) - barrier * points.log().sum(dim=1))
        dual = dual + _longest(dual, dual_move) * dual_move
    return x


def balance(cosines: Matrix, cost: Vector, power: float, steps: int = 12) -> Vector:
    """The only y > 0 with cosines @ y = cost * y^(-power): the minimum of a convex function, by Newton's method.

    The function is y . cosines @ y / 2 - sum_i cost_i F(y_i) with F' = y^(-power); after each step y is scaled to
    where the function is smallest on its ray, which is known exactly.

    Args:
        cosines: Positive semidefinite, with ones on the diagonal.
        cost: Positive.
        power: Above 0.
        steps: Newton steps.
    """
    matrix = cosines + RIDGE * torch.eye(len(cost), dtype=cosines.dtype, device=cosines.device)

    def value(points: torch.Tensor) -> torch.Tensor:
        gain = points.log() if power == 1.0 else points ** (1.0 - power) / (1.0 - power)
        return 0.5 * (points @ matrix * points).sum(dim=1) - (cost * gain).sum(dim=1)

    def scaled(y: torch.Tensor) -> torch.Tensor:
        return y * ((cost * y ** (1.0 - power)).sum() / (y @ (matrix @ y))) ** (1.0 / (1.0 + power))

    y, lengths = scaled(cost ** (1.0 / (1.0 + power))), _lengths(cost)
    for _ in range(steps):
        slope = cost * y**-power
        move = _solve(matrix + torch.diag(power * slope / y), slope - matrix @ y)
        points = y + _longest(y, move) * lengths * move
        y = scaled(_lowest(points, value(points)))
    return y


def _solve(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Solves equations, without asking the device whether they had a solution: no move where they had none."""
    return torch.linalg.solve_ex(system, right)[0].nan_to_num(0.0, 0.0, 0.0)


def _longest(x: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """The longest step, at most 1, that stays well above zero."""
    bounds = torch.where(move < 0.0, -x / move, torch.inf)
    return (TO_THE_EDGE * bounds.amin()).clamp(max=1.0)


def _lengths(x: torch.Tensor) -> torch.Tensor:
    """`[point, 1]`, shares of a step among which a line search chooses: all of it, halves of that, and none."""
    powers = torch.arange(12, dtype=x.dtype, device=x.device)[:, None]
    return torch.where(powers < 11.0, 0.5**powers, 0.0)


def _lowest(points: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The point with the smallest value, taken without the host's knowing which it is."""
    return points.index_select(0, values.argmin(dim=0, keepdim=True))[0]
