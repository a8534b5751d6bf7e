"""Meta-World: the 50 tasks, on our own definitions (engine `native`) and on upstream's own classes (`official`).

Registering them is cheap: MuJoCo, torch and upstream's package are imported when they are needed.
"""

import functools
from typing import TYPE_CHECKING, Any

import gymnasium

from mtrl.plain_types import GoalRows
from mtrl.tasks import TASKS, TaskDefinition

if TYPE_CHECKING:
    from mtrl.scenes.task import SceneTask

from .catalogue import ACTION_DIM, DESCRIPTIONS, HORIZON, OBS_DIM


def make_environment(name: str, goal_visible: bool = True, **keywords: Any) -> gymnasium.Env[Any, Any]:
    """Builds one environment; see `mtrl.envs.metaworld.official.OfficialEnv` for the keywords."""
    from .official import OfficialEnv

    return OfficialEnv(name, goal_visible, **keywords)


def sample_goals(name: str, count: int, seed: int) -> GoalRows:
    """Draws goals of a task; see `mtrl.envs.metaworld.goals.GoalSpace.sample`."""
    from .tasks.families import TASKS as DECLARED

    return DECLARED[name].goals.sample(name, count, seed)


def scene_task(name: str) -> "SceneTask":
    """Scene, views and rules of a task."""
    from .tasks.families import TASKS as DECLARED

    return DECLARED[name].scene_task


def register() -> None:
    """Registers the 50 tasks, with mtrl and as gymnasium ids such as `MTRL/reach-v3`."""
    for name, description in DESCRIPTIONS.items():
        make = functools.partial(make_environment, name)
        sample = functools.partial(sample_goals, name)
        scene = functools.partial(scene_task, name)
        TASKS.register(
            name,
            TaskDefinition(name, description, make, sample, OBS_DIM, ACTION_DIM, HORIZON, "native", scene),
            description,
        )
        gymnasium.register(
            id=f"MTRL/{name}",
            entry_point="mtrl.envs.metaworld.official:OfficialEnv",
            kwargs={"name": name},
            max_episode_steps=HORIZON,
        )
