"""The on-policy loop: collect a rollout, learn from it some times over, collect the next."""

import torch

from mtrl.algorithm import Explored, OnPolicyAlgorithm, Rows, Step
from mtrl.config import RunConfig
from mtrl.ranks import ALONE, Ranks
from mtrl.rollouts import RolloutBuffer
from mtrl.runner.loop import TrainingLoop, stream_seed
from mtrl.types import Observations, State
from mtrl.vector.contract import TaskVectorEnv


class OnPolicyLoop(TrainingLoop):
    """Collects rollouts and makes updates from equal parts of every task's steps, each part once an epoch.

    With `OnPolicyAlgorithm.overlap`, the updates from one rollout are made while the environments step for the next,
    spread evenly over its steps: processor and physics work at the same time, and actions come from a policy that is up
    to a rollout ahead of what it learned from. Which updates come before which step is fixed, so the result does not
    depend on timing either way.

    Until `warmup_steps` of each task nothing is learned: statistics are gathered.

    Args:
        algorithm: What learns.
        env: The training environment.
        config: Warm-up, length and seed.
        ranks: Processes that train together; each learns from its own rollouts.
    """

    algorithm: OnPolicyAlgorithm

    def __init__(
        self, algorithm: OnPolicyAlgorithm, env: TaskVectorEnv, config: RunConfig, ranks: Ranks = ALONE
    ) -> None:
        super().__init__(algorithm, env, config, ranks)
        self.rollout = RolloutBuffer(
            algorithm.rollout_steps,
            env.num_envs,
            env.obs_mask.shape[1],
            env.action_mask.shape[1],
            env.device,
            shortest_episode=min(task.horizon for task in env.tasks),
        )
        seed = stream_seed(config.seed, ranks)
        self._lessons = Lessons(algorithm.epochs, algorithm.minibatches, seed, env.device)
        self._obs: Observations

    def start(self) -> None:
        """Starts all episodes."""
        options = {"random_progress": self._config.random_progress}
        self._obs, _ = self.env.reset(seed=self.ranks.seed(self._config.seed), options=options)
        self.algorithm.begin_episodes(torch.ones(self.env.num_envs, dtype=torch.bool, device=self.env.device))

    def advance(self) -> None:
        """One step of the vector environment, and the updates that go with it."""
        explored, twin = self.algorithm.explore(self._obs, self.env.task_id), self.env.twin
        if twin is not None:
            explored = Explored(explored.action[twin], explored.drawn[twin], explored.log_prob[twin])
        self.env.step_async(explored.action)
        if self.algorithm.overlap:
            share = (self.rollout.filled + 1) / self.algorithm.rollout_steps
            self._learn(int(self._lessons.total * share))
        obs, reward, terminated, _, info = self.env.step_wait()
        ended = info["final_mask"]
        self.rollout.add(self._obs, explored.drawn, explored.log_prob, reward, terminated, ended, info["final_obs"])
        self.statistics.add(reward, info)
        self._count_step()
        # Whole trials: where episodes were cut short, some are within one.
        anew = self.rollout.full and (self._rearranged() or self.algorithm.whole_trials)
        over = torch.ones_like(ended) if anew else ended
        self.algorithm.observe(Step(self._obs, explored.action, reward, terminated, over, self.env.task_id))
        self.algorithm.begin_episodes(ended)
        self._obs = obs
        self.follow_success()
        if self.rollout.full:
            self._end_rollout()
        if anew:
            self._obs = self._begin_anew()

    def _end_rollout(self) -> None:
        if self.steps_per_task >= self._config.warmup_steps:
            progress = min(1.0, self.steps_per_task / max(1, self._config.steps_per_task))
            self._lessons.begin(self.algorithm.digest(self.rollout, self._obs, progress))
            if not self.algorithm.overlap:
                self._learn(self._lessons.total)
        self.rollout.clear()

    def _learn(self, until: int) -> None:
        """Updates from the newest complete rollout, up to so many of them."""
        while self._lessons.made < until:
            self.metrics = self.algorithm.update(self._lessons.next())
            self.updates += 1

    def get_state(self) -> State:
        """See `TrainingLoop.get_state`."""
        own = {"rollout": self.rollout.get_state(), "lessons": self._lessons.get_state()}
        return {**super().get_state(), **own}

    def set_state(self, state: State) -> None:
        """See `TrainingLoop.set_state`."""
        super().set_state(state)
        self._obs = self.env.set_state(state["env"])
        self.rollout.set_state(state["rollout"])
        self._lessons.set_state(state["lessons"])


class Lessons:
    """Rows of one rollout, handed out in shuffled parts, some times over.

    Args:
        epochs: How often each row is handed out.
        parts: Parts of an epoch; where rows do not divide among them, a few are left out of each epoch.
        seed: Fixes the order.
        device: Where the rows live.

    Attributes:
        total: Parts in all epochs; 0 before there are rows.
        made: Parts handed out.
    """

    def __init__(self, epochs: int, parts: int, seed: int, device: torch.device) -> None:
        self._epochs, self._parts = epochs, parts
        self._generator = torch.Generator(device).manual_seed(seed)
        self._rows: Rows = {}
        self._order = torch.zeros((0, 0), dtype=torch.int64, device=device)
        self.total = self.made = 0

    def begin(self, rows: Rows) -> None:
        """Takes new rows, `[task, sample, ...]`, in place of the old."""
        self._rows = rows
        self.total, self.made = self._epochs * self._parts, 0

    def next(self) -> Rows:
        """The next part, equally many rows of every task, in an order of its own for each."""
        tasks, samples = next(iter(self._rows.values())).shape[:2]
        part, size = self.made % self._parts, samples // self._parts
        if part == 0:
            draw = torch.rand((tasks, samples), generator=self._generator, device=self._generator.device)
            self._order = draw.argsort(dim=1)
        self.made += 1
        chosen = self._order[:, part * size : (part + 1) * size]
        task = torch.arange(tasks, device=chosen.device)[:, None]
        place = (task * samples + chosen).flatten()
        return {
            name: rows.flatten(0, 1).index_select(0, place).unflatten(0, chosen.shape)
            for name, rows in self._rows.items()
        }

    def get_state(self) -> State:
        """All that is needed to go on, on the CPU; rows that were all handed out are not."""
        rows = self._rows if self.made < self.total else {}
        return {
            "rows": {name: value.cpu().clone() for name, value in rows.items()},
            "order": self._order.cpu().clone(),
            "generator": self._generator.get_state(),
            "counts": [self.total, self.made],
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        device = self._generator.device
        self._rows = {name: value.to(device) for name, value in state["rows"].items()}
        self._order = state["order"].to(device)
        self._generator.set_state(state["generator"].cpu())
        self.total, self.made = (int(count) for count in state["counts"])
