# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""What one mujoco_warp model is made of: the worlds of one scene, or of several scenes with the same joints."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np

from mtrl.scenes.reading import locate, read
from mtrl.scenes.scene import Scene, stripped_model
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import View

STATE = ("qpos", "qvel", "qacc_warmstart", "ctrl", "mocap_pos", "mocap_quat")
"""What MuJoCo's state of a world holds that is not the same for ever."""
PLACED = (*STATE, "body_pos", "body_quat", "geom_xpos", "geom_xmat")
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
    return {name: np.array(simulation.batch.bind(name)) for name in STATE}


def views_at(
    scene: Scene,
    views: Mapping[str, View],
    spans: Callable[[str], tuple[int, int]],
    starts: Snapshots,
    columns: int,
) -> np.ndarray:
    """What views see at the starts, `[start, columns]`; `spans` gives the columns of each, others are zero."""
    simulation = Simulation(stripped_model(scene), len(starts))
    simulation.batch.state[:] = starts.state
    simulation.body_pos[:] = starts.body_pos
    simulation.forward()
    table = np.zeros((len(starts), columns))
    read(simulation.model, views, spans, simulation.array, table)
    return table
