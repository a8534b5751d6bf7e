# pyright: reportAttributeAccessIssue=false
# Warp makes most of its names at run time.
"""Measures environments of the warp engine: speed, where the time goes, launches, memory."""

import contextlib
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mujoco_warp
import torch
import warp
from gpu_cases import Loop, PolicyLoop, clock, synchronize

from mtrl.graphs import without_garbage_collection
from mtrl.scenes.warp import physics
from mtrl.scenes.warp.group import WarpGroup
from mtrl.scenes.warp.vector import WarpVectorEnv

STAGES: Mapping[str, tuple[str, ...]] = {
    "kinematics and inertia": ("fwd_kinematics", "com_vel", "crb"),
    "collision": ("collision",),
    "constraint rows": ("make_constraint",),
    "smooth forces": ("transmission", "fwd_velocity", "fwd_actuation", "fwd_acceleration"),
    "solver": ("solve",),
    "sensors": ("sensor_pos", "sensor_vel", "sensor_acc"),
    "integration": ("euler",),
}
"""Stages of mujoco_warp, as `mtrl.scenes.warp.physics` calls them."""


@dataclass(frozen=True)
class Timing:
    """How long is measured.

    Attributes:
        windows: Windows, of which the median counts.
        seconds: At least so long is each.
        steps: And at most so many steps.
        warm: Steps before the first.
    """

    windows: int = 5
    seconds: float = 0.3
    steps: int = 64
    warm: int = 40


def speed(step: Loop, env: WarpVectorEnv, timing: Timing) -> dict[str, float]:
    """Env steps a second, median, slowest and fastest window, and milliseconds of a step of all worlds."""
    for _ in range(timing.warm):
        step()
    began = clock(env.device)
    for _ in range(2):
        step()
    each = (clock(env.device) - began) / 2
    steps = max(2, min(timing.steps, round(timing.seconds / each)))
    spans = []
    for _ in range(timing.windows):
        began = clock(env.device)
        for _ in range(steps):
            step()
        spans.append((clock(env.device) - began) / steps)
    middle = statistics.median(spans)
    rates = {"median": env.num_envs / middle, "low": env.num_envs / max(spans), "high": env.num_envs / min(spans)}
    return {**rates, "ms": middle * 1e3, "window_steps": steps, "windows": timing.windows}


class Stopwatch:
    """Adds up the time that functions take: on the device by events, which make nobody wait; else by the clock.

    Args:
        device: Where the functions work.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cuda = device.type == "cuda"
        self._marks: dict[str, list[tuple[Any, Any]]] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed under a name."""

        def run(*args: Any, **keywords: Any) -> Any:
            began = self._mark()
            result = function(*args, **keywords)
            self._marks.setdefault(name, []).append((began, self._mark()))
            return result

        return run

    def _mark(self) -> Any:
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def milliseconds(self) -> dict[str, float]:
        """By name, of all calls together; when everything is done."""
        between = (lambda a, b: a.elapsed_time(b)) if self._on_cuda else (lambda a, b: (b - a) * 1e3)
        return {name: sum(between(*pair) for pair in pairs) for name, pairs in self._marks.items()}


@contextlib.contextmanager
def streams(env: WarpVectorEnv, count: int) -> Iterator[None]:
    """Has the environment use fewer streams for a while."""
    engine = env._engine
    all_of_them = engine._streams
    engine._streams = all_of_them[:count]
    try:
        yield
    finally:
        engine._streams = all_of_them


def breakdown(env: WarpVectorEnv, loop: PolicyLoop, steps: int) -> dict[str, float]:
    """Milliseconds of each part of a step with a policy and storage, models one after the other; `whole` is all."""
    engine, watch = env._engine, Stopwatch(env.device)
    own = (env._control, env._conclude, engine._place, list(engine._advance), dict(loop.parts))
    env._control = watch.timed("controls", own[0])  # pyright: ignore
    env._conclude = watch.timed("judgement", own[1])  # pyright: ignore
    engine._place = watch.timed("placing", own[2])  # pyright: ignore
    engine._advance = [watch.timed(p.name.replace("step", "physics", 1), p) for p in own[3]]  # pyright: ignore
    loop.parts = {name: watch.timed(name, part) for name, part in own[4].items()}
    try:
        with streams(env, 1):
            began = clock(env.device)
            for _ in range(steps):
                loop()
            whole = (clock(env.device) - began) * 1e3
    finally:
        env._control, env._conclude, engine._place, engine._advance, loop.parts = own
    parts = watch.milliseconds()
    parts["copies and bookkeeping"] = whole - sum(parts.values())
    return {name: value / steps for name, value in {**parts, "whole": whole}.items()}


def stages(env: WarpVectorEnv, repeats: int) -> dict[str, float]:
    """Milliseconds of mujoco_warp's stages in a step of the tasks, all models together, one after the other."""
    totals: Counter[str] = Counter()
    for group in env._engine.groups:
        kept = group.get_state()
        for name, value in _stages_of(group, env.device, repeats).items():
            totals[name] += value
        group.set_state(kept)
    return {title: sum(totals[name] for name in names) for title, names in STAGES.items()}


