# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""The same numbers with less Python: upstream's step without what has no effect on any result.

A step of upstream's spends most of its time outside the physics: looking names up, checking that rotation matrices are
rotations, walking through contacts, small NumPy calls. What is written here gives the same observations, rewards and
infos to the last bit (on x86-64), which tests/test_metaworld_upstream.py holds against upstream for all 50 tasks.
"""

import math
import types
from typing import Any

import mujoco
import numpy as np
from metaworld.sawyer_xyz_env import SawyerXYZEnv
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

FRAME = 18
"""Numbers of one observed frame: hand 3, gripper 1, objects 14."""
MOCAP_QUATERNION = (1.0, 0.0, 1.0, 0.0)


class LeanSteps(SawyerXYZEnv):
    """Upstream's step and observation in fewer operations. It goes before upstream's class in the resolution order."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self._body_ids: dict[str, int] = {}
        self._site_ids: dict[str, int] = {}
        super().__init__(*arguments, **keywords)

    def get_body_com(self, body_name: str) -> np.ndarray:
        """A live view of a body's position."""
        index = self._body_ids.get(body_name)
        if index is None:
            index = self._body_ids[body_name] = self.model.body(body_name).id
        return self.data.xpos[index]

    def _site(self, name: str) -> np.ndarray:
        """A live view of a site's position."""
        index = self._site_ids.get(name)
        if index is None:
            index = self._site_ids[name] = self.model.site(name).id
        return self.data.site_xpos[index]

    def _get_site_pos(self, site_name: str) -> np.ndarray:
        return self._site(site_name).copy()

    @property
    def tcp_center(self) -> np.ndarray:
        """The point between the two fingers."""
        return (self._site("rightEndEffector") + self._site("leftEndEffector")) / 2.0

    def touching_object(self, object_geom_id: int) -> bool:
        """Whether both finger pads press on a geom."""
        pairs = self.data.contact.geom
        touches_object = (pairs == object_geom_id).any(axis=1)
        if not touches_object.any():
            return False
        for pad in ("leftpad_geom", "rightpad_geom"):
            contacts = np.flatnonzero(touches_object & (pairs == self.model.geom(pad).id).any(axis=1))
            addresses = self.data.contact.efc_address[contacts]
            if not sum(self.data.efc_force[address] for address in addresses) > 0:
                return False
        return True

    def set_xyz_action(self, action: np.ndarray) -> None:
        """Moves the mocap body by at most 0.01 m along each axis, in single precision as upstream does."""
        displacement = np.minimum(np.maximum(action, -1), 1) * self.action_scale
        position = self.data.mocap_pos[0] + displacement
        np.minimum(np.maximum(position, self.mocap_low), self.mocap_high, out=self.data.mocap_pos[0])
        self.data.mocap_quat[0] = MOCAP_QUATERNION

    def _step_mujoco_simulation(self, ctrl: Any, n_frames: int) -> None:
        """Upstream's, without `mj_rnePostConstraint`, whose outputs nothing reads."""
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, nstep=n_frames)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; upstream also moves the target sites, which `mj_forward` then puts back.

        That `mj_forward` is not idle: it sets the warm start of the next step.
        """
        self.set_xyz_action(action[:3])
        self._step_mujoco_simulation([action[-1], -action[-1]], self.frame_skip)
        self.curr_path_length += 1
        mujoco.mj_forward(self.model, self.data)
        observation = self._get_obs()
        space = self.sawyer_observation_space
        np.minimum(np.maximum(observation, space.low), space.high, out=observation)
        reward, info = self.evaluate_state(observation, action)
        return observation, reward, False, self.curr_path_length == self.max_path_length, info

    def _get_obs(self) -> np.ndarray:
        goal = self._get_pos_goal()
        frame = self._get_curr_obs_combined_no_goal()
        observation = np.empty(2 * FRAME + 3)
        observation[:FRAME] = frame
        observation[FRAME:-3] = self._prev_obs
        observation[-3:] = 0.0 if self._partially_observable else goal
        self._prev_obs = frame
        return observation

    def _get_curr_obs_combined_no_goal(self) -> np.ndarray:
        frame = np.zeros(FRAME)
        frame[:3] = self.get_body_com("hand")
        gap = self.get_body_com("rightclaw") - self.get_body_com("leftclaw")
        frame[3] = min(max(math.sqrt(gap.dot(gap)) / 0.1, 0.0), 1.0)
        positions, quaternions = self._get_pos_objects(), self._get_quat_objects()
        for index in range(len(positions) // 3):
            start = 4 + 7 * index
            frame[start : start + 3] = positions[3 * index : 3 * index + 3]
            frame[start + 3 : start + 7] = quaternions[4 * index : 4 * index + 4]
        return frame


class LeanRotation:
    """Stands in for scipy's `Rotation` where upstream turns one rotation matrix into a quaternion (x, y, z, w)."""

    def __init__(self, quaternion: np.ndarray) -> None:
        self._quaternion = quaternion

    def as_quat(self) -> np.ndarray:
        """The quaternion `[4]`."""
        return self._quaternion

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> "LeanRotation":
        """Markley's method, as scipy does it (Journal of Guidance, Control, and Dynamics 31(2), 2008)."""
        m = matrix.tolist()
        if not _is_orthogonal(m):
            return cls(Rotation.from_matrix(matrix).as_quat())
        trace = m[0][0] + m[1][1] + m[2][2]
        choices = (m[0][0], m[1][1], m[2][2], trace)
        i = choices.index(max(choices))
        quaternion = [0.0, 0.0, 0.0, 0.0]
        if i == 3:
            quaternion = [m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1], 1 + trace]
        else:
            j, k = (i + 1) % 3, (i + 2) % 3
            quaternion[i] = 1 - trace + 2 * m[i][i]
            quaternion[j] = m[j][i] + m[i][j]
            quaternion[k] = m[k][i] + m[i][k]
            quaternion[3] = m[k][j] - m[j][k]
        x, y, z, w = quaternion
        length = math.sqrt(x * x + y * y + z * z + w * w)
        return cls(np.array([x / length, y / length, z / length, w / length]))


