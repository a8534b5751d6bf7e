"""Environments as users write them, importable by workers: plain gymnasium, each with its own shapes and habits."""

import threading
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces


class Recorder(gymnasium.Env):
    """Shows the last action and the goal it was given; never ends by itself. Actions: 2 x 2 with uneven bounds."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, bonus: float = 0.0) -> None:
        self.render_mode, self.bonus = render_mode, bonus
        self.observation_space = spaces.Box(-np.inf, np.inf, (6,), np.float64)
        low = np.array([[0.0, -5.0], [-1.0, 10.0]])
        self.action_space = spaces.Box(low, low + np.array([[2.0, 10.0], [2.0, 1.0]]), dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.goal = np.asarray((options or {}).get("goal", np.zeros(2)), np.float64)
        self.start = self.np_random.uniform()
        return np.array([self.start, 0, 0, 0, *self.goal]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        assert action in self.action_space
        obs = np.array([*action.ravel(), *self.goal])
        return obs, self.bonus + self.goal.sum() + self.start, False, False, {}

    def render(self) -> np.ndarray:
        return np.zeros((4, 6, 3), np.uint8)


class GoalDict(gymnasium.Env):
    """A point on a line with the dictionary of goal-conditioned environments; terminal far out."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "desired_goal": spaces.Box(-1, 1, (2,), np.float64),
            "achieved_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        }
    )
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        self.goal = np.asarray((options or {}).get("goal", np.zeros(2)), np.float64)
        self.place = self.np_random.uniform(-0.1, 0.1, 2)
        return self.observe(), {}

    def observe(self) -> dict[str, np.ndarray]:
        return {
            "observation": np.array([1.0, *self.place]),
            "achieved_goal": self.place.copy(),
            "desired_goal": self.goal.copy(),
        }

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.place = self.place + np.array([0.3 * float(action[0]), 0.0])
        distance = float(np.abs(self.place - self.goal).max())
        return (
            self.observe(),
            -distance,
            bool(abs(self.place[0]) > 2),
            False,
            {"is_success": np.float32(distance < 0.3)},
        )


class Discrete(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(3)


class Unbounded(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-np.inf, np.inf, (2,))


class Wordy(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Sequence(spaces.Discrete(3))


class Simple(gymnasium.Env):
    """One number that the action moves; the faults below change one thing each."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.goal = float((options or {}).get("goal", [0.0])[0])
        self.place = self.np_random.uniform(-1, 1)
        self.steps = 0
        return self.observe(), {}

    def observe(self) -> np.ndarray:
        return np.array([self.place, self.goal])

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place += 0.1 * float(action[0])
        self.steps += 1
        distance = abs(self.place - self.goal)
        return self.observe(), -distance, False, False, {"success": distance < 1e-3}


class Forgetful(Simple):
    """Ignores the seed: draws from a generator of its own that reset does not set."""

    def __init__(self) -> None:
        self.own = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed, options=options)
        self.place = self.own.uniform(-1, 1)
        return self.observe(), {}


class Leftover(Simple):
    """Carries something over from the episode before, which the first observation does not show."""

    speed = 0.0

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.speed += 0.01
        self.place += self.speed
        return super().step(action)


class NotANumber(Simple):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, _, *rest = super().step(action)
        return obs, float("nan") if self.steps == 5 else 0.0, *rest


class Short(Simple):
    """Truncates after 4 steps by itself."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, self.steps >= 4, info


class Mute(Simple):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:4], {}


class Crashing(Simple):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return 1 // 0


class Deaf(Simple):
    """Neither goal nor seed nor action changes anything."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place, self.goal = 0.0, 1.0
        return self.observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return super().step(np.ones(1))


class Secretive(Simple):
    """The goal counts, but is not observed."""

    def observe(self) -> np.ndarray:
        return np.array([self.place, 0.0])


class EndsWhenSolved(Simple):
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, _, truncated, info = super().step(action)
        info["success"] = self.steps == 7
        return obs, reward, self.steps == 7, truncated, info


class Moody(Simple):
    """`success` is a vector."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return *super().step(action)[:4], {"success": np.array([True, False])}


class Holder:
    """A factory that holds what cannot be sent to another process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self) -> Simple:
        return Simple()


def build_pendulum() -> gymnasium.Env:
    return gymnasium.make("Pendulum-v1")


def build_nothing() -> None:
    return None


def three_goals(count: int, seed: int) -> np.ndarray:
    return np.arange(3.0)[:, None]


def solved_by_reward(info: dict[str, Any], terminated: bool, reward: float) -> bool:
    return reward > -0.05
