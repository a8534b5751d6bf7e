"""Users' gymnasium environments as tasks: flat observations, actions in [-1, 1], goals, success and a horizon.

Imported in worker processes: no torch here.
"""

import functools
import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator

from mtrl.errors import UserError
from mtrl.plain_types import GoalRows

GoalFunction = Callable[[int, int], Any]
"""`(count, seed) -> [count, goal]`, distinct rows, the same for the same arguments."""
Goals = str | tuple[Any, Any] | GoalFunction
SuccessFunction = Callable[[dict[str, Any], bool, float], Any]
"""`(info, terminated, reward) -> bool` of a step."""
LARGEST_SEED = 2**31


@dataclass(frozen=True)
class Recipe:
    """How a user's environment is built and wrapped; what `mtrl.register.register_task` was given.

    Attributes:
        name: Task.
        env: Class or factory, or the spec of a gymnasium id (ids themselves mean nothing in a worker).
        arguments: Keywords for it.
        horizon: Steps an episode; None takes the environment's own limit.
        sample_goals: See `TaskDefinition`.
        goal_is_seed: Goals are seeds of `reset`, not options.
        success: Judges a step; None reads the info.
        goal_part: First and last-but-one index of the goal in the flat observation; None: `desired_goal`, if it is a
            dictionary with one.
    """

    name: str
    env: Callable[..., Any] | EnvSpec
    arguments: Mapping[str, Any]
    horizon: int | None
    sample_goals: Callable[[int, int], GoalRows]
    goal_is_seed: bool
    success: SuccessFunction | None
    goal_part: tuple[int, int] | None


