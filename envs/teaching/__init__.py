"""Small tasks with known answers, for learning to learn: bandits, point robots with a hidden goal, tabular MDPs.

They run on the engine `tensor`. What can be reached in them is in `known.py`.
"""

import functools
from typing import TYPE_CHECKING

from mtrl.plain_types import GoalRows
from mtrl.suites import SUITES, Suite
from mtrl.tasks import TASKS, TaskDefinition

if TYPE_CHECKING:
    import gymnasium

    from mtrl.tensors.task import TensorTask

ARMS = 5
STATES, CHOICES = 10, 5
"""Of a tabular MDP: states, and actions in each of them."""

SIZES = {
    "bernoulli-arms-v0": (ARMS, ARMS, 10),
    "point-robot-v0": (4, 2, 20),
    "sparse-point-robot-v0": (4, 2, 20),
    "tabular-mdp-v0": (STATES + CHOICES, CHOICES, 10),
}
"""Name to numbers in an observation, numbers in an action, and steps of an episode."""
DESCRIPTIONS = {
    "bernoulli-arms-v0": "ten pulls at five arms, each of which pays 1 or 0 with a hidden probability of its own",
    "point-robot-v0": "move a point to a hidden goal in the unit disc; the reward is minus the distance",
    "sparse-point-robot-v0": "move a point to a hidden goal on a half circle; there is reward near the goal alone",
    "tabular-mdp-v0": "ten steps through ten states with five actions each; what they lead to and pay is hidden",
}
SUITE_TASKS = {
    "Bandits": ("bernoulli-arms-v0", "Meta-RL to learn with: five arms, 500 draws of their probabilities."),
    "Points": ("point-robot-v0", "Meta-RL to learn with: a point and a hidden goal, 500 of them."),
    "SparsePoints": (
        "sparse-point-robot-v0",
        "Meta-RL to learn with: a point and a hidden goal that pays only nearby, 500 of them.",
    ),
    "Tabular": ("tabular-mdp-v0", "Meta-RL to learn with: 500 small Markov decision processes."),
}
GOALS = 500


def tensor_task(name: str) -> "TensorTask":
    """The functions of a task."""
    from .rules import RULES

    return RULES[name]


def sample_goals(name: str, count: int, seed: int) -> GoalRows:
    """Draws goals of a task."""
    from .rules import GOAL_SAMPLERS

    return GOAL_SAMPLERS[name](count, seed)


def make_environment(name: str, goal_visible: bool = True) -> "gymnasium.Env":
    """Builds one environment."""
    from mtrl.tensors.vector import TensorEnv

    return TensorEnv(TASKS.get(name), goal_visible)


def register() -> None:
    """Registers tasks and suites."""
    for name, description in DESCRIPTIONS.items():
        make, sample = functools.partial(make_environment, name), functools.partial(sample_goals, name)
        rules = functools.partial(tensor_task, name)
        definition = TaskDefinition(name, description, make, sample, *SIZES[name], "tensor", tensors=rules)
        TASKS.register(name, definition, description)
    for suite, (task, description) in SUITE_TASKS.items():
        entry = Suite(suite, (task,), (task,), goal_visible=False, goals_per_task=GOALS)
        SUITES.register(suite, entry, description)
