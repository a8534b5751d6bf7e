# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""One mujoco_warp model for several scenes.

Everything that is welded to the world loses its body: mujoco_warp never moves such geometry by itself, so that where it
stands is a matter of the start. Moving bodies are all kept, since how soft a contact is depends on its bodies. A model
has a place for every geom that any of its members has; where a member has none, `OUT_OF_REACH` takes it out of all
collisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mtrl.scenes.reading import locate
from mtrl.scenes.scene import Scene
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import View
from mtrl.scenes.warp.blueprint import Blueprint, OneScene, Placement, state_of
from mtrl.scenes.warp.member import Member
from mtrl.scenes.warp.settings import Grouping
from mtrl.scenes.warp.template import MESH, Template, Unlike

OUT_OF_REACH = -1e6
"""Margin of a geom that a member does not have, m.

mujoco_warp tests a pair of geoms for contact where the spheres and the boxes around them, or a sphere and a plane, are
closer than the sum of the margins. The test of spheres compares squares, which such a pair passes. The other two
compare the sum of sizes and margins with a distance, and reject the pair wherever both are; also where both are such.
"""
UNLIMITED = 1e9
"""Range of a joint that is limited in other members only, m or rad."""
_PARTS = {
    "body": "pos quat ipos iquat mass subtreemass inertia invweight0 gravcomp",
    "jnt": "solref solimp pos axis stiffness stiffnesspoly springyield range actfrcrange margin",
    "dof": "solref solimp frictionloss armature damping dampingpoly invweight0",
    "geom": "dataid solmix solref solimp size aabb rbound pos quat friction margin gap surfacevel adhesion",
    "site": "pos quat",
    "eq": "solref solimp data",
    "actuator": "cranklength dynprm gainprm biasprm actrange damping dampingpoly armature forcerange ctrlrange gear "
    "acc0 lengthrange",
}
FIELDS = {kind: tuple(f"{kind}_{part}" for part in parts.split()) for kind, parts in _PARTS.items()}
"""What mujoco_warp keeps for each world, as MuJoCo names it; besides, `qpos0` and `qpos_spring`."""


def merge(scenes: Sequence[Scene], grouping: Grouping) -> list[Blueprint]:
    """Blueprints for some scenes, as few as the grouping allows.

    A scene that has its model for itself, or that has what cannot be merged, such as tendons, keeps it as it is.

    Args:
        scenes: Different scenes.
        grouping: `scene`: a model each. `topology`: scenes that need the same bodies and geoms share a model. `layout`:
            all with the same joints do, with room for the geometry of each.

    Raises:
        UserError: A scene cannot be read.
    """
    if grouping == "scene":
        return [OneScene(scene) for scene in scenes]
    groups: dict[object, list[Member]] = {}
    for number, scene in enumerate(scenes):
        member = Member(scene)
        key = number if not member.mergeable() else member.layout if grouping == "layout" else member.topology
        groups.setdefault(key, []).append(member)
    return [blueprint for members in groups.values() for blueprint in _share(members)]


def _share(members: Sequence[Member]) -> list[Blueprint]:
    if len(members) > 1:
        try:
            return [Merged.of(members)]
        except Unlike:
            pass
    return [OneScene(member.scene) for member in members]


