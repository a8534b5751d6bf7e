"""Tasks of your own: a MuJoCo model with a Python reward, and a gymnasium environment, learned by one policy.

    python experiments/custom_task.py

The arm has 2 actions and 8 observation numbers, the pendulum 1 and 3: each counts with its own. Runs are written to
runs/ARM-AND-PENDULUM, with the dashboard. A script that was stopped goes on where it was. From the command line:

    cd experiments && mtrl check custom_task:ARM-AND-PENDULUM

Expected result: A-eval, 30 k steps/task: success 0.93 (doing nothing: 0.06), and 0.90 on held-out goals, with seed 0.
Expected time: 2 minutes on one CPU core.
"""

from typing import Any

import numpy as np

import mtrl

ARM = """
<mujoco>
  <option timestep="0.01"/>
  <default>
    <joint type="hinge" axis="0 0 1" damping="0.2"/>
    <geom type="capsule" fromto="0 0 0 0.5 0 0" size="0.04" density="300" contype="0" conaffinity="0"/>
    <motor ctrlrange="-1 1"/>
  </default>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="above" pos="0 0 3"/>
    <body name="upper">
      <joint name="shoulder"/>
      <geom/>
      <body name="lower" pos="0.5 0 0">
        <joint name="elbow"/>
        <geom/>
        <site name="tip" pos="0.5 0 0" size="0.05"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor joint="shoulder"/>
    <motor joint="elbow"/>
  </actuator>
</mujoco>
"""


def observe(model: Any, data: Any, goal: np.ndarray) -> np.ndarray:
    """Joint angles as sines and cosines, their speeds, and the goal."""
    return np.concatenate([np.cos(data.qpos), np.sin(data.qpos), data.qvel, goal])


def distance(data: Any, goal: np.ndarray) -> float:
    """From the arm's tip to the goal, metres."""
    return float(np.linalg.norm(data.site("tip").xpos[:2] - goal))


def reward(model: Any, data: Any, goal: np.ndarray) -> float:
    """Near the goal, and calm there."""
    return -distance(data, goal) - 0.01 * float(np.square(data.qvel).sum())


def success(model: Any, data: Any, goal: np.ndarray) -> bool:
    """Within five centimetres."""
    return distance(data, goal) < 0.05


def reset(model: Any, data: Any, goal: np.ndarray, generator: np.random.Generator) -> None:
    """Begins almost stretched out."""
    data.qpos[:] = generator.uniform(-0.1, 0.1, 2)


def upright(info: dict[str, Any], terminated: bool, reward: float) -> bool:
    """The pendulum's reward is near zero where it stands upright and still, without effort."""
    return reward > -0.1


mtrl.register_mjcf_task(
    "arm-v0",
    ARM,
    description="Bring the tip of a two-link arm to the goal.",
    observe=observe,
    reward=reward,
    success=success,
    reset=reset,
    frame_skip=5,
    horizon=60,
    goals=([0.1, 0.3], [0.6, 0.7]),
    camera="above",
)
mtrl.register_task("pendulum-v0", "Pendulum-v1", description="Swing a pendulum up.", horizon=120, success=upright)
mtrl.register_suite("ARM-AND-PENDULUM", ["arm-v0", "pendulum-v0"], description="Two tasks of different sizes.")


def main(**options: Any) -> None:
    """Trains, and compares with a policy that does nothing.

    Args:
        **options: Fields of `mtrl.RunConfig` to change for the training run.
    """
    small = {"steps_per_task": 30_000, "slots_per_task": 4}
    run = mtrl.train("custom_task:ARM-AND-PENDULUM", agent="quick", **{**small, **options})
    print(f"success {run.evaluate(goals='heldout').success_any:.3f} on goals never trained on")
    mtrl.train("custom_task:ARM-AND-PENDULUM", agent="zero")
    print(mtrl.compare("runs/ARM-AND-PENDULUM"))


if __name__ == "__main__":
    main()
