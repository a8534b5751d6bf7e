"""Groups of the warp engine beside the native engine, from the same states; launched without a recording."""

from functools import cache

import mujoco_warp
import numpy as np
import torch
import warp

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.scenes.bank import load_snapshots
from mtrl.scenes.columns import Columns
from mtrl.scenes.native import NativeEngine
from mtrl.scenes.task import Layout
from mtrl.scenes.warp.blueprint import OneScene
from mtrl.scenes.warp.group import Share, WarpGroup
from mtrl.scenes.warp.settings import WarpSettings
from mtrl.scenes.warp.setup import warp_device

CPU = torch.device("cpu")
GOALS = 50


@cache
def starts_of(name):
    """The starts of a task's fifty goals."""
    task = TASKS[name]
    return load_snapshots([task.scene_task], [task.goals.sample(name, GOALS, 42)])[0]


class Pair:
    """Worlds of one task on both engines.

    Args:
        name: Task.
        goals: The goal of each world.
    """

    def __init__(self, name, goals):
        self.task, self.starts = TASKS[name].scene_task, starts_of(name)
        self.goals = np.asarray(goals)
        count = len(self.goals)
        self.native = NativeEngine(Layout((self.task,), (count,)), 1)
        self.native_group = self.native.groups[0]
        self.views = Columns.empty(count, self.task.rules.views, torch.float32, CPU)
        overflow = torch.zeros(count, dtype=torch.int32)
        share = Share(0, self.task, 0, 0, 0, count)
        device = warp_device(CPU)
        self.warp = WarpGroup(OneScene(self.task.scene), [share], self.views, overflow, WarpSettings(), device)
        self.warp.load_starts([self.starts])

    def place(self):
        """Puts both at the starts."""
        everywhere = torch.ones(len(self.goals), dtype=torch.bool)
        self.warp.place(everywhere, torch.from_numpy(self.goals))
        self.native.place(0, np.arange(len(self.goals)), self.starts, self.goals)

    def copy_native_state(self):
        """Puts the warp engine's worlds into the native engine's states."""
        batch = self.native_group.batch
        for field in ("qpos", "qvel", "qacc_warmstart", "ctrl", "mocap_pos", "mocap_quat"):
            self.array(field)[:] = torch.from_numpy(batch.bind(field).reshape(len(self.goals), -1)).float()

    def array(self, field):
        """One of the warp engine's arrays, `[world, n]`, live."""
        return warp.to_torch(self.warp.flat(field))

    def step(self, controls):
        """A step of both with the same controls; returns the greatest difference of the views by world."""
        self.native.step(controls)
        self.warp.advance({name: value.float() for name, value in controls.items()})
        return (self.views.table.double() - self.native.views.table).abs()

    def contacts(self):
        """Contacts of the warp engine: world, geoms, normal force and distance, as last computed."""
        data = self.warp.data
        count = int(data.nacon.numpy()[0])
        address, world = data.contact.efc_address.numpy()[:count, 0], data.contact.worldid.numpy()[:count]
        force = np.where(address >= 0, data.efc.force.numpy()[world, np.maximum(address, 0)], 0.0)
        return world, data.contact.geom.numpy()[:count], force, data.contact.dist.numpy()[:count]

    def kinematics(self):
        """Has the warp engine compute where everything stands."""
        mujoco_warp.fwd_kinematics(self.warp.model, self.warp.data)
