# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""A MuJoCo scene: where its MJCF comes from, and the models that are compiled from it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mujoco

from mtrl.errors import UserError

PHANTOM = "phantom of "
"""Begins the name of a site that stands where a stripped scene has lost a geom that only looks."""
TOUCH = "touch of {} and {}"
"""Name of the sensor of the greatest normal force between two geoms."""
_LARGEST_FORCE = 2
"""Reduction of a contact sensor, as MuJoCo numbers them: the contact with the greatest force."""


@dataclass(frozen=True)
class Viewpoint:
    """From where a scene is seen: one of its own cameras, a free one, or by default one that shows the whole model.

    Attributes:
        camera: Name of a camera of the scene.
        look_at: Where a free camera looks, m.
        distance: How far away from there it is, m.
        azimuth: Degrees.
        elevation: Degrees; negative looks down.
        rolled: Whether the camera hangs upside down; the picture is then turned round.
    """

    camera: str | None = None
    look_at: tuple[float, float, float] | None = None
    distance: float = 2.0
    azimuth: float = 90.0
    elevation: float = -45.0
    rolled: bool = False


@dataclass(frozen=True)
class Scene:
    """A scene; equal scenes share one model.

    Attributes:
        source: An MJCF file, or the text of one.
        finish: Changes the compiled model; a function at the top of a module, so that equal scenes compare equal.
        phantoms: Geoms that do not collide and whose pose a task nevertheless reads.
        touches: Pairs of geoms whose contact force a task reads.
    """

    source: Path | str
    finish: Callable[[mujoco.MjModel], None] | None = None
    phantoms: tuple[str, ...] = ()
    touches: tuple[tuple[str, str], ...] = ()

    def compile(self, *, stripped: bool) -> mujoco.MjModel:
        """The model.

        MuJoCo's automatic reset of a failed simulation is off, so that a failure can be seen.

        Args:
            stripped: Leave out what only looks: faster, and equal in every state to the last bit.

        Raises:
            UserError: The MJCF cannot be read, or lacks a geom that is named.
        """
        try:
            spec = self.spec()
            if stripped:
                self._add_phantoms(spec)
                self._add_touches(spec)
                spec.compiler.discardvisual = True
            model = spec.compile()
        except (ValueError, KeyError) as error:
            raise UserError(f"{self.title} cannot be read: {' '.join(str(error).split())}") from error
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        if self.finish is not None:
            self.finish(model)
        return model

    @property
    def title(self) -> str:
        """How messages name the scene."""
        return f"MJCF file {self.source}" if isinstance(self.source, Path) else "the MJCF text"

    def spec(self) -> mujoco.MjSpec:
        """The source, read anew: for those who change it, or take parts of it.

        Raises:
            UserError: There is no such file.
        """
        if isinstance(self.source, Path):
            if not self.source.is_file():
                raise UserError(f"there is no MJCF file {self.source}: give its path, or the text itself")
            return mujoco.MjSpec.from_file(str(self.source))
        return mujoco.MjSpec.from_string(self.source)

    def _add_phantoms(self, spec: mujoco.MjSpec) -> None:
        if not self.phantoms:
            return
        whole = self.spec().compile()
        for name in self.phantoms:
            geom = spec.geom(name)
            if geom is None:
                raise UserError(f"{self.title} has no geom '{name}'")
            # A mesh's geom is moved when it is compiled, so its place is read from the compiled model.
            placed = whole.geom(name)
            geom.parent.add_site(name=PHANTOM + name, pos=placed.pos, quat=placed.quat)

    def _add_touches(self, spec: mujoco.MjSpec) -> None:
        for first, second in self.touches:
            spec.add_sensor(
                name=TOUCH.format(first, second),
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_GEOM,
                objname=first,
                reftype=mujoco.mjtObj.mjOBJ_GEOM,
                refname=second,
                # Data: the force alone. Reduction: the contact with the greatest one. One slot.
                intprm=[1 << mujoco.mjtConDataField.mjCONDATA_FORCE.value, _LARGEST_FORCE, 1],
            )


@functools.lru_cache(maxsize=128)
def stripped_model(scene: Scene) -> mujoco.MjModel:
    """The stripped model of a scene, compiled once; for those who do not change it."""
    return scene.compile(stripped=True)
