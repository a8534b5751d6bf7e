# pyright: reportAttributeAccessIssue=false
# MuJoCo's bindings come without type stubs.
"""Contacts of the warp engine beside MuJoCo's, in the same states: what their geometry has to do with how they differ.

    python experiments/warp_contacts.py --output docs/warp-contacts.md

The states are those of upstream's experts on the native engine, of all 50 tasks. Expected: of contacts deeper than
0.01 mm, fewer than one of a thousand are missing, and depths are equal but for some of boxes with cylinders or meshes.
It takes one minute on two cores.
"""

import argparse
import copy
import multiprocessing
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mujoco
import numpy as np
import torch

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.envs.suites import MT50
from mtrl.provenance import commit, hardware
from mtrl.scenes.bank import load_snapshots
from mtrl.scenes.columns import Columns
from mtrl.scenes.native import NativeEngine
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import Layout

STEPS = 240
DEEP = 1e-5
"""A contact deeper than this, m, must not be missing; shallower ones are a matter of rounding."""
APART = 2e-5
"""Depths that differ by more than this, m, are others."""
STATE = ("qpos", "qvel", "qacc_warmstart", "ctrl", "mocap_pos", "mocap_quat")
KINDS = ("pairs", "missing", "alone", "number", "depth")
Contacts = dict[tuple[int, int], list[float]]
"""Depths, m, negative where geoms overlap, by pair of geoms."""


def visited(name: str, episodes: int, goal_seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, Snapshots]:
    """States that a task's expert passes through on the native engine.

    Returns:
        The state's arrays, `[state, ...]`, the goal of each state, and the starts.
    """
    from metaworld.policies import ENV_POLICY_MAP

    warnings.filterwarnings("ignore", "Constant.s. may be too high")
    torch.set_num_threads(1)
    task, goals = TASKS[name].scene_task, np.arange(episodes)
    starts = load_snapshots([task], [TASKS[name].goals.sample(name, episodes, goal_seed)])[0]
    layout = Layout((task,), (episodes,))
    engine, rules = NativeEngine(layout, 1), task.rules.lay_out(layout)
    engine.place(0, goals, starts, goals)
    memory = Columns(torch.from_numpy(starts.memory.copy()), task.rules.memory)
    experts, obs, rows = [ENV_POLICY_MAP[name]() for _ in goals], starts.visible, []
    for _ in range(STEPS):
        actions = [expert.get_action(row) for expert, row in zip(experts, obs, strict=True)]
        action = torch.from_numpy(np.clip(actions, -1, 1).astype(np.float32))
        engine.step(rules.control(action, memory))
        obs = rules.evaluate(engine.views, action, memory).observation.numpy()
        rows.append({field: engine.groups[0].batch.bind(field).copy() for field in STATE})
    states = {field: np.concatenate([row[field] for row in rows]) for field in STATE}
    return states, np.tile(goals, STEPS), starts


def native_contacts(name: str, states: dict[str, np.ndarray], goals: np.ndarray, starts: Snapshots) -> list[Contacts]:
    """What touches in each state, by MuJoCo."""
    model = copy.copy(stripped_model(TASKS[name].scene_task.scene))
    data, found = mujoco.MjData(model), []
    for number, goal in enumerate(goals):
        model.body_pos[:] = starts.body_pos[goal]
        for field in STATE:
            own = getattr(data, field)
            own[:] = states[field][number].reshape(own.shape)
        mujoco.mj_fwdPosition(model, data)
        contacts: Contacts = {}
        for index in range(data.ncon):
            contact = data.contact[index]
            first, second = sorted(contact.geom.tolist())
            contacts.setdefault((first, second), []).append(contact.dist)
        found.append(contacts)
    return found


def warp_contacts(name: str, states: dict[str, np.ndarray], goals: np.ndarray, starts: Snapshots) -> list[Contacts]:
    """The same by the warp engine."""
    import mujoco_warp
    import warp

    from mtrl.scenes.warp.blueprint import OneScene
    from mtrl.scenes.warp.group import Share, WarpGroup
    from mtrl.scenes.warp.settings import WarpSettings
    from mtrl.scenes.warp.setup import warp_device

    task, count, cpu = TASKS[name].scene_task, len(goals), torch.device("cpu")
    views = Columns.empty(count, task.rules.views, torch.float32, cpu)
    overflow, share = torch.zeros(count, dtype=torch.int32), Share(0, task, 0, 0, 0, count)
    group = WarpGroup(OneScene(task.scene), [share], views, overflow, WarpSettings(contacts=96), warp_device(cpu))
    group.load_starts([starts])
    group.place(torch.ones(count, dtype=torch.bool), torch.from_numpy(goals))
    for field in STATE:
        warp.to_torch(group.flat(field))[:] = torch.from_numpy(states[field].reshape(count, -1)).float()
    mujoco_warp.fwd_kinematics(group.model, group.data)
    mujoco_warp.collision(group.model, group.data)
    contact, number = group.data.contact, int(group.data.nacon.numpy()[0])
    found: list[Contacts] = [{} for _ in goals]
    rows = (contact.worldid.numpy(), np.sort(contact.geom.numpy(), axis=1), contact.dist.numpy())
    for world, (first, second), distance in zip(*(row[:number] for row in rows), strict=True):
        found[world].setdefault((int(first), int(second)), []).append(float(distance))
    return found


