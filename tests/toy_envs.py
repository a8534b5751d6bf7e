"""Small environments for tests: quick, deterministic unless their name says otherwise, and importable by workers."""

import functools
import os
import signal
import sys
from typing import Any

import gymnasium
import numpy as np

from mtrl.goals import GoalSet, make_goal_sets
from mtrl.plain_types import GoalRows
from mtrl.tasks import TaskDefinition


def sample_points(count: int, seed: int) -> GoalRows:
    """Goals in the plane."""
    return np.random.default_rng([seed, 17]).uniform(-1, 1, (count, 2))


class PointEnv(gymnasium.Env):
    """A point in the plane moves towards a goal; it starts at random.

    Observation: place, goal (zeros when hidden), then zeros up to `obs_dim`. Reward: minus the distance. Success:
    within 0.1. Actions beyond the first two do nothing. Keeps hidden state: the speed is not observed.
    """

    def __init__(
        self, goal_visible: bool = True, obs_dim: int = 4, action_dim: int = 2, horizon: int = 10, wall: float = np.inf
    ) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (action_dim,), np.float32)
        self.goal_visible, self.horizon, self.wall = goal_visible, horizon, wall
        self.render_mode = "rgb_array"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.goal = np.asarray((options or {}).get("goal", np.zeros(2)), np.float64)
        self.place = self.np_random.uniform(-1, 1, 2)
        self.speed, self.steps = np.zeros(2), 0
        return self.observe(), {}

    def observe(self) -> np.ndarray:
        obs = np.zeros(self.observation_space.shape)
        obs[:2], obs[2:4] = self.place, self.goal if self.goal_visible else 0
        return obs

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.speed = 0.5 * self.speed + 0.1 * np.asarray(action[:2], np.float64)
        self.place = self.place + self.speed
        self.steps += 1
        distance = float(np.linalg.norm(self.place - self.goal))
        terminated = bool(np.abs(self.place).max() > self.wall)
        return self.observe(), -distance, terminated, self.steps >= self.horizon, {"success": distance < 0.1}

    def render(self) -> np.ndarray:
        return np.full((4, 6, 3), self.steps, np.uint8)


class RaisingEnv(PointEnv):
    """Raises in step 3."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if self.steps == 2:
            raise ZeroDivisionError("the point fell off")
        return super().step(action)

    def render(self) -> np.ndarray:
        raise RuntimeError("no GL here")


class DyingEnv(PointEnv):
    """Kills its process when the first action is above 0.9, or exits with code 7 when it is below -0.9."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        if action[0] > 0.9:
            os.kill(os.getpid(), signal.SIGKILL)
        if action[0] < -0.9:
            os._exit(7)
        return super().step(action)


class DyingOnceEnv(PointEnv):
    """Kills its process in step 4, unless the file named by MTRL_TEST_DIED is there, which it writes before."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        mark = os.environ["MTRL_TEST_DIED"]
        if self.steps == 3 and not os.path.exists(mark):
            with open(mark, "w") as file:
                file.write("once")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class RandomEnv(PointEnv):
    """Not deterministic: draws from the system's entropy in every step."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        result = super().step(action)
        self.place = self.place + np.random.default_rng().normal(0, 0.1, 2)
        return result


class SpyEnv(PointEnv):
    """Tells in its observation about the worker: torch loaded, threads allowed, main module run again, process id."""

    def observe(self) -> np.ndarray:
        main = sys.modules["__main__"]
        return np.array(
            [
                "torch" in sys.modules,
                int(os.environ["OMP_NUM_THREADS"]),
                hasattr(main, "__file__"),
                os.getpid() % 2**20,
            ],
            np.float64,
        )


class IsSuccessEnv(PointEnv):
    """Reports `is_success` (odd steps), as robotics environments do."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated, _ = super().step(action)
        return obs, reward, terminated, truncated, {"is_success": np.float32(self.steps % 2)}


class ConstantEnv(PointEnv):
    """Its observation never changes, which is odd but allowed."""

    def observe(self) -> np.ndarray:
        return super().observe() * 0 + 1


class SilentEnv(PointEnv):
    """Reports no success at all."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:4], {}


def build(kind: type[PointEnv], arguments: dict[str, Any], goal_visible: bool) -> PointEnv:
    return kind(goal_visible, **arguments)


def refuse(goal_visible: bool) -> PointEnv:
    raise FileNotFoundError("scene.xml")


def vanish(goal_visible: bool) -> PointEnv:
    os._exit(3)


def toy_task(
    name: str = "toy",
    kind: type[PointEnv] = PointEnv,
    obs_dim: int = 4,
    action_dim: int = 2,
    horizon: int = 10,
    engine: str = "gymnasium",
    **arguments: Any,
) -> TaskDefinition:
    """The definition of a toy task."""
    arguments = {"obs_dim": obs_dim, "action_dim": action_dim, "horizon": horizon, **arguments}
    make = functools.partial(build, kind, arguments)
    return TaskDefinition(name, f"{name} for tests", make, sample_points, obs_dim, action_dim, horizon, engine)


def toy_goals(*tasks: TaskDefinition, count: int = 5) -> GoalSet:
    """Their training goals."""
    return make_goal_sets(tasks, count, 1)[0]


def worker_processes(parent: int) -> list[int]:
    """Process ids of a process's workers, oldest first."""
    with open(f"/proc/{parent}/task/{parent}/children") as file:
        children = [int(word) for word in file.read().split()]
    return [child for child in sorted(children) if is_worker(child)]


def is_worker(process: int) -> bool:
    """Whether a process is there and is a worker (a zombie has no command line)."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            return b"mtrl.vector.worker" in file.read()
    except FileNotFoundError:
        return False