class TaskAdapter(gymnasium.Env[np.ndarray, np.ndarray]):
    """A user's environment, wrapped to keep the contract of `TaskDefinition`.

    Observations are flattened to float32. Actions are clipped to [-1, 1] and scaled to the environment's bounds. The
    episode is truncated at the horizon, and every info has `success`.

    Attributes:
        horizon: Steps after which an episode is truncated.
        reports_success: Whether anything has said so far if the task is solved.
        goal_is_seed: Whether goals are seeds of `reset`.

    Args:
        env: The environment.
        recipe: What was registered.
        goal_visible: False puts zeros in the observation's goal part.

    Raises:
        UserError: Its spaces cannot be used, or it has no horizon.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], recipe: Recipe, goal_visible: bool) -> None:
        self._env, self._recipe = env, recipe
        self._flat = isinstance(env.observation_space, spaces.Box)
        self.observation_space = flat_observations(recipe.name, env.observation_space)
        self._action_space = bounded_actions(recipe.name, env.action_space)
        self.action_space = spaces.Box(-1.0, 1.0, (int(np.prod(self._action_space.shape)),), np.float32)
        self.horizon = _horizon(env, recipe)
        self._hidden = slice(0, 0) if goal_visible else self._goal_part()
        if not goal_visible:
            low, high = self.observation_space.low.copy(), self.observation_space.high.copy()
            low[self._hidden] = np.minimum(low[self._hidden], 0)
            high[self._hidden] = np.maximum(high[self._hidden], 0)
            self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self.metadata = env.metadata
        self.render_mode = env.render_mode
        self.goal_is_seed = recipe.goal_is_seed
        self.reports_success = recipe.success is not None
        self._steps = 0

    def _goal_part(self) -> slice:
        if self._recipe.goal_part is not None:
            start, stop = self._recipe.goal_part
            size = int(np.prod(self.observation_space.shape or ()))
            if not 0 <= start < stop <= size:
                raise UserError(f"task '{self._recipe.name}': goal_part {(start, stop)} is outside 0 to {size}")
            return slice(start, stop)
        start = 0
        space = self._env.observation_space
        for key, part in space.spaces.items() if isinstance(space, spaces.Dict) else ():
            if key == "desired_goal":
                return slice(start, start + spaces.flatdim(part))
            start += spaces.flatdim(part)
        return slice(0, 0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Fixes the episode, and the goal where none is given.
            options: `{"goal": row}` plays that goal; without one a goal is drawn.
        """
        super().reset(seed=seed)
        recipe = self._recipe
        goal = (options or {}).get("goal")
        if goal is None:
            goal = recipe.sample_goals(1, int(self.np_random.integers(LARGEST_SEED)))[0]
        goal = np.array(goal, np.float64)
        if recipe.goal_is_seed:
            obs, info = self._env.reset(seed=int(goal[0]))
        else:
            obs, info = self._env.reset(seed=int(self.np_random.integers(LARGEST_SEED)), options={"goal": goal})
        self._steps = 0
        return self._observation(obs), dict(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step with an action `[act]` in [-1, 1]."""
        space = self._action_space
        share = 0.5 * (np.clip(np.asarray(action, np.float64), -1.0, 1.0).reshape(space.shape) + 1.0)
        scaled = np.clip(space.low + share * (space.high - space.low), space.low, space.high).astype(space.dtype)
        obs, reward, terminated, truncated, info = self._env.step(scaled)
        self._steps += 1
        success = self._succeeded(info, bool(terminated), float(reward))
        truncated = bool(truncated) or self._steps >= self.horizon
        return self._observation(obs), float(reward), bool(terminated), truncated, {**info, "success": success}

    def _succeeded(self, info: dict[str, Any], terminated: bool, reward: float) -> bool:
        if self._recipe.success is not None:
            return bool(self._recipe.success(info, terminated, reward))
        value = info.get("success", info.get("is_success"))
        self.reports_success |= value is not None
        return value is not None and float(value) > 0

    def _observation(self, obs: Any) -> np.ndarray:
        flat = obs if self._flat else spaces.flatten(self._env.observation_space, obs)
        vector = np.array(flat, np.float32).reshape(-1)  # a copy, since an environment may reuse its own
        vector[self._hidden] = 0
        return vector

    def render(self) -> Any:
        """The environment's own image."""
        return self._env.render()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


def build(recipe: Recipe, goal_visible: bool) -> TaskAdapter:
    """Builds a registered environment; `TaskDefinition.make` of users' tasks.

    Raises:
        UserError: It cannot be built, or cannot be used.
    """
    try:
        env = _make(recipe)
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
        raise UserError(f"task '{recipe.name}' cannot be built: {reason}") from error
    if not isinstance(env, gymnasium.Env):
        raise UserError(f"task '{recipe.name}': {recipe.env!r} gave a {type(env).__name__}, not a gymnasium.Env")
    return TaskAdapter(env, recipe, goal_visible)


def _make(recipe: Recipe) -> Any:
    arguments = dict(recipe.arguments)
    if not isinstance(recipe.env, EnvSpec):
        return recipe.env(**_with_images(recipe.env, arguments))
    entry = recipe.env.entry_point
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    # The time limit is the adapter's, and the passive checker belongs in `mtrl check`.
    options = {"max_episode_steps": -1, "disable_env_checker": True}
    return gymnasium.make(recipe.env, **options, **_with_images(creator, {**recipe.env.kwargs, **arguments}))


def _with_images(creator: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments, with `render_mode` where the environment has a mode that gives arrays."""
    metadata = getattr(creator, "metadata", None)
    if not isinstance(metadata, dict) or "rgb_array" not in metadata.get("render_modes", ()):
        return arguments
    parameters = inspect.signature(creator).parameters
    keywords = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {"render_mode": "rgb_array", **arguments} if "render_mode" in parameters or keywords else arguments


def _horizon(env: gymnasium.Env[Any, Any], recipe: Recipe) -> int:
    """The horizon that was given, or the environment's own.

    Raises:
        UserError: There is neither, or the environment ends episodes earlier than it should.
    """
    spec = recipe.env if isinstance(recipe.env, EnvSpec) else env.spec
    own = spec.max_episode_steps if spec is not None else None
    if recipe.horizon is None:
        if not own or own < 1:
            raise UserError(f"task '{recipe.name}' has no limit of steps of its own: register it with horizon=STEPS")
        return own
    if not isinstance(recipe.env, EnvSpec) and own and 0 < own < recipe.horizon:
        raise UserError(
            f"task '{recipe.name}' ends its episodes after {own} steps, before horizon={recipe.horizon}: lower the "
            "horizon, or build it with max_episode_steps=-1"
        )
    return recipe.horizon


def flat_observations(name: str, space: spaces.Space[Any]) -> spaces.Box:
    """The space of the flattened observations, float32.

    Raises:
        UserError: They cannot be flattened to a vector of fixed length.
    """
    flat = spaces.flatten_space(space) if space.is_np_flattenable else None
    if not isinstance(flat, spaces.Box) or flat.shape[0] == 0:
        raise UserError(
            f"task '{name}' has observations of {type(space).__name__}, which give no vector of fixed length: wrap it "
            "so that it observes a Box, or a Dict of such"
        )
    with np.errstate(over="ignore"):
        return spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def bounded_actions(name: str, space: spaces.Space[Any]) -> spaces.Box:
    """The action space, if it is one that [-1, 1] can be scaled to.

    Raises:
        UserError: It is not.
    """
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(
            f"task '{name}' takes actions of {space}, but agents give numbers in [-1, 1]: wrap it in a "
            "gymnasium.ActionWrapper that has a Box of floats and turns them into its actions"
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise UserError(
            f"task '{name}' has actions without bounds, to which [-1, 1] cannot be scaled: give its action Box finite "
            "low and high, or wrap it in gymnasium.wrappers.TransformAction"
        )
    if space.shape == () or 0 in space.shape or not (space.low < space.high).all():
        raise UserError(f"task '{name}' has action bounds {space}: each number needs a low below its high")
    return space


def goal_sampler(name: str, goals: Goals) -> Callable[[int, int], GoalRows]:
    """The sampler that `goals` of `mtrl.register.register_task` means.

    Raises:
        UserError: It means none.
    """
    if goals == "seed":
        return functools.partial(_sample_seeds, name)
    if callable(goals):
        return functools.partial(_sample_with, name, goals)
    if isinstance(goals, tuple | list) and len(goals) == 2:
        try:
            low, high = np.atleast_1d(np.array(goals[0], np.float64)), np.atleast_1d(np.array(goals[1], np.float64))
        except (TypeError, ValueError):
            low, high = np.zeros(0), np.ones(0)
        good = low.ndim == 1 and low.size and low.shape == high.shape and np.isfinite([low, high]).all()
        if good and (low <= high).all() and (low < high).any():
            return functools.partial(_sample_box, name, tuple(low.tolist()), tuple(high.tolist()))
    raise UserError(
        f"task '{name}': goals={goals!r} is none of 'seed', (low, high) with two vectors of one length and low below "
        "high, and a function (count, seed) -> rows"
    )


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _sample_seeds(name: str, count: int, seed: int) -> GoalRows:
    generator, drawn = _generator(name, seed), {}
    while len(drawn) < count:
        drawn.setdefault(int(generator.integers(LARGEST_SEED)))
    return np.array(list(drawn), np.float64).reshape(count, 1)


def _sample_box(name: str, low: tuple[float, ...], high: tuple[float, ...], count: int, seed: int) -> GoalRows:
    return _generator(name, seed).uniform(low, high, (count, len(low)))


def _sample_with(name: str, function: GoalFunction, count: int, seed: int) -> GoalRows:
    rows = np.array(function(count, seed), np.float64)
    if rows.ndim != 2 or len(rows) != count or rows.shape[1] == 0:
        raise UserError(f"task '{name}': goals({count}, {seed}) gave shape {rows.shape}, expected ({count}, numbers)")
    return rows
