"""Registering a task of one's own that is made of tensor functions. See docs/registering.md."""

import functools
from collections.abc import Callable, Sequence

import gymnasium
import torch

from mtrl.adapter import Goals, goal_sampler
from mtrl.errors import UserError
from mtrl.tasks import TASKS, TaskDefinition, check_descriptor
from mtrl.tensors.task import Moved, TensorTask

Begin = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Step = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], Moved]
Observe = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def register_tensor_task(
    name: str,
    *,
    description: str,
    begin: Begin,
    step: Step,
    observe: Observe,
    action_dim: int,
    horizon: int,
    goals: Goals,
    draws: int = 0,
    goal_part: tuple[int, int] | None = None,
    descriptor: Sequence[float] = (),
) -> None:
    """Registers functions of tensors as a task of the engine `tensor`, which steps all worlds together, on any device.

    Args:
        name: Under which it is found.
        description: One line.
        begin: `(goal [world, goal], draws [world, draws]) -> state [world, state]`, float32, of new episodes.
        step: `(state, action [world, act], goal, draws) -> mtrl.tensors.task.Moved(state, reward, success)`.
        observe: `(state, goal) -> [world, obs]`.
        action_dim: Numbers in an action; they lie in [-1, 1].
        horizon: Steps of an episode; all episodes run to their end.
        goals: See `mtrl.register.register_task`.
        draws: How many numbers from U[0, 1) `begin` and `step` get for each world; nothing else may be random.
        goal_part: First index of the goal in the observation, and the index after its last; where a suite hides goals,
            there are zeros instead.
        descriptor: See `mtrl.register.register_task`.

    Raises:
        UserError: An argument is impossible, or the name taken. What is wrong with a function shows when the task is
            first used; `mtrl check` explains it.
    """
    if min(action_dim, horizon) < 1 or draws < 0:
        raise UserError(
            f"task '{name}': action_dim {action_dim}, horizon {horizon} and draws {draws} must be 1, 1 and 0 or more"
        )
    sample_goals, known = goal_sampler(name, goals), check_descriptor(name, descriptor)
    rules = TensorTask(begin, step, observe, draws, goal_part)

    def define() -> TaskDefinition:
        obs_dim = _checked(name, rules, torch.from_numpy(sample_goals(2, 0)).to(torch.float32), action_dim)
        make = functools.partial(_make, name)
        return TaskDefinition(
            name,
            description,
            make,
            sample_goals,
            obs_dim,
            action_dim,
            horizon,
            "tensor",
            descriptor=known,
            tensors=lambda: rules,
        )

    TASKS.register_later(name, define, description)


def _make(name: str, goal_visible: bool) -> gymnasium.Env:
    from mtrl.tensors.vector import TensorEnv

    return TensorEnv(TASKS.get(name), goal_visible)


def _checked(name: str, rules: TensorTask, goal: torch.Tensor, action_dim: int) -> int:
    """Calls the functions once for two worlds; numbers in an observation.

    Raises:
        UserError: One of them fails, or gives something of another shape or kind.
    """
    worlds, draws = len(goal), torch.full((len(goal), rules.draws), 0.5)
    try:
        state = rules.begin(goal, draws)
        moved = Moved(*rules.step(state, torch.zeros(worlds, action_dim), goal, draws))
        obs = rules.observe(moved.state, goal)
    except Exception as error:
        raise UserError(f"task '{name}': its functions fail for two worlds: {type(error).__name__}: {error}") from error
    wanted = {
        "begin": (state, ("world", "state"), torch.float32),
        "step's state": (moved.state, tuple(state.shape), torch.float32),
        "step's reward": (moved.reward, (worlds,), torch.float32),
        "step's success": (moved.success, (worlds,), torch.bool),
        "observe": (obs, ("world", "obs"), torch.float32),
    }
    for what, (value, shape, dtype) in wanted.items():
        fits = value.ndim == 2 and len(value) == worlds if isinstance(shape[0], str) else tuple(value.shape) == shape
        if not fits or value.dtype != dtype:
            raise UserError(
                f"task '{name}': {what} is {tuple(value.shape)} {value.dtype} for {worlds} worlds, expected {shape} "
                f"{dtype}"
            )
    return obs.shape[1]
