# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""The weld between the hand and the mocap body, for both engines. No torch here: workers import it."""

import mujoco
import numpy as np


def write_weld(model: mujoco.MjModel) -> None:
    """Writes upstream's 11 numbers of the weld, in place of the compiled ones, where MuJoCo has 12.

    The twelfth, when set, has MuJoCo compute the relative pose anew and lose the first ten.
    """
    for index in np.flatnonzero(model.eq_type == mujoco.mjtEq.mjEQ_WELD):
        model.eq_data[index] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5, 0]
