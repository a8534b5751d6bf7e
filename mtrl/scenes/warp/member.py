# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""A scene as one of several that share a model: what in it moves, and which place in that model each thing takes."""

from collections import Counter
from dataclasses import dataclass

import mujoco
import numpy as np

from mtrl.scenes.scene import Scene, stripped_model

Path = tuple[tuple[int, int], ...]
"""A body, by the way to it from the world: at each step one of the kinds below, and its number among such siblings."""
WORLD: Path = ()
FIXTURES, JOINTED, PLAIN = range(3)
"""Kinds of bodies: everything welded to the world that comes after so many moving bodies, and before the next, which
keeps geoms in the order that each scene has them in; what moves and holds joints or a mocap body; what moves along."""
BODY_EQUALITIES = tuple(int(kind) for kind in (mujoco.mjtEq.mjEQ_WELD, mujoco.mjtEq.mjEQ_CONNECT))
_EQUALITIES = (*BODY_EQUALITIES, int(mujoco.mjtEq.mjEQ_JOINT))
_TRANSMISSIONS = tuple(int(kind) for kind in (mujoco.mjtTrn.mjTRN_JOINT, mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_SHAPES = tuple(
    int(kind)
    for kind in (
        mujoco.mjtGeom.mjGEOM_PLANE,
        mujoco.mjtGeom.mjGEOM_SPHERE,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        mujoco.mjtGeom.mjGEOM_ELLIPSOID,
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        mujoco.mjtGeom.mjGEOM_BOX,
        mujoco.mjtGeom.mjGEOM_MESH,
    )
)
_ABSENT = ("ntendon", "npair", "nexclude", "nflex", "nhfield", "nplugin", "nhistory", "nplastic", "na")
ACTUATOR_FORM = (
    "trntype",
    "dyntype",
    "gaintype",
    "biastype",
    "trnid",
    "ctrladr",
    "ctrlnum",
    "ctrlspec",
    "actadr",
    "actnum",
    "actlimited",
    "actearly",
    "forcelimited",
    "ctrllimited",
)
"""What mujoco_warp keeps once for all worlds, of actuators, by the second part of MuJoCo's name."""
JOINT_FORM = ("type", "actfrclimited", "actgravcomp")
"""The same of joints."""
GEOM_FORM = ("type", "contype", "conaffinity", "condim", "priority")
"""The same of geoms."""


@dataclass(frozen=True)
class Slot:
    """A place for a geom, or for a site, in a model that several scenes share.

    Attributes:
        body: The body it is on.
        kind: For a geom what mujoco_warp keeps once for all worlds: type, contype, conaffinity, condim and priority.
        number: Which of its kind on that body.
    """

    body: Path
    kind: tuple[int, ...]
    number: int


@dataclass(frozen=True)
class Touch:
    """A contact sensor between two geoms, by their places, with its form: data, reduction, and how many contacts."""

    first: Slot
    second: Slot
    form: tuple[int, ...]


class Member:
    """A scene, taken apart.

    Attributes:
        scene: The scene.
        model: Its stripped model.
        paths: Of each body.
        geoms: The place of each geom.
        sites: Places of the sites on moving bodies, by their number.
        touches: Of each sensor.
        frames: Orientation of each body within what holds it in a shared model, `[body, 4]`; see `poses`.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.model = scene, stripped_model(scene)
        model = self.model
        self.welded = (model.body_weldid == 0) & (model.body_mocapid[model.body_rootid] < 0)
        self.holds = _holds_joints(model)
        self.paths = self._paths()
        kinds = zip(*(getattr(model, f"geom_{part}").tolist() for part in GEOM_FORM), strict=True)
        self.geoms = _slots([self.paths[body] for body in model.geom_bodyid], list(kinds))
        moving = [site for site in range(model.nsite) if not self.welded[model.site_bodyid[site]]]
        slots = _slots([self.paths[model.site_bodyid[site]] for site in moving], [()] * len(moving))
        self.sites = dict(zip(moving, slots, strict=True))
        self.frames = self._frames()

    @property
    def touches(self) -> list[Touch]:
        """The place of each sensor."""
        model = self.model
        pairs = zip(model.sensor_objid, model.sensor_refid, model.sensor_intprm.tolist(), strict=True)
        return [Touch(self.geoms[first], self.geoms[second], tuple(form)) for first, second, form in pairs]

    @property
    def layout(self) -> tuple:
        """Scenes for which it is equal have the same joints, driven and bound in the same way."""
        model = self.model
        bodies = [
            (path, tuple(model.jnt_type[joints_of(model, body)].tolist()), int(model.body_mocapid[body]))
            for body, path in enumerate(self.paths)
            if self.holds[body] and not self.welded[body]
        ]
        bound = zip(model.eq_type, model.eq_obj1id, model.eq_obj2id, model.eq_active0, strict=True)
        equalities = [
            (
                int(kind),
                *(self.paths[i] if kind in BODY_EQUALITIES else int(i) for i in (first, second)),
                bool(active),
            )
            for kind, first, second, active in bound
        ]
        forms = [getattr(model, f"actuator_{part}").tobytes() for part in ACTUATOR_FORM]
        forms += [getattr(model, f"jnt_{part}").tobytes() for part in JOINT_FORM]
        # mujoco_warp asks once for all worlds whether any geom, or any actuator, has these.
        special = (bool(model.geom_surfacevel.any()), bool(model.geom_adhesion.any()))
        forms += [(prm[:, 1:3] != 0).tobytes() for prm in (model.actuator_gainprm, model.actuator_biasprm)]
        return tuple(bodies), tuple(equalities), tuple(forms), special, options(model)

    @property
    def topology(self) -> tuple:
        """Scenes for which it is equal need the same bodies and geoms, in the same order."""
        return self.layout, tuple(self.paths_in_order()), tuple(sorted(self.geoms, key=lambda slot: slot.body))

    def paths_in_order(self) -> list[Path]:
        """The moving bodies, in the model's order."""
        return [path for body, path in enumerate(self.paths) if not self.welded[body]]

    def mergeable(self) -> bool:
        """Whether the scene can share a model: whether it has nothing that is not provided for."""
        model = self.model
        welded = [
            i
            for kind, *pair in zip(model.eq_type, model.eq_obj1id, model.eq_obj2id, strict=True)
            for i in pair
            if kind in BODY_EQUALITIES and i > 0 and self.welded[i]
        ]
        return bool(
            not any(getattr(model, name) for name in _ABSENT)
            and not welded
            and np.isin(model.geom_type, _SHAPES).all()
            and not model.geom_fluid[:, 0].any()
            and not (model.opt.density or model.opt.viscosity or model.opt.wind.any())
            and not model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP
            and (model.sensor_type == mujoco.mjtSensor.mjSENS_CONTACT).all()
            and (model.sensor_objtype == mujoco.mjtObj.mjOBJ_GEOM).all()
            and (model.sensor_reftype == mujoco.mjtObj.mjOBJ_GEOM).all()
            and not model.sensor_cutoff.any()
            and np.isin(model.eq_type, _EQUALITIES).all()
            and not (model.eq_objtype == mujoco.mjtObj.mjOBJ_SITE).any()
            and np.isin(model.actuator_trntype, _TRANSMISSIONS).all()
            and mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, "contact_sensor_maxmatch") < 0
        )

    def poses(self, body_pos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where bodies stand within what they are within in a shared model: the world, or another moving body.

        Args:
            body_pos: Where they stand within their parents in the scene, `[start, body, 3]` m.

        Returns:
            Positions `[start, body, 3]` m and orientations `[body, 4]`; of a welded body its pose in the world.
        """
        model = self.model
        positions = np.array(body_pos)
        for body in range(1, model.nbody):
            parent = model.body_parentid[body]
            if parent > 0 and self.welded[parent]:
                positions[:, body] = positions[:, parent] + body_pos[:, body] @ rotation(self.frames[parent]).T
        return positions, self.frames

    def _paths(self) -> list[Path]:
        paths, seen = [WORLD], Counter()
        for body in range(1, self.model.nbody):
            if self.welded[body]:
                moving = seen[WORLD, JOINTED]
                paths.append(((FIXTURES, moving),) if moving else WORLD)
                continue
            above = self.model.body_parentid[body]
            parent, kind = WORLD if self.welded[above] else paths[above], JOINTED if self.holds[body] else PLAIN
            paths.append((*parent, (kind, seen[parent, kind])))
            seen[parent, kind] += 1
        return paths

    def _frames(self) -> np.ndarray:
        """Orientation of bodies within what they are within in a shared model, `[body, 4]`."""
        model = self.model
        frames = model.body_quat.copy()
        for body in range(1, model.nbody):
            parent = model.body_parentid[body]
            if parent > 0 and self.welded[parent]:
                mujoco.mju_mulQuat(frames[body], frames[parent], model.body_quat[body])
        return frames


def rotation(quaternion: np.ndarray) -> np.ndarray:
    """A quaternion's rotation matrix, `[3, 3]`."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


def options(model: mujoco.MjModel) -> tuple[tuple[str, bytes], ...]:
    """MuJoCo's options, each with the bytes of its value."""
    names = [name for name in dir(model.opt) if not name.startswith("_") and not callable(getattr(model.opt, name))]
    return tuple((name, np.asarray(getattr(model.opt, name)).tobytes()) for name in names)


def joints_of(model: mujoco.MjModel, body: int) -> slice:
    """The joints of a body."""
    first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
    return slice(first, first + count) if count else slice(0)


def _holds_joints(model: mujoco.MjModel) -> np.ndarray:
    """Whether each body or one within it has a joint or is a mocap body."""
    holds = (model.body_jntnum > 0) | (model.body_mocapid >= 0)
    for body in range(model.nbody - 1, 0, -1):
        holds[model.body_parentid[body]] |= holds[body]
    return holds


def _slots(bodies: list[Path], kinds: list[tuple[int, ...]]) -> list[Slot]:
    seen: Counter = Counter()
    slots = []
    for body, kind in zip(bodies, kinds, strict=True):
        slots.append(Slot(body, kind, seen[body, kind]))
        seen[body, kind] += 1
    return slots
