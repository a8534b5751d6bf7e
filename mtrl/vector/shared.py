"""Arrays that the parent and its workers share. Imports no torch: workers use it."""

import math
import mmap
import os
import tempfile

import numpy as np

ALIGNMENT = 64


def _anonymous_file(size: int) -> int:
    """A file of `size` zero bytes that has no name, so that nothing stays behind however a process ends."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("mtrl")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


class SharedArrays:
    """One row a slot in each array. The parent writes the first four, the workers the others.

    Attributes:
        action: `[env, act]` float32, what to do in the next step.
        goal: `[env]` int64, goal of the current episode; negative in inactive slots, which are not stepped.
        next_goal: `[env]` int64, goal of the episode that follows within the same step.
        next_seed: `[env]` int64, seed of that episode.
        obs: `[env, obs]` float32, current observation.
        final_obs: `[env, obs]` float32, last observation of the episode that ended, where one did.
        reward: `[env]` float32.
        terminated: `[env]` bool.
        truncated: `[env]` bool.
        success: `[env]` bool.
        descriptor: The file behind the arrays; a child process that inherits it maps the same memory.
    """

    def __init__(self, slots: int, obs_dim: int, action_dim: int, descriptor: int | None = None) -> None:
        """Maps the arrays: those of `descriptor`, or new ones, all zero."""
        shapes: dict[str, tuple[tuple[int, ...], type]] = {
            "action": ((slots, action_dim), np.float32),
            "goal": ((slots,), np.int64),
            "next_goal": ((slots,), np.int64),
            "next_seed": ((slots,), np.int64),
            "obs": ((slots, obs_dim), np.float32),
            "final_obs": ((slots, obs_dim), np.float32),
            "reward": ((slots,), np.float32),
            "terminated": ((slots,), np.bool_),
            "truncated": ((slots,), np.bool_),
            "success": ((slots,), np.bool_),
        }
        sizes = [math.prod(shape) * np.dtype(kind).itemsize for shape, kind in shapes.values()]
        starts = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]).tolist()
        self.shape = (slots, obs_dim, action_dim)
        self.descriptor = _anonymous_file(starts[-1]) if descriptor is None else descriptor
        memory = mmap.mmap(self.descriptor, starts[-1])
        arrays = {
            name: np.frombuffer(memory, kind, math.prod(shape), start).reshape(shape)
            for (name, (shape, kind)), start in zip(shapes.items(), starts, strict=False)
        }
        self.action, self.goal = arrays["action"], arrays["goal"]
        self.next_goal, self.next_seed = arrays["next_goal"], arrays["next_seed"]
        self.obs, self.final_obs, self.reward = arrays["obs"], arrays["final_obs"], arrays["reward"]
        self.terminated, self.truncated = arrays["terminated"], arrays["truncated"]
        self.success = arrays["success"]

    def close(self) -> None:
        """Gives the file back; the memory itself goes with the last array."""
        os.close(self.descriptor)