def _is_orthogonal(m: list[list[float]], tolerance: float = 5e-13) -> bool:
    """Whether rows are orthonormal, a little more strictly than scipy asks before it mends a matrix."""
    for a in range(3):
        for b in range(a, 3):
            product = m[a][0] * m[b][0] + m[a][1] * m[b][1] + m[a][2] * m[b][2]
            if abs(product - (a == b)) > tolerance:
                return False
    return True


def tolerance(
    x: float,
    bounds: tuple[float, float] = (0.0, 0.0),
    margin: float = 0.0,
    sigmoid: reward_utils.SIGMOID_TYPE = "gaussian",
    value_at_margin: float = 0.1,
) -> float:
    """Upstream's `tolerance` for one number: 1 within the bounds, falling to `value_at_margin` one margin away."""
    lower, upper = bounds
    if sigmoid != "long_tail" or margin <= 0 or lower > upper or not isinstance(x, float):
        return reward_utils.tolerance(x, bounds, margin, sigmoid, value_at_margin)
    if lower <= x <= upper:
        return 1.0
    distance = float((lower - x if x < lower else x - upper) / margin)
    return 1 / ((distance * math.sqrt(1 / value_at_margin - 1)) ** 2 + 1)


class LeanRewards:
    """Stands in for upstream's module of reward functions."""

    tolerance = staticmethod(tolerance)
    hamacher_product = staticmethod(reward_utils.hamacher_product)
    rect_prism_tolerance = staticmethod(reward_utils.rect_prism_tolerance)


REPLACEMENTS: dict[str, Any] = {"Rotation": LeanRotation, "reward_utils": LeanRewards, "tolerance": tolerance}
"""Global names in upstream's modules, and what the lean methods see in their place."""


def lean_class(upstream: type[SawyerXYZEnv]) -> type[SawyerXYZEnv]:
    """A class that behaves like one of upstream's environment classes and takes less time for it.

    Upstream's methods are copied so that they see the replacements instead of what their modules import; the modules
    themselves stay as they are.
    """
    methods: dict[str, Any] = {}
    for name, method in {**vars(SawyerXYZEnv), **vars(upstream)}.items():
        if name in vars(LeanSteps):
            continue
        if isinstance(method, staticmethod):
            methods[name] = staticmethod(_with_replacements(method.__func__))
        elif isinstance(method, types.FunctionType):
            methods[name] = _with_replacements(method)
    return type(upstream.__name__, (LeanSteps, upstream), methods)


def _with_replacements(method: Any) -> Any:
    """The method itself if it uses none of the replaced names, otherwise a copy with other globals."""
    replaced = {name: value for name, value in REPLACEMENTS.items() if name in method.__code__.co_names}
    if not replaced:
        return method
    names = {**method.__globals__, **replaced}
    copy = types.FunctionType(method.__code__, names, method.__name__, method.__defaults__, method.__closure__)
    copy.__kwdefaults__ = method.__kwdefaults__
    return copy
