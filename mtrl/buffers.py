"""Replay on the device: rings over time of all worlds at once, sampled in equal parts of every task."""

import torch
from jaxtyping import Float32, Int64

from mtrl.algorithm import Batch
from mtrl.errors import UserError
from mtrl.trial_index import TrialIndex
from mtrl.types import Actions, Flags, Observations, Rewards

SHORTEST_ON_AVERAGE = 32
"""Room for last observations is kept for episodes of so many steps, if they are not all shorter by their horizon."""


class FinalObservations:
    """The last observation of the newest `rows - 1` episodes of every world.

    Ends of episodes are numbered in each world. The observation of end `e` lies in row `e % rows` of its world, so the
    number says where it is, and whether it is there still.

    Args:
        obs: `[row, world, obs]`, where they are kept; one row of each world is always being written.

    Attributes:
        obs: The same.
        ends: `[world]` int64, ends so far.
    """

    def __init__(self, obs: Float32[torch.Tensor, "row env obs"]) -> None:
        self.obs = obs
        self._rows, self._worlds = obs.shape[:2]
        self.ends = torch.zeros(self._worlds, dtype=torch.int64, device=obs.device)
        self._world = torch.arange(self._worlds, device=obs.device)

    @staticmethod
    def rows_for(steps: int, shortest_episode: int) -> int:
        """Rows of which none is overwritten within so many steps, if no episode is shorter.

        Episodes that end before their horizon count with `SHORTEST_ON_AVERAGE` steps.
        """
        return steps // min(SHORTEST_ON_AVERAGE, shortest_episode) + 2

    def add(self, ended: Flags, final_obs: Observations) -> Int64[torch.Tensor, " env"]:
        """Keeps `final_obs` where an episode ended.

        Returns:
            The number of each world's end, -1 where none was.
        """
        number = torch.where(ended, self.ends, -1)
        # Where no episode ended this writes too, into the row that comes next and that nobody reads before.
        place = self.ends % self._rows * self._worlds + self._world
        self.obs.flatten(0, 1).index_copy_(0, place, final_obs)
        self.ends += ended
        return number

    def find(self, number: torch.Tensor, world: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the observations of some ends are.

        Args:
            number: Of an end, -1 for none; int64 of any shape.
            world: In which it was, of the same shape.

        Returns:
            Places in `[row * world]`, always valid ones, and bool: whether the observation is there.
        """
        there = (number >= 0) & (number > self.ends[world] - self._rows)
        return number.clamp(min=0) % self._rows * self._worlds + world, there


class ReplayBuffer:
    """The newest steps of all worlds: as many as `capacity_per_task` has room for.

    Everything is laid out `[time, world]`, worlds sorted by task. All worlds step together, so the number of a step
    alone says where it is: step `s` in column `s % columns`, written with one copy an array. What comes after a step is
    in the next column, of which there is one more than steps are held; only where an episode ended with the step it is
    kept apart, in `FinalObservations`. Where that was overwritten, since episodes were cut short very often, the
    observation before the step stands in for it, which is what such episodes end with when their physics failed.

    Args:
        num_tasks: Tasks in the suite.
        slots_per_task: Worlds of each.
        capacity_per_task: Transitions held of each task, rounded down to whole steps.
        obs_dim: Numbers in a padded observation.
        action_dim: Numbers in a padded action.
        device: Where the rings live; batches come from there.
        shortest_episode: Steps of the shortest horizon.

    Attributes:
        steps: Steps that were ever added.
        capacity: Steps that are held.

    Raises:
        UserError: The rings do not fit in memory, or not even one step fits in them.
    """

    def __init__(
        self,
        num_tasks: int,
        slots_per_task: int,
        capacity_per_task: int,
        obs_dim: int,
        action_dim: int,
        device: torch.device,
        *,
        shortest_episode: int,
    ) -> None:
        self.num_tasks, self.slots_per_task, self.device = num_tasks, slots_per_task, device
        self.worlds, self.capacity, self.steps = num_tasks * slots_per_task, capacity_per_task // slots_per_task, 0
        if self.capacity < 1:
            raise UserError(
                f"--replay.capacity-per-task {capacity_per_task} is less than one step of {slots_per_task} slots: "
                "give more"
            )
        columns, rows = self.capacity + 1, FinalObservations.rows_for(self.capacity, shortest_episode)
        kinds = {"action": ((action_dim,), torch.float32), "reward": ((), torch.float32)}
        kinds |= {"terminated": ((), torch.bool), "end": ((), torch.int32)}
        try:
            # One behind the other, so that what comes after a step is one gather, wherever it is.
            self._obs = torch.zeros((columns + rows, self.worlds, obs_dim), device=device)
            self._rings = {"obs": self._obs[:columns]} | {
                name: torch.zeros((columns, self.worlds, *width), dtype=kind, device=device)
                for name, (width, kind) in kinds.items()
            }
        except RuntimeError as error:
            gigabytes = self.worlds * (columns * (4 * (obs_dim + action_dim + 2) + 1) + rows * 4 * obs_dim) / 1e9
            raise UserError(
                f"a replay buffer of {capacity_per_task} transitions for each of {num_tasks} tasks needs "
                f"{gigabytes:.1f} GB and does not fit on {device}: lower --replay.capacity-per-task"
            ) from error
        self._final = FinalObservations(self._obs[columns:])

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self._final.obs.nbytes + sum(ring.nbytes for ring in self._rings.values())

    def start(self, obs: Observations) -> None:
        """Takes the observations that the next step begins from, at the beginning or after an interruption."""
        self._rings["obs"][self.steps % (self.capacity + 1)].copy_(obs)

    def cut(self) -> None:
        """Ends all running episodes after the newest step, as by truncation: the next step begins somewhere else."""
        if not self.steps:
            return
        columns = self.capacity + 1
        end, following = self._rings["end"][(self.steps - 1) % columns], self._rings["obs"][self.steps % columns]
        number = self._final.add(end < 0, following)
        end.copy_(torch.where(end < 0, number, end))

    def add(
        self,
        action: Actions,
        reward: Rewards,
        terminated: Flags,
        ended: Flags,
        final_obs: Observations,
        obs: Observations,
    ) -> None:
        """Adds a step of every world.

        Args:
            action: That was taken.
            reward: Of the step.
            terminated: Where no value follows (a truncation is not one).
            ended: Where an episode ended, one way or the other.
            final_obs: After the step, read where `ended` alone.
            obs: After the step, where the next one begins: of the next episode where `ended`.
        """
        column = self.steps % (self.capacity + 1)
        number = self._final.add(ended, final_obs)
        values = {"action": action, "reward": reward, "terminated": terminated, "end": number}
        for name, value in values.items():
            self._rings[name][column].copy_(value)
        self.steps += 1
        self.start(obs)

    def size(self) -> int:
        """Transitions held of each task."""
        return min(self.steps, self.capacity) * self.slots_per_task

    def mean_reward(self) -> Float32[torch.Tensor, " task"]:
        """Mean reward of each task over all transitions that are held."""
        columns = torch.arange(self.steps - min(self.steps, self.capacity), self.steps, device=self.device)
        rewards = self._rings["reward"].index_select(0, columns % (self.capacity + 1))
        return rewards.unflatten(1, (self.num_tasks, -1)).mean(dim=(0, 2))

    def sample(self, per_task: int, generator: torch.Generator, gamma: float, n_step: int = 1) -> Batch:
        """Draws `per_task` transitions of every task with replacement, sorted by task; the host waits for nothing.

        With `n_step` above 1, a transition goes from its first step over so many, fewer where the episode ends or where
        nothing newer is held: `reward` is the discounted sum, `next_obs` what comes after the last of them.

        Args:
            per_task: Transitions of each task.
            generator: On the device.
            gamma: Discount.
            n_step: Steps that a transition goes over.

        Raises:
            UserError: There is no transition yet.
        """
        return self._batch(*self._drawn(per_task, generator), gamma, n_step)

    def sample_trials(
        self, index: TrialIndex, goals: int, context: int, each: int, generator: torch.Generator, gamma: float
    ) -> Batch:
        """Draws transitions of some goals of every task, sorted by task and goal: `context + each` of each goal.

        The first `context` of them are from one trial, the others from all trials of that goal that are known. Where
        none is, all are one random transition.

        Args:
            index: Knows where trials lie.
            goals: Of each task.
            context: Transitions from one trial.
            each: Transitions from all of them.
            generator: On the device.
            gamma: Discount.

        Raises:
            UserError: There is no transition yet.
        """
        step, own = (drawn[:, None] for drawn in self._drawn(goals, generator))
        oldest = self.steps - min(self.steps, self.capacity)
        *found, there = index.draw_trials(index.draw_goals(goals, generator), 1 + each, oldest, generator)
        bounds = []
        for values, instead in zip(found, (step, step, own), strict=True):
            one = torch.where(there[:, :1], values[:, :1], instead)
            others = torch.where(there[:, :1] & there[:, 1:], values[:, 1:], one)
            bounds.append(torch.cat([one.expand(-1, context), others], dim=1))
        first, last, world = bounds
        draw = torch.rand(first.shape, generator=generator, device=self.device, dtype=torch.float64)
        step = first + (draw * (last - first + 1)).to(torch.int64)
        return self._batch(step.flatten(), world.flatten(), gamma, 1)

    def _drawn(self, per_task: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps and worlds of `per_task` transitions of every task, sorted by task."""
        if not self.steps:
            raise UserError("there are no transitions to sample from yet: raise --warmup-steps")
        draw = torch.rand((self.num_tasks, per_task), generator=generator, device=self.device, dtype=torch.float64)
        place = (draw * self.size()).to(torch.int64)
        # The oldest held step is found at the same place as ever, so that draws mean the same however far the ring is.
        step = self.steps - self.capacity + (place // self.slots_per_task - self.steps) % self.capacity
        task = torch.arange(self.num_tasks, device=self.device)[:, None]
        world = (task * self.slots_per_task + place % self.slots_per_task).flatten()
        return step.flatten(), world

    def _batch(self, step: torch.Tensor, world: torch.Tensor, gamma: float, n_step: int) -> Batch:
        """The transitions from some steps of some worlds, `[batch]`."""
        first = self._place(step, world)
        reward, steps = self._rewards(step, world, gamma, n_step)
        last = first if n_step == 1 else self._place(step + steps - 1, world)
        return Batch(
            obs=self._at("obs", first),
            action=self._at("action", first),
            reward=reward,
            next_obs=self._after(last, world),
            terminated=self._at("terminated", last).to(torch.float32),
            task_id=world // self.slots_per_task,
            discount=torch.pow(gamma, steps.to(torch.float64)).to(torch.float32),
        )

    def _rewards(
        self, step: torch.Tensor, world: torch.Tensor, gamma: float, n_step: int
    ) -> tuple[Float32[torch.Tensor, " batch"], Int64[torch.Tensor, " batch"]]:
        """The discounted sum of up to `n_step` rewards, and of how many."""
        place = self._place(step, world)
        total, steps = self._at("reward", place), torch.ones_like(step)
        going = torch.ones_like(step, dtype=torch.bool)
        for ahead in range(1, n_step):
            going &= (self._at("end", place) < 0) & (step + ahead < self.steps)
            place = self._place(step + ahead, world)
            # Beyond the newest step lies an old one, whose reward is not counted.
            total += torch.where(going, gamma**ahead * self._at("reward", place), 0.0)
            steps += going
        return total, steps

    def _after(self, place: torch.Tensor, world: torch.Tensor) -> Float32[torch.Tensor, "batch obs"]:
        """The observations that the steps in some places led to, before any autoreset."""
        number = self._at("end", place).to(torch.int64)
        kept, there = self._final.find(number, world)
        columns = self.capacity + 1
        # The next column, or, where an episode ended and nothing else is there, the one of the step itself.
        following = (place + (number < 0) * self.worlds) % (columns * self.worlds)
        source = torch.where(there, columns * self.worlds + kept, following)
        return self._obs.flatten(0, 1).index_select(0, source)

    def _place(self, step: torch.Tensor, world: torch.Tensor) -> torch.Tensor:
        """Where steps of worlds are, in `[time * world]`."""
        return step % (self.capacity + 1) * self.worlds + world

    def _at(self, name: str, place: torch.Tensor) -> torch.Tensor:
        return self._rings[name].flatten(0, 1).index_select(0, place)

    def rows_since(self, mark: int) -> dict[str, torch.Tensor]:
        """The steps added since `steps` was `mark`, as far as they are still held, on the CPU.

        Returns:
            `start` and `count` (`[1]`, first step and number of steps), the columns `[time, world, ...]`, of `obs` one
            more, `final_obs` `[end, obs]` in the order of steps and worlds, and `ends` `[world]`.
        """
        start = max(mark, self.steps - self.capacity)
        count = self.steps - start
        rows = {name: self._span(name, start, count + (name == "obs")) for name in self._rings}
        ended = (rows["end"] >= 0).nonzero().to(self.device)
        final_obs = self._after(self._place(start + ended[:, 0], ended[:, 1]), ended[:, 1]).cpu()
        place = {"start": torch.tensor([start]), "count": torch.tensor([count])}
        return {**place, **rows, "final_obs": final_obs, "ends": self._final.ends.cpu()}

    def _span(self, name: str, start: int, count: int) -> torch.Tensor:
        """Columns on the CPU; not gathered on the device, which may have no room for a copy."""
        ring, first = self._rings[name], start % (self.capacity + 1)
        pieces = ring[first : first + count].cpu(), ring[: max(0, first + count - len(ring))].cpu()
        return torch.cat(pieces)

    def extend(self, rows: dict[str, torch.Tensor]) -> None:
        """Puts back what `rows_since` gave; spans go in the order in which they were taken.

        Raises:
            UserError: The rows are of another shape.
        """
        if not self._fits(rows):
            raise UserError(
                "saved replay rows do not fit this suite: resume with the configuration and the version of the run"
            )
        start, count = int(rows["start"]), int(rows["count"])
        for name, ring in self._rings.items():
            columns = torch.arange(start, start + len(rows[name])) % len(ring)
            ring[columns.to(self.device)] = rows[name].to(self.device)
        self.steps = start + count
        self._final.ends.copy_(rows["ends"])
        time, world = (rows["end"] >= 0).nonzero().unbind(1)
        number = rows["end"][time, world].to(self.device, torch.int64)
        place, there = self._final.find(number, world.to(self.device))
        self._final.obs.flatten(0, 1)[place[there]] = rows["final_obs"].to(self.device)[there]

    def _fits(self, rows: dict[str, torch.Tensor]) -> bool:
        names = {"start", "count", "final_obs", "ends", *self._rings}
        return set(rows) == names and all(
            rows[name].shape[1:] == ring.shape[1:] and len(rows[name]) <= len(ring)
            for name, ring in self._rings.items()
        )
