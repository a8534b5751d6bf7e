# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""All worlds of one mujoco_warp model."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import mujoco_warp
import numpy as np
import torch
import warp

from mtrl.errors import UserError
from mtrl.scenes.columns import Columns
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import SceneTask
from mtrl.scenes.warp import collisions, kernels, physics
from mtrl.scenes.warp.blueprint import PLACED, Blueprint, views_at
from mtrl.scenes.warp.settings import WarpSettings

PER_WORLD = ("body_pos", "body_quat")
"""Fields of the model that differ from world to world, whatever the members."""
_OVERFLOW = mujoco_warp.OverflowType
OVERFLOWS: dict[int, str] = {
    int(_OVERFLOW.NEFC): "constraint rows did not fit (raise --warp.constraints)",
    int(_OVERFLOW.NJMAX_NNZ): "entries of constraint rows did not fit (raise --warp.constraints)",
    int(_OVERFLOW.BROADPHASE): "near pairs of geometry did not fit (raise --warp.contacts)",
    int(_OVERFLOW.NARROWPHASE): "contacts did not fit (raise --warp.contacts)",
    int(_OVERFLOW.CCD): "contacts of convex geometry did not fit (raise --warp.contacts)",
    int(_OVERFLOW.CONTACT_MATCH): "contacts of a sensor did not fit",
}
"""What makes physics wrong, by bit. Other bits only say that an iteration has stopped at its limit, as MuJoCo's do."""
COUNTED = sum(OVERFLOWS)


def _refusal(blueprint: Blueprint, reason: str) -> str:
    return f"the warp engine cannot run {blueprint.scenes[0].title}: {reason}; choose --engine native"


def build(
    blueprint: Blueprint, member: np.ndarray, settings: WarpSettings
) -> tuple[mujoco_warp.Model, mujoco_warp.Data]:
    """Model and data for worlds of a blueprint, on Warp's current device.

    Args:
        blueprint: What they are made of.
        member: Which of its scenes each world plays on, `[row]`.
        settings: Room for contacts and rows, and whether to be deterministic.

    Raises:
        UserError: mujoco_warp cannot run the scene.
    """
    collisions.mend()
    source, count = copy.copy(blueprint.model), len(member)
    # What MuJoCo does about a failed state; mujoco_warp does nothing, and does not know the flag.
    source.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    # For mujoco_warp this flag means the special function for two boxes, which MuJoCo always uses, with up to eight
    # contacts in place of four.
    source.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_NATIVECCD)
    if source.na:
        raise UserError(_refusal(blueprint, "actuators with activations"))
    try:
        model = mujoco_warp.put_model(source, batch_sizes=dict.fromkeys(PER_WORLD, count))
    except (NotImplementedError, ValueError) as error:
        raise UserError(_refusal(blueprint, " ".join(str(error).split()))) from error
    for name, rows in blueprint.fields.items():
        own = getattr(model, name)
        if name not in PER_WORLD:
            table = np.ascontiguousarray(rows[member], np.float32 if own.dtype != warp.int32 else np.int32)
            setattr(model, name, warp.array(table, dtype=own.dtype))
    margin = model.geom_margin
    margin.assign(margin.numpy() - np.float32(collisions.TOUCHING))
    model.opt.warn_overflow = 0  # it is counted instead of printed
    if settings.deterministic:
        model.opt.deterministic = int(mujoco_warp.DeterminismType.ALL)
        model.opt.graph_conditional = False
    room = settings.contacts * count + settings.spare_contacts
    return model, mujoco_warp.make_data(source, nworld=count, naconmax=room, njmax=settings.constraints)


@dataclass(frozen=True)
class Share:
    """The worlds of one task.

    Attributes:
        number: The task's place in the layout.
        task: The task.
        member: Which of the blueprint's scenes it plays on.
        first_row: First row of the group.
        first_world: First world of the environment.
        count: Worlds.
    """

    number: int
    task: SceneTask
    member: int
    first_row: int
    first_world: int
    count: int


