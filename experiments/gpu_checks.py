# pyright: reportAttributeAccessIssue=false
# Warp makes most of its names at run time.
"""Checks of the warp engine on the device at hand; each says what it found, and whether it holds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mujoco_warp
import numpy as np
import torch
import warp
from gpu_cases import Case, Played, clock, random_actions, synchronize
from gpu_measure import memory, traced

from mtrl.scenes.vector import SceneVectorEnv
from mtrl.scenes.warp.merge import Merged
from mtrl.scenes.warp.program import WarpProgram
from mtrl.scenes.warp.vector import UNSOUND, WarpVectorEnv
from mtrl.types import State

GEOMETRY = 1e-5
"""Where geometry may stand off at most, m and entries of a rotation; float32 steps by 6e-8 at 1."""
STEP_TYPICAL, STEP_ALMOST_ALL = 2e-5, 5e-3
"""Largest difference of any observed number, m, after one step from equal states: in half and in 99 % of all worlds.

On a CPU 4e-7 and 2.1e-3 were measured over all tasks: the plates of four tasks slide otherwise in mujoco_warp, by up to
5 mm a step while they are pushed; without these, 99 % are within 2e-4.
"""
TOO_LITTLE: tuple[dict[str, int], ...] = ({"contacts": 1, "spare_contacts": 0}, {"constraints": 8})
"""Settings under which hardly anything fits."""
STATE = ("qpos", "qvel", "qacc_warmstart", "ctrl", "mocap_pos", "mocap_quat")
Check = dict[str, Any]


def check(name: str, holds: bool, says: str) -> Check:
    """A row of the table of checks."""
    return {"check": name, "holds": bool(holds), "says": says}


def recorded(env: WarpVectorEnv) -> Check:
    """Whether everything is replayed from recordings; after a reset."""
    parts = [*env._engine.programs, *([env._control, env._conclude] if env.device.type == "cuda" else [])]
    missing = [part.name for part in parts if not part.recorded]
    faults = env.recording_faults
    says = "; ".join(faults) or f"{len(parts) - len(missing)} of {len(parts)} parts of a step"
    return check("recorded", not missing and not faults, says)


def geometry(case: Case, device: torch.device) -> Check:
    """Every geom at every start: placed, kinematics computed anew, and compared with the bank, task by task."""
    env = replace(case, worlds=len(case.tasks)).build(device)
    case.reset(env)
    engine, worst, where, starts = env._engine, 0.0, "", 0
    for goal in range(case.goals):
        engine.mask.fill_(True)
        engine.goal.fill_(goal)
        engine.place()
        synchronize(device)  # what follows runs on a stream of Warp's own
        for group in engine.groups:
            with warp.ScopedDevice(warp.device_from_torch(device)):
                mujoco_warp.fwd_kinematics(group.model, group.data)
            synchronize(device)
            poses = [warp.to_torch(getattr(group.data, name)).cpu().numpy() for name in ("geom_xpos", "geom_xmat")]
            for share in group.shares:
                blueprint, row = group.blueprint, share.first_row
                geoms = blueprint.geoms_of(share.member) if isinstance(blueprint, Merged) else slice(None)
                own = np.concatenate([poses[0][row][geoms], poses[1][row][geoms].reshape(-1, 9)], axis=1)
                off = float(np.abs(own - engine._starts[share.number].geom_pose[goal]).max())
                starts += 1
                if not off <= worst:
                    worst, where = off, share.task.name
    env.close()
    return check("geometry", worst <= GEOMETRY, f"{starts} starts, all geoms: at most {worst:.1e} off ({where})")


def load(env: WarpVectorEnv, native: SceneVectorEnv, state: State) -> None:
    """Brings both environments, which were reset alike, to a state of the native one."""
    native.set_state(state)
    rows = {}
    for group in native._engine.groups:
        for share in group.shares:
            rows[share.number] = {name: group.flat(name, share) for name in STATE}
    for group in env._engine.groups:
        for name in STATE:
            target = warp.to_torch(group.flat(name))
            for share in group.shares:
                own = torch.from_numpy(np.ascontiguousarray(rows[share.number][name]))
                target[share.first_row : share.first_row + share.count].copy_(own)
    env._memory.table.copy_(native._memory.table)


def one_steps(case: Case, played: Played, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Observations after one step from each kept state, with the expert's action and with a random one.

    Returns:
        The warp engine's and the native engine's, `[step, env, obs]`.
    """
    env, native = case.build(device), case.native()
    case.reset(env)
    case.reset(native)
    generator, found = np.random.default_rng(0), ([], [])
    for state, step in zip(played.states, played.steps, strict=True):
        expert = played.actions[:, :, step].reshape(native.num_envs, -1)
        for action in (expert, generator.uniform(-1, 1, expert.shape).astype(np.float32)):
            load(env, native, state)
            for own, results in zip((env, native), found, strict=True):
                obs = own.step(torch.from_numpy(action).to(own.device))[4]["final_obs"]
                results.append(obs.cpu().double().numpy())
    env.close()
    native.close()
    return np.stack(found[0]), np.stack(found[1])


