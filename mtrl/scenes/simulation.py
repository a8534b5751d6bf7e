# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Many copies of one model, as the start functions of tasks see them."""

import contextlib
from collections.abc import Iterator

import mujoco
import mujoco.batch
import numpy as np

COMPUTED_FIELDS = ("xpos", "xquat", "xmat", "site_xpos", "site_xmat", "geom_xpos", "geom_xmat", "sensordata")
"""What is computed from the state and may be read."""
_NO_STAGE = int(mujoco.mjtStage.mjSTAGE_NONE.value)


class Simulation:
    """Copies of a model, moved together; every array has one row a copy.

    As in MuJoCo itself, positions that are computed from the state are those of the last `step` or `forward`, and after
    `step` of the state before its last physics step.

    Args:
        model: The model.
        count: Copies.
        threads: Threads that step them.

    Attributes:
        body_pos: Where each body stands within its parent, `[count, body, 3]` m, live; so are MuJoCo's other inputs.
    """

    def __init__(self, model: mujoco.MjModel, count: int, threads: int = 1) -> None:
        self.model, self.count = model, count
        self._rehearsing = False
        self.batch = mujoco.batch.Batch(model, count, threads)
        self._computed = {name: self.batch.bind(name) for name in COMPUTED_FIELDS}
        self.body_pos: np.ndarray = self.batch.expand("body_pos")
        self.qpos: np.ndarray = self.batch.bind("qpos")
        self.qvel: np.ndarray = self.batch.bind("qvel")
        self.ctrl: np.ndarray = self.batch.bind("ctrl")
        self.mocap_pos: np.ndarray = self.batch.bind("mocap_pos")
        self.mocap_quat: np.ndarray = self.batch.bind("mocap_quat")

    def reset(self) -> None:
        """MuJoCo's reset of the state; nothing is computed from it."""
        self.batch.reset(stage=_NO_STAGE)

    def step(self, steps: int) -> None:
        """Physics steps."""
        if self._rehearsing:
            return
        self.batch.step(nstep=steps, stage=_NO_STAGE)

    def forward(self) -> None:
        """Computes everything from the state, the warm start of the next step included."""
        self.batch.forward()

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Within it, no time passes: for a start that moves fixtures before the real one."""
        self._rehearsing = True
        try:
            yield
        finally:
            self._rehearsing = False

    def place_body(self, name: str, position: np.ndarray) -> None:
        """Moves a body within its parent, `[count, 3]` m: so fixtures move, collision geometry included."""
        self.body_pos[:, self.model.body(name).id] = position

    def set_joint(self, name: str, position: np.ndarray | float, velocity: np.ndarray | float | None = None) -> None:
        """Sets a joint's position, `[count]` or `[count, n]`, and its velocity where one is given."""
        joint = self.model.joint(name)
        _assign(self.qpos, joint.qposadr[0], position)
        if velocity is not None:
            _assign(self.qvel, joint.dofadr[0], velocity)

    def body(self, name: str) -> np.ndarray:
        """A body's position, `[count, 3]` m, a copy."""
        return self._computed["xpos"][:, self.model.body(name).id].copy()

    def site(self, name: str) -> np.ndarray:
        """A site's position, `[count, 3]` m, a copy."""
        return self._computed["site_xpos"][:, self.model.site(name).id].copy()

    def geom(self, name: str) -> np.ndarray:
        """A geom's position, `[count, 3]` m, a copy."""
        return self._computed["geom_xpos"][:, self.model.geom(name).id].copy()

    def array(self, name: str) -> np.ndarray:
        """One of MuJoCo's arrays, `[count, ...]`, live."""
        return self._computed[name] if name in self._computed else getattr(self, name)

    def final_geometry(self) -> np.ndarray:
        """Position and rotation matrix of every geom in the current state, `[count, geom, 12]`; the state is kept."""
        state = self.batch.state.copy()
        self.forward()
        poses = np.concatenate((self._computed["geom_xpos"], self._computed["geom_xmat"]), axis=2)
        self.batch.state[:] = state
        return poses


def _assign(rows: np.ndarray, start: int, value: np.ndarray | float) -> None:
    value = np.asarray(value, np.float64)
    width = value.shape[1] if value.ndim == 2 else 1
    rows[:, start : start + width] = value if value.ndim == 2 else value.reshape(-1, 1)