def _stages_of(group: WarpGroup, device: torch.device, repeats: int) -> Counter[str]:
    marks: list[tuple[str, Any, Any]] = []
    with warp.ScopedDevice(warp.device_from_torch(device)), _marked(marks, device):
        if device.type != "cuda":
            for _ in range(repeats):
                physics.step_and_forward(group.model, group.data, group.frame_skip)
            return _add_up((name, (end - begin) * 1e3 / repeats) for name, begin, end in marks)
        with without_garbage_collection(), warp.ScopedCapture(force_module_load=False) as capture:
            physics.step_and_forward(group.model, group.data, group.frame_skip)
        totals: Counter[str] = Counter()
        for _ in range(repeats):
            warp.capture_launch(capture.graph)  # pyright: ignore[reportArgumentType] - a recording that is done
            synchronize(device)
            totals += _add_up((name, warp.get_event_elapsed_time(*pair) / repeats) for name, *pair in marks)
        return totals


def _add_up(pairs: Iterator[tuple[str, float]]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for name, value in pairs:
        totals[name] += value  # pyright: ignore[reportArgumentType] - counters add up whatever is a number
    return totals


@contextlib.contextmanager
def _marked(marks: list[tuple[str, Any, Any]], device: torch.device) -> Iterator[None]:
    """Within it, mujoco_warp's stages note when they begin and end, in a recording as well."""

    def now() -> Any:
        if device.type != "cuda":
            return time.perf_counter()
        event = warp.Event(enable_timing=True)
        warp.record_event(event)
        return event

    def marking(name: str, stage: Callable[..., None]) -> Callable[..., None]:
        def run(*args: Any, **keywords: Any) -> None:
            began = now()
            stage(*args, **keywords)
            marks.append((name, began, now()))

        return run

    names = [name for group in STAGES.values() for name in group]
    with _patched(mujoco_warp, {name: marking(name, getattr(mujoco_warp, name)) for name in names}):
        yield


@contextlib.contextmanager
def _patched(owner: Any, values: Mapping[str, Any]) -> Iterator[None]:
    kept = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(owner, name, value)


def launches(env: WarpVectorEnv) -> list[dict[str, Any]]:
    """Warp's launches in a recorded step of the tasks, by model; the body of the solver's loop is recorded once."""
    rows = []
    for group, program in zip(env._engine.groups, env._engine._advance, strict=True):
        counts: Counter[str] = Counter()

        def counting(name: str, counts: Counter[str] = counts) -> Callable[..., Any]:
            original = getattr(warp, name)

            def run(*args: Any, **keywords: Any) -> Any:
                counts[name] += 1
                return original(*args, **keywords)

            return run

        device, names = warp.device_from_torch(env.device), ("launch", "launch_tiled", "copy")
        with (
            warp.ScopedDevice(device),
            _patched(warp, {name: counting(name) for name in names}),
            without_garbage_collection(),
            warp.ScopedCapture(force_module_load=False),
        ):
            group.advance(env._engine.controls)
        title = program.name.removeprefix("step of ")
        rows.append({"group": title, "worlds": group.count, "launches": counts.total(), "tasks": len(group.shares)})
    return rows


def traced(step: Loop, device: torch.device, steps: int) -> tuple[Counter[str], Counter[str]]:
    """What a profiler saw in some steps, by name: on CUDA what the device did, and what the host asked of the driver.

    On the CPU the first is empty, and the second holds torch's operations.
    """
    activity = torch.profiler.ProfilerActivity
    step()
    synchronize(device)
    with torch.profiler.profile(activities=[activity.CUDA if device.type == "cuda" else activity.CPU]) as profile:
        for _ in range(steps):
            step()
        # Whatever waits here is not counted: the profiler's end waits for the device anyway.
    own, host = Counter[str](), Counter[str]()
    for event in profile.profiler.kineto_results.events():  # pyright: ignore[reportOptionalMemberAccess]
        (own if event.device_type().name == "CUDA" else host)[event.name()] += 1
    return own, host


def memory(device: torch.device) -> dict[str, float]:
    """MB in use now, and the process's most, as far as each can be asked for."""
    used = {"process, most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        own = warp.device_from_torch(device)
        used |= {
            "device": (total - free) / 2**20,
            "torch": torch.cuda.memory_allocated(device) / 2**20,
            "torch, most": torch.cuda.max_memory_allocated(device) / 2**20,
        }
        if warp.is_mempool_enabled(own):
            used |= {"warp's pool": warp.get_mempool_used_mem_current(own) / 2**20}
    return used


def crowd(env: WarpVectorEnv) -> dict[str, float]:
    """How busy the worlds are now, on average: contacts, rows of constraints, iterations of the solver."""
    groups = env._engine.groups
    worlds = sum(group.count for group in groups)
    rows = sum(float(warp.to_torch(group.data.nefc).sum()) for group in groups)
    contacts = sum(float(warp.to_torch(group.data.nacon).sum()) for group in groups)
    turns = sum(float(warp.to_torch(group.data.solver_niter).sum()) for group in groups)
    return {"contacts": contacts / worlds, "rows": rows / worlds, "iterations": turns / worlds}