class WarpGroup:
    """The worlds of a blueprint: rows of mujoco_warp's arrays.

    Args:
        blueprint: What they are made of.
        shares: Whose worlds they are, in the order of the rows.
        views: The table of views of all worlds, float32.
        overflow: `[world]` int32 of the whole environment: here go the bits of `OVERFLOWS` that a step meets.
        settings: Room for contacts and rows, and whether to be deterministic.
        device: Where.

    Attributes:
        peak: The most constraint rows of a world, near pairs and contacts of all worlds so far, `[3]` int32.
    """

    def __init__(
        self,
        blueprint: Blueprint,
        shares: Sequence[Share],
        views: Columns,
        overflow: torch.Tensor,
        settings: WarpSettings,
        device: warp.Device,
    ) -> None:
        self.blueprint, self.shares, self._device = blueprint, tuple(shares), device
        self.count = sum(share.count for share in shares)
        self.frame_skip = shares[0].task.frame_skip
        member = np.concatenate([np.full(share.count, share.member) for share in shares])
        with warp.ScopedDevice(device):
            self.model, self.data = build(blueprint, member, settings)
            self._index(views)
        self._overflow = warp.from_torch(overflow)
        self._table = warp.from_torch(views.table)
        self._bank: torch.Tensor | None = None

    def _index(self, views: Columns) -> None:
        """Where each row belongs, and where each column of its views is read."""
        columns = views.table.shape[1]
        field = np.full((len(self.shares), columns), -1, np.int32)
        offset = np.zeros_like(field)
        for number, share in enumerate(self.shares):
            for name, view in share.task.views.items():
                start, stop = views.span(name)
                place = self.blueprint.locate(share.member, view)
                if place is not None:
                    field[number, start:stop] = kernels.FIELDS.index(place[0])
                    offset[number, start:stop] = place[1] + np.arange(stop - start)
        counts = [share.count for share in self.shares]
        world = np.concatenate([share.first_world + np.arange(share.count) for share in self.shares])
        self._columns, self._span = columns, views.span
        self._field, self._offset = warp.array(field), warp.array(offset)
        self._share = warp.array(np.repeat(np.arange(len(counts)), counts).astype(np.int32))
        self._world = warp.array(world.astype(np.int32))
        self.peak = warp.zeros(3, dtype=int)
        self._sources = [self.flat(name) for name in kernels.FIELDS]
        self._targets = [self.flat(name) for name in PLACED]

    def flat(self, name: str) -> warp.array:
        """One of the arrays of data or model, all numbers of a world in a row, `[row, n]` float32; the same memory."""
        array = getattr(self.model if name in PER_WORLD else self.data, name)
        return warp.from_torch(warp.to_torch(array).view(self.count, -1))

    def load_starts(self, starts: Sequence[Snapshots]) -> None:
        """Takes the starts of all tasks of the layout; as many of each as before."""
        rows, first = [], []
        for share in self.shares:
            own = starts[share.number]
            first += [sum(len(block) for block in rows)] * share.count
            rows.append(self._rows_of(share, own))
        bank = torch.from_numpy(np.concatenate(rows).astype(np.float32)).to(warp.device_to_torch(self._device))
        if self._bank is not None:
            self._bank.copy_(bank)  # in place: a recording knows this memory
            return
        self._bank = bank
        with warp.ScopedDevice(self._device):
            self._bank_rows = warp.from_torch(bank)
            self._first_start = warp.array(np.array(first, np.int32))
            widths = [target.shape[1] for target in self._targets]
            self._end = warp.array(np.cumsum(widths).astype(np.int32))

    def _rows_of(self, share: Share, starts: Snapshots) -> np.ndarray:
        """What `place` copies: the placement of each start, and its views."""
        placement = self.blueprint.place(share.member, starts)
        standing = views_at(self.blueprint.scenes[share.member], share.task.views, self._span, starts, self._columns)
        parts = [placement[name].reshape(len(starts), -1) for name in PLACED]
        return np.concatenate([*parts, standing], axis=1)

    def place(self, mask: torch.Tensor, goal: torch.Tensor) -> None:
        """Launches what puts the worlds of `mask` at the starts of their goals; both `[world]`, bool and int64."""
        warp.launch(
            kernels.place,
            dim=(self.count, kernels.LANES),
            inputs=[self._world, self._first_start, warp.from_torch(mask), warp.from_torch(goal)],
            outputs=[self._bank_rows, self._end, *self._targets, self._table],
        )

    def advance(self, controls: Mapping[str, torch.Tensor]) -> None:
        """Launches a step of the tasks: inputs, physics, views, and what went wrong.

        Args:
            controls: `[world, n]` float32 by the name of MuJoCo's input.
        """
        for name, value in controls.items():
            target = self.flat(name)
            room = min(value.shape[1], target.shape[1])
            warp.launch(
                kernels.write_input,
                dim=(self.count, room),
                inputs=[self._world, warp.from_torch(value)],
                outputs=[target],
            )
        physics.step_and_forward(self.model, self.data, self.frame_skip)
        warp.launch(
            kernels.read_views,
            dim=(self.count, self._columns),
            inputs=[self._world, self._share, self._field, self._offset, *self._sources],
            outputs=[self._table],
        )
        self._watch()

    def _watch(self) -> None:
        data = self.data
        warp.launch(
            kernels.watch,
            dim=self.count,
            inputs=[
                self._world,
                COUNTED,
                data.njmax,
                data.naconmax,
                int(_OVERFLOW.NEFC),
                int(_OVERFLOW.BROADPHASE),
                int(_OVERFLOW.NARROWPHASE),
                data.nefc,
                data.nacon,
                data.ncollision,
            ],
            outputs=[data.overflow, self._overflow, self.peak],
        )

    def get_state(self) -> dict[str, torch.Tensor]:
        """Everything that lasts from one step to the next, on the CPU."""
        return {name: warp.to_torch(array).cpu().clone() for name, array in zip(PLACED, self._targets, strict=True)}

    def set_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Goes on from a state."""
        for name, array in zip(PLACED, self._targets, strict=True):
            warp.to_torch(array).copy_(state[name])
