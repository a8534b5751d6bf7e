"""What a task of tensor functions is, and the random numbers that its worlds get."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float32, Int64

Goals = Float32[torch.Tensor, "world goal"]
Draws = Float32[torch.Tensor, "world draw"]
WorldState = Float32[torch.Tensor, "world state"]


class Moved(NamedTuple):
    """What a step leads to.

    Attributes:
        state: `[world, state]` after it.
        reward: `[world]`.
        success: `[world]` bool, whether the state after it counts as solved.
    """

    state: WorldState
    reward: Float32[torch.Tensor, " world"]
    success: Bool[torch.Tensor, " world"]


@dataclass(frozen=True)
class TensorTask:
    """The rules of a task, for many worlds at once: no function looks from one world at another, or waits for a device.

    Attributes:
        begin: `(goal, draws) -> state`, of new episodes.
        step: `(state, action [world, act], goal, draws) -> Moved`; actions lie in [-1, 1], or are clipped by it.
        observe: `(state, goal) -> [world, obs]`.
        draws: How many numbers from U[0, 1) the two first get for each world.
        goal_part: First index of the goal in the observation, and the index after its last; where a suite hides goals,
            there are zeros instead. None: observations do not show it.
    """

    begin: Callable[[Goals, Draws], WorldState]
    step: Callable[[WorldState, torch.Tensor, Goals, Draws], Moved]
    observe: Callable[[WorldState, Goals], torch.Tensor]
    draws: int = 0
    goal_part: tuple[int, int] | None = None

    def seen(self, state: WorldState, goal: Goals, goal_visible: bool) -> torch.Tensor:
        """What a policy sees, `[world, obs]`."""
        obs = self.observe(state, goal)
        if self.goal_part is None or goal_visible:
            return obs
        hidden = obs.clone()
        hidden[:, slice(*self.goal_part)] = 0.0
        return hidden


def mixed(*words: torch.Tensor | int) -> Int64[torch.Tensor, "..."]:
    """One well-mixed 64-bit word of several, the same on every device.

    The mixer is that of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
    """
    state = torch.zeros((), dtype=torch.int64)
    for word in words:
        word = torch.as_tensor(word)
        state = state.to(word.device) + word * _GOLDEN + 1
        state = (state ^ _shifted(state, 30)) * _FIRST
        state = (state ^ _shifted(state, 27)) * _SECOND
        state = state ^ _shifted(state, 31)
    return state


def uniforms(key: Int64[torch.Tensor, " world"], step: Int64[torch.Tensor, " world"], count: int) -> Draws:
    """Numbers from U[0, 1), a pure function of a world's key and its step.

    Args:
        key: Of each world's episode.
        step: Of each world in its episode.
        count: Numbers for each world.
    """
    place = torch.arange(count, device=key.device)
    bits = _shifted(mixed(key[:, None], step[:, None], place[None, :]), 40)
    return bits.to(torch.float32) / (1 << 24)


def _shifted(word: torch.Tensor, places: int) -> torch.Tensor:
    """To the right, with zeros from the left."""
    return (word >> places) & ((1 << (64 - places)) - 1)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


_GOLDEN, _FIRST, _SECOND = (_signed(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
