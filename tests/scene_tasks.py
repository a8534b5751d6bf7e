"""A small task on a scene, for tests: roll a ball to a point."""

import contextlib

import numpy as np
import torch

from mtrl.goals import make_goal_sets
from mtrl.scenes.register import register_scene_task
from mtrl.scenes.task import body_position, joint_velocity
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env

HORIZON = 12
XML = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <camera name="above" pos="0 0 2"/>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body name="post" pos="0.9 0.9 0.1"><geom name="post" type="box" size="0.02 0.02 0.1"/></body>
    <body name="ball" pos="0 0 0.1">
      <joint name="x" type="slide" axis="1 0 0" damping="1"/>
      <joint name="y" type="slide" axis="0 1 0" damping="1"/>
      <geom name="ball" size="0.05" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" ctrlrange="-5 5"/><motor joint="y" ctrlrange="-2 5"/></actuator>
</mujoco>
"""
VIEWS = {"ball": body_position("ball"), "vx": joint_velocity("x"), "vy": joint_velocity("y")}


def gap(situation):
    return torch.linalg.vector_norm(situation["ball"][:, :2] - situation["goal"], dim=1)


def observe(situation):
    velocity = torch.stack((situation["vx"], situation["vy"]), dim=1)
    return torch.cat((situation["ball"][:, :2], velocity, situation["goal"]), dim=1)


def start(simulation, goals):
    """The ball begins opposite its goal, the post stands beyond it."""
    simulation.set_joint("x", -goals[:, 0], 0.0)
    simulation.set_joint("y", -goals[:, 1], 0.0)
    simulation.place_body("post", np.column_stack((1.5 * goals, np.full(len(goals), 0.1))))
    return {"distance": 2 * np.linalg.norm(goals, axis=1)}


def register(name="roll", **changes):
    """Registers the task, with some arguments changed."""
    arguments = {
        "description": "Roll a ball to a point.",
        "views": VIEWS,
        "observe": observe,
        "reward": lambda situation, action: 1 - gap(situation) / situation["distance"],
        "success": lambda situation: gap(situation) < 0.05,
        "start": start,
        "memory": {"distance": 1},
        "frame_skip": 5,
        "horizon": HORIZON,
        "goals": ([-0.5, -0.5], [0.5, 0.5]),
        "goal_part": (4, 6),
    }
    register_scene_task(name, **({"xml": XML} | arguments | changes))


@contextlib.contextmanager
def registered():
    """The task, registered for as long as this lasts; so is whatever begins with its name."""
    register()
    yield TASKS.get("roll")
    for table in (TASKS._entries, TASKS._makers, TASKS._descriptions):
        for name in [name for name in table if name.startswith("roll")]:
            del table[name]


def build(names=("roll",), slots=3, goals=4, **options):
    goal_set = make_goal_sets([TASKS.get(name) for name in names], goals, 0)[0]
    return make_vector_env(names, goal_set=goal_set, slots_per_task=slots, workers=1, **options)


def actions(env, seed=0):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.rand(env.num_envs, env.action_mask.shape[1], generator=generator) * 2 - 1


def play(env, steps, seed=0):
    return [env.step(action) for _, action in zip(range(steps), actions(env, seed), strict=False)]


def equal(one, other):
    return all(
        torch.equal(a, b)
        for first, second in zip(one, other, strict=True)
        for a, b in zip([*first[:4], *first[4].values()], [*second[:4], *second[4].values()], strict=True)
    )