def compared(name: str, case: Case, one: np.ndarray, other: np.ndarray) -> Check:
    """How far apart two sets of observations are, by world; the current frame's numbers."""
    off = np.abs(one - other)[:, :, :18].max(axis=2).reshape(len(one), len(case.tasks), -1)
    middle, almost, most = (float(np.quantile(off, share)) for share in (0.5, 0.99, 1))
    per_task = np.quantile(off, 0.99, axis=(0, 2))
    worst = ", ".join(f"{case.tasks[task]} {per_task[task]:.0e}" for task in np.argsort(-per_task)[:3])
    says = (
        f"{off.size} steps of {len(case.tasks)} tasks: half within {middle:.1e}, 99 % within {almost:.1e}, "
        f"all within {most:.1e}; most (99 %) in {worst}"
    )
    return check(name, middle <= STEP_TYPICAL and almost <= STEP_ALMOST_ALL, says)


def parity(case: Case, played: Played, device: torch.device) -> Check:
    """One step from the experts' states, against the native engine."""
    return compared(f"one step, {case.suite}, {case.grouping}", case, *one_steps(case, played, device))


def replayed(case: Case, device: torch.device) -> Check:
    """A step of the physics, replayed twice and launched without its recording, from the same state."""
    env = case.build(device)
    case.reset(env)
    loop = random_actions(env)
    for _ in range(10):
        loop()
    engine, states = env._engine, env._engine.get_state()
    graphs = [own._graph for own in engine._advance]
    results = []
    for kept in (graphs, graphs, [None] * len(graphs)):
        engine.set_state(states)
        for own, graph in zip(engine._advance, kept, strict=True):
            own._graph = graph
        engine.step()
        synchronize(device)
        results.append(engine.views.table.clone())
    env.close()
    again, eager = (float((results[0] - other).abs().max()) for other in results[1:])
    says = f"twice replayed {again:.1e} apart, replayed and launched one by one {eager:.1e}"
    return check("recording", eager <= max(10 * again, GEOMETRY), says)


def deterministic(case: Case, device: torch.device, steps: int = 20) -> Check:
    """Whether the deterministic engine gives the same bits twice."""
    env = replace(case, settings=replace(case.settings, deterministic=True)).build(device)
    results = []
    for _ in range(2):
        case.reset(env)
        loop = random_actions(env)
        for _ in range(steps):
            loop()
        results.append(env._engine.views.table.clone())
    env.close()
    same = bool((results[0] == results[1]).all())
    most = float((results[0] - results[1]).abs().max())
    return check(
        "deterministic", same, f"{steps} steps twice: {'equal to the last bit' if same else f'{most:.1e} off'}"
    )


