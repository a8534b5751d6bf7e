# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""The model that several scenes share: a body, geom, site and sensor for whatever any of them has."""

from collections.abc import Sequence
from pathlib import Path as File

import mujoco
import numpy as np

from mtrl.scenes.warp.member import (
    ACTUATOR_FORM,
    BODY_EQUALITIES,
    FIXTURES,
    GEOM_FORM,
    JOINT_FORM,
    JOINTED,
    WORLD,
    Member,
    Path,
    Slot,
    Touch,
    joints_of,
    options,
)

MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
_MESH_PARTS = {
    "vert": ("vertadr", "vertnum"),
    "normal": ("normaladr", "normalnum"),
    "face": ("faceadr", "facenum"),
    "polynormal": ("polyadr", "polynum"),
    "polyvertnum": ("polyadr", "polynum"),
    "polymapnum": ("vertadr", "vertnum"),
}
"""Arrays of a mesh that lie in a row, with where its own begins and how long it is."""
MeshKey = tuple[tuple[str, object], ...]


class Unlike(Exception):
    """The model that was made cannot stand for all its members."""


class Template:
    """A model with room for everything in its members. Its numbers are those of some member, and to be replaced.

    Args:
        members: Scenes with the same layout.

    Attributes:
        model: The model.
        bodies: Body by path.
        geoms: Geom by place.
        sites: Site by place.
        sensors: Address of a sensor's number.
        meshes: Of each member, by its own mesh: the mesh here, for those that geoms use.

    Raises:
        Unlike: MuJoCo made something else of it than of the members.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members, self._spec = members, mujoco.MjSpec()
        self._spec.compiler.degree = False
        order = _in_depth_first_order(members)
        self.bodies: dict[Path, int] = {path: number for number, path in enumerate(order)}
        self._add_bodies(order)
        self._add_meshes()
        self._add_geoms()
        slots = dict.fromkeys(slot for member in members for slot in member.sites.values())
        for number, slot in enumerate(slots):
            self._bodies[slot.body].add_site(name=f"site {number}")
        self._add_forces()
        touches = dict.fromkeys(touch for member in members for touch in member.touches)
        for number, touch in enumerate(touches):
            self._add_touch(f"touch {number}", touch)
        self.model = self._compile()
        self.geoms = {slot: self.model.geom(name).id for slot, name in self._geom_names.items()}
        self.sites = {slot: self.model.site(f"site {number}").id for number, slot in enumerate(slots)}
        self.sensors = {touch: int(self.model.sensor(f"touch {number}").adr[0]) for number, touch in enumerate(touches)}
        self.meshes = [
            {mesh: self.model.mesh(self._mesh_names[key]).id for mesh, key in keys.items()} for keys in self._mesh_keys
        ]
        for number in range(len(members)):
            self._check(number)

    def _add_bodies(self, order: Sequence[Path]) -> None:
        self._bodies = {WORLD: self._spec.worldbody}
        for number, path in enumerate(order):
            if path != WORLD:
                self._bodies[path] = self._bodies[path[:-1]].add_body(name=f"body {number}", explicitinertial=True)
                if path[-1][0] != FIXTURES:
                    self._fill_body(path, number)

    def _fill_body(self, path: Path, number: int) -> None:
        """Gives a body what it is in that member where MuJoCo can take the fewest short cuts with it."""
        owners = [(member, member.paths.index(path)) for member in self.members if path in member.paths]
        member, body = min(owners, key=lambda owner: owner[0].model.body_simple[owner[1]])
        model, made = member.model, self._bodies[path]
        made.pos, made.quat = member.poses(model.body_pos[None])[0][0, body], member.frames[body]
        made.mocap = model.body_mocapid[body] >= 0
        made.mass, made.inertia = model.body_mass[body], model.body_inertia[body]
        made.ipos, made.iquat = model.body_ipos[body], model.body_iquat[body]
        for joint in range(model.njnt)[joints_of(model, body)]:
            made.add_joint(
                name=f"joint {joint}",
                type=model.jnt_type[joint],
                pos=model.jnt_pos[joint],
                axis=model.jnt_axis[joint],
                limited=bool(any(other.model.jnt_limited[joint] for other in self.members)),
                range=model.jnt_range[joint] if model.jnt_limited[joint] else (0, 1),
                actfrclimited=bool(model.jnt_actfrclimited[joint]),
                actfrcrange=model.jnt_actfrcrange[joint] if model.jnt_actfrclimited[joint] else (-1, 1),
                actgravcomp=bool(model.jnt_actgravcomp[joint]),
            )

    def _add_meshes(self) -> None:
        self._mesh_keys: list[dict[int, MeshKey]] = []
        self._mesh_names: dict[MeshKey, str] = {}
        for member in self.members:
            used = member.model.geom_dataid[member.model.geom_type == MESH]
            spec = member.scene.spec() if len(used) else None
            keys = {int(mesh): _mesh_key(spec, member.model.mesh(mesh).name) for mesh in set(used)}
            self._mesh_keys.append(keys)
            for key in keys.values():
                if key not in self._mesh_names:
                    name = self._mesh_names[key] = f"mesh {len(self._mesh_names)}"
                    made = self._spec.add_mesh(name=name)
                    for attribute, value in key:
                        setattr(made, attribute, value)

    def _add_geoms(self) -> None:
        self._geom_names: dict[Slot, str] = {}
        shown: set[str] = set()
        for member, keys in zip(self.members, self._mesh_keys, strict=True):
            model = member.model
            for geom, slot in enumerate(member.geoms):
                if slot in self._geom_names:
                    continue
                name = self._geom_names[slot] = f"geom {len(self._geom_names)}"
                form = dict(zip(GEOM_FORM, slot.kind, strict=True))
                made = self._bodies[slot.body].add_geom(name=name, size=model.geom_size[geom], **form)
                made.adhesion, made.surfacevel = model.geom_adhesion[geom], model.geom_surfacevel[geom]
                if slot.kind[0] == MESH:
                    made.meshname = self._mesh_names[keys[int(model.geom_dataid[geom])]]
                    shown.add(made.meshname)
        taken = np.bitwise_or.reduce([0, *(int(i) for member in self.members for i in member.model.geom_contype)])
        free = next((1 << bit for bit in range(31) if not taken & 1 << bit), None)
        for name in sorted(set(self._mesh_names.values()) - shown):
            if free is None:
                raise Unlike
            # MuJoCo computes the hulls of those meshes alone that a geom uses which could collide; this one never does.
            made = self._spec.worldbody.add_geom(name=f"hull of {name}", type=MESH, contype=0, conaffinity=free)
            made.meshname = name

    def _add_forces(self) -> None:
        """Equality constraints and actuators, as they are in all members."""
        member = self.members[0]
        model = member.model
        for number in range(model.neq):
            ends = (int(model.eq_obj1id[number]), int(model.eq_obj2id[number]))
            made = self._spec.add_equality(type=model.eq_type[number])
            if model.eq_type[number] in BODY_EQUALITIES:
                made.objtype = mujoco.mjtObj.mjOBJ_BODY
                names = [self._bodies[member.paths[end]].name for end in ends]
            else:
                names = [f"joint {end}" if end >= 0 else "" for end in ends]
            made.name1, made.name2, made.active = *names, bool(model.eq_active0[number])
            made.data[: model.eq_data.shape[1]] = model.eq_data[number]
        for number in range(model.nu):
            made = self._spec.add_actuator(name=f"actuator {number}", trntype=model.actuator_trntype[number])
            made.target = f"joint {model.actuator_trnid[number, 0]}"
            for part in ("dyntype", "gaintype", "biastype"):
                setattr(made, part, getattr(model, f"actuator_{part}")[number])
            for part in ("act", "force", "ctrl"):
                limited = bool(getattr(model, f"actuator_{part}limited")[number])
                setattr(made, f"{part}limited", limited)
                setattr(made, f"{part}range", getattr(model, f"actuator_{part}range")[number] if limited else (0, 1))
            made.ctrlspec = int(model.actuator_ctrlspec[number])
            made.actearly, made.actdim = bool(model.actuator_actearly[number]), int(model.actuator_actnum[number])

    def _add_touch(self, name: str, touch: Touch) -> None:
        made = self._spec.add_sensor(name=name, type=mujoco.mjtSensor.mjSENS_CONTACT, intprm=list(touch.form))
        made.objtype = made.reftype = mujoco.mjtObj.mjOBJ_GEOM
        made.objname, made.refname = self._geom_names[touch.first], self._geom_names[touch.second]

    def _compile(self) -> mujoco.MjModel:
        try:
            model = self._spec.compile()
        except ValueError as error:
            raise Unlike from error
        source = self.members[0].model.opt
        for name, _ in options(self.members[0].model):
            setattr(model.opt, name, getattr(source, name))
        return model

    def _check(self, number: int) -> None:
        """Holds what is the same for all worlds to what it is in a member.

        Raises:
            Unlike: Something differs.
        """
        member = self.members[number]
        model, made = member.model, self.model
        moving = [body for body in range(model.nbody) if not member.welded[body]]
        bodies = [self.bodies[member.paths[body]] for body in moving]
        geoms = [self.geoms[slot] for slot in member.geoms]
        names = [f"actuator_{part}" for part in ACTUATOR_FORM] + [f"jnt_{part}" for part in JOINT_FORM]
        names += ["jnt_qposadr", "jnt_dofadr", "jnt_actuatorid", "dof_parentid", "dof_jntid", "dof_treeid"]
        names += ["eq_type", "eq_objtype", "eq_active0", "nq", "nv", "nu", "na"]
        pairs = {name: (getattr(made, name), getattr(model, name)) for name in names}
        for name in ("body_mocapid", "body_dofadr"):
            pairs[name] = getattr(made, name)[bodies], getattr(model, name)[moving]
        for name in (f"geom_{part}" for part in GEOM_FORM):
            pairs[name] = getattr(made, name)[geoms], getattr(model, name)
        same = {name: np.array_equal(*pair) for name, pair in pairs.items()}
        same["opt"] = options(made) == options(model)
        # A body that is simple in the template would lose inertia of one that is not.
        same["body_simple"] = bool((made.body_simple[bodies] <= model.body_simple[moving]).all())
        same["mesh"] = all(_same_mesh(model, mesh, made, other) for mesh, other in self.meshes[number].items())
        if not all(same.values()):
            raise Unlike(*(name for name, equal in same.items() if not equal))


def _in_depth_first_order(members: Sequence[Member]) -> list[Path]:
    """All bodies of the members, parents first; those with joints in the order that all members have them in."""
    ranks: dict[Path, tuple[tuple[int, ...], ...]] = {WORLD: ()}
    for member in members:
        passed: dict[Path, int] = {}
        for path, welded, geoms in zip(member.paths, member.welded, member.model.body_geomnum, strict=True):
            if path == WORLD or (welded and not geoms):
                continue
            kind, number = path[-1]
            before = passed.get(path[:-1], 0)
            passed[path[:-1]] = before + (kind == JOINTED)
            # One without joints comes after as many with joints as in the first member that has it.
            rank = (number + 1, -1, 0) if kind == JOINTED else (before, 0, number)
            ranks.setdefault(path, (*ranks[path[:-1]], rank))
    return sorted(ranks, key=ranks.__getitem__)


def _mesh_key(spec: mujoco.MjSpec, name: str) -> MeshKey:
    """Everything that a mesh is made from; its file with the whole path."""
    mesh = spec.mesh(name)
    if mesh is None:
        raise Unlike
    file = mesh.file and str(
        File(spec.modelfiledir, mesh.compiler.meshdir, File(mesh.file).name if spec.strippath else mesh.file).absolute()
    )
    parts: list[tuple[str, object]] = [("file", file)]
    parts += [(name, getattr(mesh, name)) for name in ("inertia", "maxhullvert", "smoothnormal", "content_type")]
    parts += [(name, tuple(getattr(mesh, name))) for name in ("scale", "refpos", "refquat")]
    parts += [(name, tuple(getattr(mesh, name))) for name in ("uservert", "userface", "usernormal", "userfacenormal")]
    return tuple(parts)


def _same_mesh(first: mujoco.MjModel, one: int, second: mujoco.MjModel, other: int) -> bool:
    """Whether collisions see the same in a mesh of one model as in a mesh of another."""
    return all(np.array_equal(a, b) for a, b in zip(_mesh(first, one), _mesh(second, other), strict=True))


def _mesh(model: mujoco.MjModel, mesh: int) -> list[np.ndarray]:
    arrays = [model.mesh_pos[mesh], model.mesh_quat[mesh]]
    for part, (start, count) in _MESH_PARTS.items():
        first = getattr(model, f"mesh_{start}")[mesh]
        arrays.append(getattr(model, f"mesh_{part}")[first : first + getattr(model, f"mesh_{count}")[mesh]])
    polygons = slice(model.mesh_polyadr[mesh], model.mesh_polyadr[mesh] + model.mesh_polynum[mesh])
    vertices = slice(model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh])
    for flat, begins, counts in (
        (model.mesh_polyvert, model.mesh_polyvertadr[polygons], model.mesh_polyvertnum[polygons]),
        (model.mesh_polymap, model.mesh_polymapadr[vertices], model.mesh_polymapnum[vertices]),
    ):
        arrays.append(flat[begins[0] : begins[0] + counts.sum()] if len(begins) else flat[:0])
    graph = model.mesh_graphadr[mesh]
    if graph >= 0:
        hull, faces = model.mesh_graph[graph : graph + 2]
        arrays.append(model.mesh_graph[graph : graph + 2 + 3 * hull + 6 * faces])
    return arrays
