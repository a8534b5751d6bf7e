"""Which goal each world plays, and how far it is, kept on the device; the host deals out goals ahead of time."""

import numpy as np
import torch

from mtrl.goals import INACTIVE, GoalSchedule
from mtrl.scenes.episodes import ScheduledEpisodes
from mtrl.types import State

SPARE = 4
"""Episodes of a slot that may fail between two looks of the host. One that has failed more often plays goals of before
until the host has looked."""


class DeviceEpisodes(ScheduledEpisodes):
    """The running episodes, in the order of the worlds.

    A schedule is Python and decides slot by slot, so the host asks it for the goals of the next episodes and puts them
    into a queue on the device. Every `interval` steps it sees how many episodes each slot had begun an interval ago,
    which it need not wait for, and deals out as many more. The queue holds all that can begin meanwhile, and some more
    for episodes that failing physics cuts short.

    Args:
        horizon: Of each slot, `[env]`.
        goal_counts: Goals that each slot may play.
        world: World of each slot, `[env]`.
        interval: Steps between two looks of the host.
        shortest: Steps of the shortest episode that does not fail.
        device: Where.

    Attributes:
        goal: What each world plays, `[world]` int64; `INACTIVE` where nothing is left.
        elapsed: Steps of each world's episode, `[world]` int64.
    """

    def __init__(
        self,
        horizon: np.ndarray,
        goal_counts: list[int],
        world: np.ndarray,
        *,
        interval: int,
        shortest: int,
        device: torch.device,
    ) -> None:
        super().__init__(goal_counts)
        self._world, self._interval = world, interval
        self._length = 2 * interval // shortest + 2 + SPARE
        slots = len(world)
        by_world = np.empty(slots, np.int64)
        by_world[world] = horizon
        self._horizon = torch.from_numpy(by_world).to(device)
        self.goal = torch.full((slots,), INACTIVE, dtype=torch.int64, device=device)
        self.elapsed = torch.zeros(slots, dtype=torch.int64, device=device)
        self._number = torch.zeros(slots, dtype=torch.int64, device=device)
        self._queue = torch.full((slots, self._length), INACTIVE, dtype=torch.int32, device=device)
        on_cuda = device.type == "cuda"
        # Pinned, so that neither way of copying waits for the device.
        self._host_queue = torch.full((slots, self._length), INACTIVE, dtype=torch.int32, pin_memory=on_cuda)
        self._host_number = torch.zeros(slots, dtype=torch.int64, pin_memory=on_cuda)
        self._seen = torch.cuda.Event() if on_cuda else None
        self._dealt = np.zeros(slots, np.int64)
        self._steps = 0

    def begin(self, seed: int | None, schedule: GoalSchedule | None, *, random_progress: bool) -> None:
        """Puts every world at the start of its first episode, or somewhere in it.

        Raises:
            UserError: The seed is negative.
        """
        schedule = self._begun(seed, schedule)
        rows = self._host_queue.numpy()
        for slot, world in enumerate(self._world.tolist()):
            rows[world, 0] = schedule.first(slot)
        self._dealt[:] = 1
        self._number.zero_()
        self._host_number.zero_()
        self._deal()
        self.goal.copy_(self._queue[:, 0])
        elapsed = np.zeros(len(self._world), np.int64)
        if random_progress:
            elapsed[self._world] = self._progress(self._horizon.cpu().numpy()[self._world])
        self.elapsed.copy_(torch.from_numpy(elapsed))
        self._steps = 0
        self._look()

    def stepped(self) -> torch.Tensor:
        """Notes a step; where the horizon is reached, `[world]` bool."""
        self.elapsed += 1
        return self.elapsed >= self._horizon

    def end(self, ended: torch.Tensor) -> torch.Tensor:
        """Goes on to the next episodes of these worlds, `[world]` bool; returns where there is one."""
        self._number += ended
        following = self._queue.gather(1, (self._number % self._length).unsqueeze(1)).squeeze(1)
        self.goal.copy_(torch.where(ended, following, self.goal))
        self.elapsed.masked_fill_(ended, 0)
        return ended & (self.goal >= 0)

    def keep_supplied(self) -> None:
        """To be called after every step, by the host: deals out goals when it is time."""
        self._steps += 1
        if self._steps % self._interval == 0:
            if self._seen is not None:
                self._seen.synchronize()  # an interval ago: the device is past it, or nearly so
            self._deal()
            self._look()

    def _look(self) -> None:
        """Has the device report how many episodes have begun, for the next time."""
        self._host_number.copy_(self._number, non_blocking=True)
        if self._seen is not None:
            self._seen.record()

    def _deal(self) -> None:
        """Fills the queue as far as episodes seen to be over leave room."""
        assert self._schedule is not None
        rows, begun = self._host_queue.numpy(), self._host_number.numpy()
        room = begun[self._world] + self._length
        behind = np.flatnonzero(self._dealt < room)
        for slot in behind.tolist():
            world = self._world[slot]
            for episode in range(self._dealt[slot], room[slot]):
                before = rows[world, (episode - 1) % self._length]
                goal = self._schedule.following(slot) if before != INACTIVE else INACTIVE
                rows[world, episode % self._length] = goal
        if len(behind):
            self._queue.copy_(self._host_queue, non_blocking=True)
        self._dealt[:] = room

    def get_state(self) -> State:
        """All that is needed to go on, the schedule and the queue included."""
        tensors = {"goal": self.goal, "elapsed": self.elapsed, "number": self._number, "queue": self._queue}
        return {
            **self._schedule_state(),
            **{name: value.cpu().clone() for name, value in tensors.items()},
            "dealt": self._dealt.tolist(),
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._set_schedule_state(state)
        for name, own in (("goal", self.goal), ("elapsed", self.elapsed), ("number", self._number)):
            own.copy_(state[name])
        self._host_queue.copy_(state["queue"])
        self._queue.copy_(self._host_queue)
        self._dealt[:] = state["dealt"]
        self._steps = 0
        self._look()
