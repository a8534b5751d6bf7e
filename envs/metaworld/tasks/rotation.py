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
    m = matrix.view(-1, 3, 3)
    diagonal = m.diagonal(dim1=1, dim2=2)
    trace = (diagonal[:, 0] + diagonal[:, 1] + diagonal[:, 2]).unsqueeze(1)
    forms = matrix.new_empty(len(matrix), 4, 4)
    forms[:, :3, :3] = m + m.transpose(1, 2)
    forms.diagonal(dim1=1, dim2=2)[:, :3] += 1 - trace
    forms[:, :3, 3] = matrix[:, (7, 2, 3)] - matrix[:, (5, 6, 1)]
    forms[:, 3, :3] = forms[:, :3, 3]
    forms[:, 3, 3:] = 1 + trace
    choice = torch.cat((diagonal, trace), dim=1).argmax(1)
    chosen = forms.gather(1, choice.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    squares = chosen * chosen
    length = (squares[:, 0] + squares[:, 1] + squares[:, 2] + squares[:, 3]).sqrt_()
    return chosen / length.unsqueeze(1)
