"""A task and a suite."""

from typing import Any

import gymnasium
import numpy as np

import mtrl


@mtrl.task("plugged-v0", description="Push a point to the goal on a line.", horizon=10, goals=([-1.0], [1.0]))
class Line(gymnasium.Env):
    """Observation: place and goal; reward: minus their distance."""

    observation_space = gymnasium.spaces.Box(-10.0, 10.0, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Starts near zero."""
        super().reset(seed=seed)
        self.goal = float((options or {}).get("goal", [0.0])[0])
        self.place = self.np_random.uniform(-0.1, 0.1)
        return np.array([self.place, self.goal]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Moves by a fifth of the action."""
        self.place += 0.2 * float(action[0])
        distance = abs(self.place - self.goal)
        return np.array([self.place, self.goal]), -distance, False, False, {"success": distance < 0.1}


mtrl.register_suite("PLUGGED2", ["plugged-v0", "reach-v3"], description="One task of the package's and one built in.")
