"""A task of your own on a MuJoCo scene with a torch reward, stepped in batches by the native engine.

    python experiments/scene_task.py            trains, and compares with doing nothing
    python experiments/scene_task.py --speed    how near the environment comes to bare physics

A finger slides over a table and pushes a puck to the goal. Runs are written to runs/MT1-push-puck-v0, with the
dashboard; a run that was stopped goes on where it was. From the command line:

    cd experiments && mtrl check scene_task:push-puck-v0

Expected result: A-eval, 200 k steps/task: success 0.96 (doing nothing: 0.00), and 0.98 on held-out goals, with seed 0.
Expected time: 3 minutes on two CPU cores.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch

import mtrl
from mtrl.goals import make_goal_sets
from mtrl.scenes.functions import Situation
from mtrl.scenes.scene import Viewpoint
from mtrl.scenes.simulation import Simulation
from mtrl.scenes.task import body_position, joint_velocity
from mtrl.tasks import TASKS

XML = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="above" pos="0 0 1.6"/>
    <geom name="table" type="plane" size="0.6 0.6 0.1" rgba="0.8 0.8 0.8 1"/>
    <body name="finger" pos="0 0 0.04">
      <joint name="finger x" type="slide" axis="1 0 0" range="-0.5 0.5" limited="true" damping="20"/>
      <joint name="finger y" type="slide" axis="0 1 0" range="-0.5 0.5" limited="true" damping="20"/>
      <geom type="sphere" size="0.03" mass="1" rgba="0.2 0.3 0.8 1"/>
    </body>
    <body name="puck" pos="0 0 0.02">
      <joint name="puck x" type="slide" axis="1 0 0" damping="3" frictionloss="0.3"/>
      <joint name="puck y" type="slide" axis="0 1 0" damping="3" frictionloss="0.3"/>
      <geom type="cylinder" size="0.05 0.02" mass="0.2" rgba="0.8 0.3 0.2 1"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="finger x" ctrlrange="-15 15"/>
    <motor joint="finger y" ctrlrange="-15 15"/>
  </actuator>
</mujoco>
"""


def start(simulation: Simulation, goals: np.ndarray) -> dict[str, np.ndarray]:
    """The finger begins on the far side of the puck, away from the goal; all worlds at once."""
    direction = goals / np.linalg.norm(goals, axis=1, keepdims=True)
    for axis, name in enumerate("xy"):
        simulation.set_joint(f"finger {name}", -0.15 * direction[:, axis])
    return {"start_distance": np.linalg.norm(goals, axis=1)}


def distance(situation: Situation) -> torch.Tensor:
    """From the puck to the goal in every world, metres."""
    return torch.linalg.vector_norm(situation["puck"][:, :2] - situation["goal"], dim=1)


def reward(situation: Situation, action: torch.Tensor) -> torch.Tensor:
    """How much of the way is done, and a little for being at the puck."""
    reach = torch.linalg.vector_norm((situation["finger"] - situation["puck"])[:, :2], dim=1)
    return 1 - distance(situation) / situation["start_distance"] - 0.3 * reach


def observe(situation: Situation) -> torch.Tensor:
    """Where finger and puck are, how fast the finger is, and the goal."""
    finger, puck = situation["finger"][:, :2], situation["puck"][:, :2]
    speed = torch.stack((situation["speed x"], situation["speed y"]), dim=1)
    return torch.cat((finger, puck, puck - finger, 0.1 * speed, situation["goal"]), dim=1)


mtrl.register_scene_task(
    "push-puck-v0",
    XML,
    description="Push a puck to the goal with a finger.",
    views={
        "finger": body_position("finger"),
        "puck": body_position("puck"),
        "speed x": joint_velocity("finger x"),
        "speed y": joint_velocity("finger y"),
    },
    start=start,
    memory={"start_distance": 1},
    observe=observe,
    reward=reward,
    success=lambda situation: distance(situation) < 0.05,
    frame_skip=5,
    horizon=100,
    goals=([0.15, -0.3], [0.3, 0.3]),
    goal_part=(8, 10),
    viewpoint=Viewpoint(camera="above"),
)


def speed(worlds: int = 64, seconds: float = 2.0) -> float:
    """Steps per second of the environment, over those of its physics alone; both on one thread, in turns."""
    torch.set_num_threads(1)
    task = TASKS.get("push-puck-v0")
    goals = make_goal_sets([task], 50, 42)[0]
    env = mtrl.make_vector_env(["push-puck-v0"], goal_set=goals, slots_per_task=worlds, workers=1)
    env.reset()
    batch = Simulation(task.scene_task.scene.compile(stripped=True), worlds)
    action, ratios = torch.rand(worlds, 2) * 2 - 1, []
    for _ in range(5):
        counts = []
        for step in (lambda: env.step(action), lambda: (batch.step(5), batch.forward())):
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds / 5:
                step()
                count += 1
            counts.append(count)
        ratios.append(counts[0] / counts[1])
    env.close()
    return sorted(ratios)[len(ratios) // 2]


def main(**options: Any) -> None:
    """Trains, and compares with a policy that does nothing.

    Args:
        **options: Fields of `mtrl.RunConfig` to change for the training run.
    """
    run = mtrl.train("scene_task:push-puck-v0", agent="quick", **{"steps_per_task": 200_000, **options})
    print(f"success {run.evaluate(goals='heldout').success_any:.3f} on goals never trained on")
    mtrl.train("scene_task:push-puck-v0", agent="zero")
    print(mtrl.compare("runs/MT1-push-puck-v0"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="measure the environment against its physics alone")
    if parser.parse_args().speed:
        print(f"64 worlds: {speed():.2f} times the speed of bare physics")
    else:
        main()
