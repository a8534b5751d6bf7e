"""Rotation matrices as quaternions, the way SciPy makes them, since upstream observes those."""

import torch


def quaternion_of(matrix: torch.Tensor) -> torch.Tensor:
    """The quaternion x, y, z, w of a rotation matrix.

    Markley's method with SciPy's choice among its four forms, which also fixes the sign (Journal of Guidance, Control,
    and Dynamics 31(2), 2008).

    Args:
        matrix: `[world, 9]`, row by row.

    Returns:
        `[world, 4]`.
    """
    xx, xy, xz, yx, yy, yz, zx, zy, zz = matrix.unbind(1)
    trace = xx + yy + zz
    left = 1 - trace
    x, y, z = zy - yz, xz - zx, yx - xy
    a, b, c = yx + xy, zx + xz, zy + yz
    forms = (left + 2 * xx, a, b, x, a, left + 2 * yy, c, y, b, c, left + 2 * zz, z, x, y, z, 1 + trace)
    choice = torch.stack((xx, yy, zz, trace), dim=1).argmax(1)
    table = torch.stack(forms, dim=1).view(-1, 4, 4)
    chosen = table.gather(1, choice.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    squares = chosen * chosen
    length = (squares[:, 0] + squares[:, 1] + squares[:, 2] + squares[:, 3]).sqrt_()
    return chosen / length.unsqueeze(1)
