"""A bandit with known answers: one of three arms pays, which one is the goal, and nothing shows it."""

import gymnasium
import numpy as np

from mtrl.tasks import TaskDefinition

ARMS = 3


class HiddenArm(gymnasium.Env):
    """An episode is one pull, of the arm with the largest action number; the reward is 1 or 0."""

    def __init__(self, goal_visible: bool = False) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (ARMS,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.paying = int(np.argmax(options["goal"]))
        return np.zeros(1), {}

    def step(self, action):
        won = int(np.argmax(action)) == self.paying
        return np.zeros(1), float(won), False, True, {"success": won}


def sample_arms(count, seed):
    """Goals `[count, arm]`: where the paying arm is largest; otherwise noise, so that rows differ."""
    generator = np.random.default_rng([seed, 3])
    return np.eye(ARMS)[generator.integers(0, ARMS, count)] + generator.uniform(0.0, 0.5, (count, ARMS))


HIDDEN_ARM = TaskDefinition("hidden-arm", "toy", HiddenArm, sample_arms, 1, ARMS, 1, "inline")
