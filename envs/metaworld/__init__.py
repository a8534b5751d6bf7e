"""Meta-World: the 50 tasks on upstream's own classes (engine `official`).

Registering them is cheap: MuJoCo and upstream's package are imported when the first environment is built.
"""

import functools
from typing import Any

import gymnasium

from mtrl.plain_types import GoalRows
from mtrl.tasks import TASKS, TaskDefinition

from .catalogue import ACTION_DIM, DESCRIPTIONS, HORIZON, OBS_DIM


def make_environment(name: str, goal_visible: bool = True, **keywords: Any) -> gymnasium.Env[Any, Any]:
    """Builds one environment; see `mtrl.envs.metaworld.official.OfficialEnv` for the keywords."""
    from .official import OfficialEnv

    return OfficialEnv(name, goal_visible, **keywords)


def sample_goals(name: str, count: int, seed: int) -> GoalRows:
    """Draws goals of a task; see `mtrl.envs.metaworld.official.sample_goals`."""
    from .official import sample_goals as sample

    return sample(name, count, seed)


def register() -> None:
    """Registers the 50 tasks, with mtrl and as gymnasium ids such as `MTRL/reach-v3`."""
    for name, description in DESCRIPTIONS.items():
        make = functools.partial(make_environment, name)
        sample = functools.partial(sample_goals, name)
        TASKS.register(
            name,
            TaskDefinition(name, description, make, sample, OBS_DIM, ACTION_DIM, HORIZON, engine="official"),
            description,
        )
        gymnasium.register(
            id=f"MTRL/{name}",
            entry_point="mtrl.envs.metaworld.official:OfficialEnv",
            kwargs={"name": name},
            max_episode_steps=HORIZON,
        )
