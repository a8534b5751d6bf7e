"""Our task functions beside upstream's, fed with the same states.

    python tests/metaworld_parity.py reach-v3 push-v3 --episodes 6 --steps 500

Upstream's environment is stepped by its expert, by a noisy expert and at random; the named views are read out of its
simulation, and our rules are evaluated on them in float64.
"""

import argparse
from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from metaworld.policies import ENV_POLICY_MAP

from mtrl.envs.metaworld.tasks.families import TASKS
from mtrl.envs.metaworld.upstream import upstream_class
from mtrl.scenes.columns import Columns
from mtrl.scenes.reading import locate
from mtrl.scenes.snapshots import make_snapshots
from mtrl.scenes.task import Layout

KEYS = ("near_object", "grasp_success", "grasp_reward", "in_place_reward", "obj_to_target")
PAD_GEOMS = {"left_force": "leftpad_geom", "right_force": "rightpad_geom"}


def upstream(name):
    env = upstream_class(name)()
    env.task_name = name
    env.show_goal(True)
    return env


def pad_force(env, pad):
    """Upstream's own sum of normal forces between a pad and the main object."""
    pad_id, object_id = env.data.geom(pad).id, env._get_id_main_object()
    contacts = [c for c in env.data.contact if pad_id in (c.geom1, c.geom2) and object_id in (c.geom1, c.geom2)]
    return sum(env.data.efc_force[c.efc_address] for c in contacts)


def read_views(env, task, columns, world):
    for name, view in task.views.items():
        start, stop = columns.span(name)
        if name in PAD_GEOMS:
            columns.table[world, start] = float(pad_force(env, PAD_GEOMS[name]))
            continue
        field, first = locate(env.model, view)
        flat = getattr(env.data, field).reshape(-1)
        columns.table[world, start:stop] = torch.from_numpy(flat[first : first + view.width].copy())


def action_of(expert, observation, kind, generator):
    """kind 0: the expert; 1: the expert with noise; 2: random. Some lie outside [-1, 1]."""
    if kind == 2:
        return generator.uniform(-1.2, 1.2, 4)
    action = np.clip(expert.get_action(observation), -1, 1)
    return action + generator.normal(0, 0.4, 4) * (kind == 1)


@dataclass
class Differences:
    """Largest absolute differences over all states, by what was compared."""

    largest: dict
    where: dict
    states: int = 0

    def note(self, what, ours, theirs, place):
        gap = float(np.max(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)), initial=0.0))
        if not gap <= self.largest.get(what, -1.0):
            self.largest[what], self.where[what] = gap, (place, np.asarray(ours).tolist(), np.asarray(theirs).tolist())


def compare(name, episodes=3, steps=200, goal_seed=0, dtype=torch.float64):
    """Plays `episodes` at once, of kinds 0, 1, 2, 0, ...; returns the differences and the states compared."""
    task, goals = TASKS[name].scene_task, TASKS[name].goals.sample(name, episodes, goal_seed)
    snapshots = make_snapshots(task, goals)
    layout = Layout((task,), (episodes,), dtype=dtype)
    evaluator = task.rules.lay_out(layout)
    memory = Columns(torch.from_numpy(snapshots.memory.copy()).to(dtype), task.rules.memory)
    views = Columns.empty(episodes, task.rules.views, dtype, layout.device)
    environments = [upstream(name) for _ in range(episodes)]
    found = Differences({}, {})
    observations = []
    for world, env in enumerate(environments):
        observations.append(env.reset_to(goals[world]))
        found.note("reset observation", snapshots.visible[world], observations[-1], world)
        for field in ("qpos", "qvel", "qacc_warmstart", "mocap_pos", "ctrl"):
            found.note(f"reset {field}", state_field(task, snapshots, world, field), getattr(env.data, field), world)
    experts = [ENV_POLICY_MAP[name]() for _ in range(episodes)]
    generator = np.random.default_rng(goal_seed)
    for step in range(steps):
        actions = np.stack([action_of(experts[w], observations[w], w % 3, generator) for w in range(episodes)])
        results = []
        for world, env in enumerate(environments):
            results.append(env.step(actions[world]))
            observations[world] = results[-1][0]
            read_views(env, task, views, world)
        evaluator.control(torch.from_numpy(actions).to(dtype), memory)
        outcome = evaluator.evaluate(views, torch.from_numpy(actions).to(dtype), memory)
        metrics = outcome.metrics()
        for world, (observation, reward, _, _, info) in enumerate(results):
            place = (world, step)
            found.note("hand target", memory["hand_target"][world], environments[world].data.mocap_pos[0], place)
            found.note("observation", outcome.observation[world], observation, place)
            found.note("reward", outcome.reward[world], reward, place)
            found.note("success", float(outcome.success[world]), float(info["success"]), place)
            for column, key in enumerate(KEYS):
                found.note(key, metrics[world, column], float(info[key]), place)
            found.states += 1
    return found


def state_field(task, snapshots, world, field):
    """One field of a snapshot's state row."""
    model = task.scene.compile(stripped=True)
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, snapshots.state[world], mujoco.mjtState.mjSTATE_INTEGRATION)
    return getattr(data, field)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--episodes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--goal-seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.tasks:
        found = compare(name, arguments.episodes, arguments.steps, arguments.goal_seed)
        bad = {what: gap for what, gap in found.largest.items() if not gap < 1e-9}
        print(
            f"{name:30s} {found.states} states, largest {max(found.largest.values()):.1e}", "OK" if not bad else "BAD"
        )
        for what, gap in bad.items():
            print(f"    {what}: {gap:.3e} at {found.where[what]}")


if __name__ == "__main__":
    main()
