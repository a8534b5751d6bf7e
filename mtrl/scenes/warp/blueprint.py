# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""What one mujoco_warp model is made of: the worlds of one scene, or of several scenes with the same joints."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mtrl.scenes.reading import copies, locate
from mtrl.scenes.scene import Scene, stripped_model
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import View

PLACED = (
    "qpos",
    "qvel",
    "qacc_warmstart",
    "ctrl",
    "mocap_pos",
    "mocap_quat",
    "body_pos",
    "body_quat",
    "geom_xpos",
    "geom_xmat",
)
"""What puts a world at a start, in this order: all that lasts from one step to the next and differs between starts.

`body_pos` and `body_quat` belong to the model. mujoco_warp never moves geometry that is welded to the world, so where
it stands, `geom_xpos` and `geom_xmat`, must be written as well; of moving geometry the next step computes them anew.
"""
Placement = Mapping[str, np.ndarray]
"""The entries of `PLACED`, `[start, ...]` with MuJoCo's shape of one world behind it."""


class Blueprint(abc.ABC):
    """A model for the worlds of some scenes, called members.

    Attributes:
        scenes: The members.
        model: The model whose structure all worlds share.
        fields: Numbers of the model in which the members differ, `[member, ...]` by MuJoCo's name; only such as
            mujoco_warp keeps for each world.
    """

    scenes: tuple[Scene, ...]
    model: mujoco.MjModel
    fields: Mapping[str, np.ndarray]

    @abc.abstractmethod
    def locate(self, member: int, view: View) -> tuple[str, int] | None:
        """The array in which a member's view lies, and its first number in a flat row of it.

        Returns:
            None for what never moves within an episode: its value comes with the start.

        Raises:
            UserError: The member has no such thing.
        """

    @abc.abstractmethod
    def place(self, member: int, starts: Snapshots) -> Placement:
        """What puts worlds of a member at its starts."""


@dataclass(frozen=True)
class OneScene(Blueprint):
    """A scene as it is, with everything in it."""

    scene: Scene

    @property
    def scenes(self) -> tuple[Scene, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The only member."""
        return (self.scene,)

    @property
    def model(self) -> mujoco.MjModel:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The stripped model."""
        return stripped_model(self.scene)

    @property
    def fields(self) -> Mapping[str, np.ndarray]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Nothing differs."""
        return {}

    def locate(self, member: int, view: View) -> tuple[str, int]:
        """See `Blueprint.locate`."""
        return locate(self.model, view)

    def place(self, member: int, starts: Snapshots) -> Placement:
        """See `Blueprint.place`."""
        model, count = self.model, len(starts)
        return {
            **state_of(model, starts),
            "body_pos": starts.body_pos,
            "body_quat": np.broadcast_to(model.body_quat, (count, *model.body_quat.shape)),
            "geom_xpos": starts.geom_pose[:, :, :3],
            "geom_xmat": starts.geom_pose[:, :, 3:],
        }


def state_of(model: mujoco.MjModel, starts: Snapshots) -> dict[str, np.ndarray]:
    """The part of a placement that is the state of the simulation."""
    simulation = Simulation(model, len(starts))
    simulation.batch.state[:] = starts.state
    names = ("qpos", "qvel", "qacc_warmstart", "ctrl", "mocap_pos", "mocap_quat")
    return {name: np.array(simulation.batch.bind(name)) for name in names}


def first_views(model: mujoco.MjModel, starts: Snapshots) -> Simulation:
    """A simulation that stands at the starts, with everything computed from its state."""
    simulation = Simulation(model, len(starts))
    simulation.batch.state[:] = starts.state
    simulation.body_pos[:] = starts.body_pos
    simulation.forward()
    return simulation


def views_at(
    scene: Scene,
    views: Mapping[str, View],
    spans: Callable[[str], tuple[int, int]],
    starts: Snapshots,
    columns: int,
) -> np.ndarray:
    """What views see at the starts, `[start, columns]`; `spans` gives the columns of each, others are zero."""
    simulation = first_views(stripped_model(scene), starts)
    table = np.zeros((len(starts), columns))
    for target, source in copies(simulation.model, views, spans, simulation.array, table):
        np.copyto(target, source)
    return table


def blueprints(scenes: Sequence[Scene], grouping: str) -> list[Blueprint]:
    """Blueprints for some scenes.

    Args:
        scenes: Different scenes.
        grouping: `scene`: a model each. `topology`: scenes whose models have the same structure share one.
            `layout`: all scenes with the same joints share one, with room for the geometry of each.
    """
    if grouping == "scene":
        return [OneScene(scene) for scene in scenes]
    from mtrl.scenes.warp.merge import merge

    return merge(scenes, grouping)