def broken_world(case: Case, device: torch.device) -> Check:
    """A world whose state is not a number ends, is counted and begins anew; nothing else does."""
    env = case.build(device)
    case.reset(env)
    loop = random_actions(env)
    loop()
    group = env._engine.groups[-1]
    warp.to_torch(group.flat("qpos"))[0] = float("nan")
    results = [env.step(torch.zeros_like(env._action)) for _ in range(3)]
    finite = all(bool(torch.isfinite(part).all()) for result in results for part in result[:2])
    ended = [int(result[3].sum()) for result in results]
    reasons, faults = env.fault_reasons, int(env.faults.sum())
    env.close()
    holds = finite and ended == [1, 0, 0] and faults == 1 and reasons == {UNSOUND: 1}
    return check("a world that fails", holds, f"{faults} of {env.num_envs} worlds: {reasons}; all outputs finite")


def too_little_room(case: Case, device: torch.device) -> Check:
    """Contacts and rows that do not fit are counted by kind, and end episodes."""
    reasons: dict[str, int] = {}
    for settings in TOO_LITTLE:
        env = replace(case, settings=replace(case.settings, **settings)).build(device)
        case.reset(env)
        for _ in range(3):
            env.step(torch.zeros_like(env._action))
        reasons |= env.fault_reasons
        env.close()
    holds = any("contacts" in name for name in reasons) and any("rows" in name for name in reasons)
    return check("too little room", holds, "; ".join(f"{count} x {name}" for name, count in reasons.items()))


def constant_memory(env: WarpVectorEnv, step: Callable[[], None], steps: int) -> Check:
    """Memory in use before and after many steps."""
    for _ in range(2 * env.report_every):
        step()
    before = memory(env.device)
    for _ in range(steps):
        step()
    after = memory(env.device)
    growth = {name: after[name] - before[name] for name in before}
    says = f"{steps} steps, MB more: " + ", ".join(f"{name} {more:.1f}" for name, more in growth.items())
    return check("memory", all(more <= 8 for more in growth.values()), says)


WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cuStreamSynchronize", "DtoH")
"""Parts of the names under which a profiler reports that the host waits, or copies to it."""


def synchronization(env: WarpVectorEnv, step: Callable[[], None], steps: int) -> list[Check]:
    """Whether the host waits for the device in a step: by a trace, by torch's own watch, and by the clock.

    Every `report_every` steps there is one copy to the host and one wait, for a copy of an interval before.
    """
    if env.device.type != "cuda":
        return []
    own, host = traced(step, env.device, steps)
    waits = {name: count for name, count in (own + host).items() if any(part in name for part in WAITS)}
    reports = -(-steps // env.report_every)
    checks = [check("no waiting, traced", max(waits.values(), default=0) <= reports + 1, f"{steps} steps: {waits}")]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(env.report_every):
            step()
        checks.append(check("no waiting, torch's watch", True, f"{env.report_every} steps"))
    except RuntimeError as error:
        checks.append(check("no waiting, torch's watch", False, str(error).splitlines()[0]))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    began = clock(env.device)
    for _ in range(env.report_every // 2):
        step()
    queued = torch.cuda.current_stream(env.device)
    handed_over = not queued.query()
    passed = clock(env.device) - began
    busy = "still busy" if handed_over else "done"
    says = f"{env.report_every // 2} steps took {passed * 1e3:.0f} ms; the device was {busy} when they were queued"
    return [*checks, check("no waiting, by the clock", handed_over, says)]


def failed_recording(_case: Case, device: torch.device) -> Check:
    """A recording that fails is named, and the work is done without it; the last thing to be tried on a device."""
    calls = []
    numbers = torch.zeros(4, device=device)

    def launches() -> None:
        calls.append(None)
        if len(calls) == 2:  # the first runs plainly, the second is recorded
            raise RuntimeError("injected")
        numbers.add_(1)

    broken = WarpProgram("an injected fault", launches, warp.device_from_torch(device))
    broken.record()
    broken()
    done = numbers.tolist() == [2.0] * 4
    holds = not broken.recorded and broken.fault == "injected" and done
    return check("a recording that fails", holds, f"noted as '{broken.fault}'; the work was done: {done}")
