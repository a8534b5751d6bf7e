# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""The warp engine: worlds of scenes stepped by mujoco_warp, on a GPU or, for tests and small runs, on the CPU."""

import functools
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import warp
from tqdm import tqdm

from mtrl.errors import UserError
from mtrl.scenes.bank import MANY
from mtrl.scenes.columns import Columns
from mtrl.scenes.scene import Scene, stripped_model
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import Layout
from mtrl.scenes.warp.blueprint import Blueprint
from mtrl.scenes.warp.group import Share, WarpGroup
from mtrl.scenes.warp.merge import merge
from mtrl.scenes.warp.program import WarpProgram
from mtrl.scenes.warp.settings import WarpSettings
from mtrl.scenes.warp.setup import warp_device
from mtrl.types import State


class WarpEngine:
    """Steps worlds and keeps the views of their rules up to date; the host never waits for the device.

    Each group's launches, some 600 of them, are recorded once: in a CUDA graph with conditional nodes for the solver's
    iterations, or in Warp's recording for the CPU. On CUDA the graphs of the groups run side by side on some streams.
    They are not one graph with forks, since Warp ends and resumes the recording at every conditional node, which a
    forked stream does not survive.

    Args:
        layout: The worlds, of tasks with equal rules; float32.
        starts: The starts of each task of the layout.
        controls: MuJoCo's inputs that the rules write, with the numbers of each.
        settings: Grouping, streams and room.

    Attributes:
        views: What the rules read, after a step.
        controls: What the rules write before it, `[world, n]` each.
        mask: `[world]` bool, which worlds `place` puts at a start.
        goal: `[world]` int64, at which; not negative where `mask` is set.
        overflow: `[world]` int32, the bits of `mtrl.scenes.warp.group.OVERFLOWS` that the last step met.
    """

    def __init__(
        self, layout: Layout, starts: Sequence[Snapshots], controls: Mapping[str, int], settings: WarpSettings
    ) -> None:
        self.layout, self.settings = layout, settings
        device = layout.device
        self._device = warp_device(device)
        like = {"dtype": layout.dtype, "device": device}
        self.views = Columns.empty(layout.worlds, layout.tasks[0].rules.views, **like)
        self.controls = {name: torch.zeros(layout.worlds, width, **like) for name, width in controls.items()}
        self.overflow = torch.zeros(layout.worlds, dtype=torch.int32, device=device)
        self.mask = torch.zeros(layout.worlds, dtype=torch.bool, device=device)
        self.goal = torch.zeros(layout.worlds, dtype=torch.int64, device=device)
        self.groups = [
            WarpGroup(blueprint, shares, self.views, self.overflow, settings, self._device)
            for blueprint, shares in _grouped(layout, settings)
        ]
        self.load_starts(starts)
        self._advance = [
            WarpProgram(f"step of {_title(group)}", functools.partial(group.advance, self.controls), self._device)
            for group in self.groups
        ]
        self._place = WarpProgram("placing worlds", self._launch_places, self._device)
        self._streams = [
            torch.cuda.Stream(device)
            for _ in range(min(settings.streams, len(self.groups)) if device.type == "cuda" else 0)
        ]
        self.programs = (*self._advance, self._place)
        title = "Preparing the warp engine (its kernels are compiled the first time: minutes)"
        if len(self.programs) >= MANY and not sys.stderr.isatty():
            print(f"{title} ...", file=sys.stderr)
        for program in tqdm(self.programs, desc=title, unit="model", file=sys.stderr, disable=None, leave=False):
            program.record()

    @property
    def recorded(self) -> bool:
        """Whether all work is replayed from recordings."""
        return all(program.recorded for program in self.programs)

    def load_starts(self, starts: Sequence[Snapshots]) -> None:
        """Takes other starts of the tasks, as many of each as before; worlds go on from where they are."""
        self._starts = list(starts)
        for group in self.groups:
            group.load_starts(starts)

    def _launch_places(self) -> None:
        for group in self.groups:
            group.place(self.mask, self.goal)

    def step(self) -> None:
        """Moves the physics on by a step of the tasks with the `controls` as they are, and reads the views."""
        if len(self._streams) < 2:
            for program in self._advance:
                program()
            return
        current = torch.cuda.current_stream(self.layout.device)
        for stream in self._streams:
            stream.wait_stream(current)
        for number, program in enumerate(self._advance):
            with torch.cuda.stream(self._streams[number % len(self._streams)]):
                program()
        for stream in self._streams:
            current.wait_stream(stream)

    def place(self) -> None:
        """Puts the worlds of `mask` at the starts of their `goal`; the others are not touched."""
        self._place()

    def peaks(self) -> list[dict[str, int | str]]:
        """The most of everything that each group met so far, for sizing; waits for the device."""
        rows = []
        for group in self.groups:
            constraints, pairs, contacts = group.peak.numpy().tolist()
            rows.append(
                {
                    "group": _title(group),
                    "worlds": group.count,
                    "constraints": constraints,
                    "pairs": pairs,
                    "contacts": contacts,
                    "room": group.data.naconmax,
                }
            )
        return rows

    def simulation_of(self, task: int, world: int, goal: int) -> tuple[Scene, np.ndarray, np.ndarray]:
        """What one world of a task, at a goal, needs to be drawn: its scene, MuJoCo's state and where bodies stand."""
        for group in self.groups:
            for share in group.shares:
                if share.number == task:
                    scene = share.task.scene
                    simulation = Simulation(stripped_model(scene), 1)
                    row = share.first_row + world
                    for name in ("qpos", "qvel", "ctrl", "mocap_pos", "mocap_quat"):
                        own = simulation.array(name)
                        own[:] = group.flat(name).numpy()[row].reshape(own.shape)
                    return scene, simulation.batch.state[0], self._starts[task].body_pos[goal]
        raise UserError(f"there is no task number {task}")

    def get_state(self) -> list[State]:
        """Everything of all worlds, on the CPU."""
        return [group.get_state() for group in self.groups]

    def set_state(self, states: Sequence[State]) -> None:
        """Goes on from a state of an equal engine."""
        for group, state in zip(self.groups, states, strict=True):
            group.set_state(state)

    def close(self) -> None:
        """Waits for what still runs."""
        warp.synchronize_device(self._device)


def _title(group: WarpGroup) -> str:
    first = group.shares[0].task.name
    others = len(group.shares) - 1
    return f"{first} and {others} more" if others else first


def _grouped(layout: Layout, settings: WarpSettings) -> list[tuple[Blueprint, list[Share]]]:
    """The tasks' worlds by blueprint; rows lie in the order of the worlds."""
    by_skip: dict[int, list[Scene]] = {}
    for task in layout.tasks:
        scenes = by_skip.setdefault(task.frame_skip, [])
        if task.scene not in scenes:
            scenes.append(task.scene)
    groups = []
    for skip, scenes in by_skip.items():
        for blueprint in merge(scenes, settings.grouping):
            shares: list[Share] = []
            for number, task in enumerate(layout.tasks):
                if task.frame_skip == skip and task.scene in blueprint.scenes:
                    first_row = sum(share.count for share in shares)
                    member = blueprint.scenes.index(task.scene)
                    shares.append(Share(number, task, member, first_row, layout.bounds[number], layout.counts[number]))
            groups.append((blueprint, shares))
    return groups