def compare(job: tuple[str, int, int]) -> tuple[str, dict[str, Counter[str]]]:
    """How contacts of a task differ, by the types of their geoms; see `page` for what is counted."""
    name = job[0]
    played = visited(*job)
    types = stripped_model(TASKS[name].scene_task.scene).geom_type
    found: dict[str, Counter[str]] = {}
    for native, warp in zip(native_contacts(name, *played), warp_contacts(name, *played), strict=True):
        for pair in native.keys() | warp.keys():
            mine, theirs = warp.get(pair, []), native.get(pair, [])
            kinds = sorted(mujoco.mjtGeom(int(types[geom])).name[len("mjGEOM_") :].lower() for geom in pair)
            counts = found.setdefault(" and ".join(kinds), Counter())
            counts["pairs"] += 1
            counts["missing"] += not mine and min(theirs) < -DEEP
            counts["alone"] += not theirs and min(mine) < -DEEP
            counts["number"] += bool(mine and theirs) and len(mine) != len(theirs)
            counts["depth"] += bool(mine and theirs) and abs(min(mine) - min(theirs)) > APART
    return name, found


def page(found: dict[str, dict[str, Counter[str]]], command: str, episodes: int) -> str:
    """The comparison as a Markdown page."""
    total: dict[str, Counter[str]] = {}
    for rows in found.values():
        for kinds, counts in rows.items():
            total[kinds] = total.get(kinds, Counter()) + counts
    here, packages = hardware(), ("metaworld", "mujoco", "mujoco-warp", "warp-lang", "numpy")
    heads = "| geometry | pairs that touch | missing | on warp alone | other number | other depth |"
    lines = [
        "# Contacts of the warp engine beside MuJoCo's",
        "",
        f"In {STEPS} states of each of {episodes} episodes of upstream's experts, {len(found)} tasks. Counted are",
        "pairs of geoms that touch in a state. *Missing* and *on warp alone* are those that only one engine finds,",
        f"where they are more than {DEEP * 1e3:g} mm deep. *Other number* and *other depth* (of the deepest point, by",
        f"more than {APART * 1e3:g} mm) are of those that both find.",
        "",
        "Where a box meets a cylinder, both engines search step by step for the direction in which these overlap",
        "least, and stop at some accuracy: now and then they find different ones, and MuJoCo's may be the worse.",
        "",
        f"Command: `{command}`, {here['cores']} cores of {here['cpu']}, no GPU. Commit",
        f"{commit() or 'unknown'}, Python {sys.version.split()[0]},",
        f"{', '.join(f'{name} {version(name)}' for name in packages)}.",
        "",
        heads,
        "|---" * 6 + "|",
    ]
    for kinds, counts in sorted(total.items(), key=lambda item: -item[1]["pairs"]):
        lines.append(f"| {kinds} | {' | '.join(str(counts[kind]) for kind in KINDS)} |")
    lines += [
        "",
        "By task, where anything differs:",
        "",
        heads.replace("| geometry", "| task | geometry"),
        "|---" * 7 + "|",
    ]
    for task, rows in found.items():
        for kinds, counts in rows.items():
            if sum(counts[kind] for kind in KINDS[1:]):
                lines.append(f"| {task} | {kinds} | {' | '.join(str(counts[kind]) for kind in KINDS)} |")
    return "\n".join(lines) + "\n"


def main(arguments_given: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=MT50, help="tasks, all by default")
    parser.add_argument("--episodes", type=int, default=4, help="episodes a task")
    parser.add_argument("--goal-seed", type=int, default=0, help="fixes the goals")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="tasks at once")
    parser.add_argument("--output", type=Path, help="write a Markdown page there")
    arguments = parser.parse_args(arguments_given)
    found = {}
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        jobs = [(task, arguments.episodes, arguments.goal_seed) for task in arguments.tasks]
        for task, rows in pool.imap(compare, jobs):
            found[task] = rows
            for kinds, counts in rows.items():
                print(f"{task:32s} {kinds:22s} {', '.join(f'{kind} {counts[kind]}' for kind in KINDS)}", flush=True)
    if arguments.output:
        command = " ".join(["python", "experiments/warp_contacts.py", *(arguments_given or sys.argv[1:])])
        arguments.output.write_text(page(found, command, arguments.episodes))
    pairs, missing = (sum(counts[kind] for rows in found.values() for counts in rows.values()) for kind in KINDS[:2])
    return 1 if missing > pairs / 1000 else 0


if __name__ == "__main__":
    sys.exit(main())