@dataclass(frozen=True, eq=False)
class Merged(Blueprint):
    """A model that several scenes share.

    Attributes:
        members: The scenes, taken apart.
        template: The model, and where in it everything is.
        fields: See `Blueprint`.
    """

    members: tuple[Member, ...]
    template: Template
    fields: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, members: Sequence[Member]) -> "Merged":
        """Merges scenes with the same layout.

        Raises:
            Unlike: They cannot be merged.
        """
        template = Template(members)
        neutral = _neutral_geoms(members, template)
        rows = [_rows(number, template, neutral) for number in range(len(members))]
        fields = {}
        for name, first in rows[0].items():
            getattr(template.model, name)[:] = first
            if any(not np.array_equal(row[name], first) for row in rows):
                fields[name] = np.stack([row[name] for row in rows])
        return cls(tuple(members), template, fields)

    @property
    def scenes(self) -> tuple[Scene, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The members."""
        return tuple(member.scene for member in self.members)

    @property
    def model(self) -> mujoco.MjModel:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The template, with the numbers of the first member."""
        return self.template.model

    def locate(self, member: int, view: View) -> tuple[str, int] | None:
        """See `Blueprint.locate`."""
        part, template = self.members[member], self.template
        field, first = locate(part.model, view)
        index = first // view.width
        if field in ("xpos", "xquat", "xmat"):
            place = None if part.welded[index] else template.bodies[part.paths[index]]
        elif field in ("geom_xpos", "geom_xmat"):
            place = None if part.welded[part.model.geom_bodyid[index]] else template.geoms[part.geoms[index]]
        elif field in ("site_xpos", "site_xmat"):
            place = template.sites[part.sites[index]] if index in part.sites else None
        elif field == "sensordata":
            sensor = int(np.flatnonzero(part.model.sensor_adr == first)[0])
            return field, template.sensors[part.touches[sensor]]
        else:
            return field, first
        return None if place is None else (field, place * view.width)

    def place(self, member: int, starts: Snapshots) -> Placement:
        """See `Blueprint.place`."""
        part, model, count = self.members[member], self.model, len(starts)
        bodies, moving = self.bodies_of(member)
        positions, orientations = part.poses(starts.body_pos)
        body_pos = np.zeros((count, model.nbody, 3))
        body_quat = np.tile((1.0, 0.0, 0.0, 0.0), (count, model.nbody, 1))
        body_pos[:, bodies] = positions[:, moving]
        body_quat[:, bodies] = orientations[moving]
        geoms = self.geoms_of(member)
        geom_xpos = np.zeros((count, model.ngeom, 3))
        geom_xmat = np.tile(np.eye(3).reshape(9), (count, model.ngeom, 1))
        geom_xpos[:, geoms], geom_xmat[:, geoms] = starts.geom_pose[:, :, :3], starts.geom_pose[:, :, 3:]
        return {
            **state_of(part.model, starts),
            "body_pos": body_pos,
            "body_quat": body_quat,
            "geom_xpos": geom_xpos,
            "geom_xmat": geom_xmat,
        }

    def bodies_of(self, member: int) -> tuple[list[int], list[int]]:
        """A member's moving bodies: their numbers in the template, and in its own model."""
        return _bodies(self.members[member], self.template)

    def geoms_of(self, member: int) -> list[int]:
        """Numbers in the template of a member's geoms."""
        return [self.template.geoms[slot] for slot in self.members[member].geoms]

    def sites_of(self, member: int) -> list[tuple[int, int]]:
        """A member's sites on moving bodies: the number of each in the template, and in its own model."""
        return [(self.template.sites[slot], site) for site, slot in self.members[member].sites.items()]


def _bodies(member: Member, template: Template) -> tuple[list[int], list[int]]:
    moving = [body for body, welded in enumerate(member.welded) if not welded]
    return [template.bodies[member.paths[body]] for body in moving], moving


def _rows(number: int, template: Template, neutral: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A member's numbers, in the places of the template."""
    member, made = template.members[number], template.model
    rows = {**_body_rows(member, template), **neutral, **_site_rows(member, template)}
    plain = [name for kind in ("jnt", "dof", "eq", "actuator") for name in FIELDS[kind]]
    rows.update({name: getattr(member.model, name) for name in (*plain, "qpos0", "qpos_spring")})
    unlimited = (made.jnt_limited != 0) & (member.model.jnt_limited == 0)
    rows["jnt_range"] = np.where(unlimited[:, None], (-UNLIMITED, UNLIMITED), rows["jnt_range"])
    geoms = [template.geoms[slot] for slot in member.geoms]
    own = _geom_values(number, template)
    for name, values in neutral.items():
        rows[name] = values.copy()
        rows[name][geoms] = own[name]
    rows["geom_margin"][np.setdiff1d(np.arange(made.ngeom), geoms)] = OUT_OF_REACH
    return rows


def _body_rows(member: Member, template: Template) -> dict[str, np.ndarray]:
    made, (bodies, moving) = template.model, _bodies(member, template)
    positions, orientations = member.poses(member.model.body_pos[None])
    rows = {}
    for name in FIELDS["body"]:
        rows[name] = np.zeros_like(getattr(made, name))
        if name in ("body_quat", "body_iquat"):
            rows[name][:, 0] = 1
        rows[name][bodies] = getattr(member.model, name)[moving]
    rows["body_pos"][bodies], rows["body_quat"][bodies] = positions[0][moving], orientations[moving]
    total = rows["body_subtreemass"] = rows["body_mass"].copy()
    for body in range(made.nbody - 1, 0, -1):
        total[made.body_parentid[body]] += total[body]
    return rows


def _site_rows(member: Member, template: Template) -> dict[str, np.ndarray]:
    own, sites = list(member.sites), [template.sites[slot] for slot in member.sites.values()]
    positions = np.zeros((template.model.nsite, 3))
    orientations = np.tile((1.0, 0.0, 0.0, 0.0), (template.model.nsite, 1))
    positions[sites], orientations[sites] = member.model.site_pos[own], member.model.site_quat[own]
    return {"site_pos": positions, "site_quat": orientations}


def _geom_values(number: int, template: Template) -> dict[str, np.ndarray]:
    """A member's numbers of geoms, in its own order; welded ones are in the world."""
    member = template.members[number]
    model = member.model
    values = {name: getattr(model, name).copy() for name in FIELDS["geom"]}
    positions, orientations = values["geom_pos"], values["geom_quat"]
    bodies = member.poses(model.body_pos[None])[0][0]
    for geom, body in enumerate(model.geom_bodyid):
        if body > 0 and member.welded[body]:
            rotated = np.empty(3)
            mujoco.mju_rotVecQuat(rotated, model.geom_pos[geom], member.frames[body])
            positions[geom] = bodies[body] + rotated
            mujoco.mju_mulQuat(orientations[geom], member.frames[body], model.geom_quat[geom])
    of_mesh = model.geom_type == MESH
    meshes = template.meshes[number]
    values["geom_dataid"] = np.array(
        [meshes[int(mesh)] if shown else -1 for mesh, shown in zip(model.geom_dataid, of_mesh, strict=True)],
        model.geom_dataid.dtype,
    )
    return values


def _neutral_geoms(members: Sequence[Member], template: Template) -> dict[str, np.ndarray]:
    """Numbers for geoms that a member does not have: those of the first that has them."""
    values = {name: getattr(template.model, name).copy() for name in FIELDS["geom"]}
    for number in reversed(range(len(members))):
        geoms = [template.geoms[slot] for slot in members[number].geoms]
        for name, own in _geom_values(number, template).items():
            values[name][geoms] = own
    return values
