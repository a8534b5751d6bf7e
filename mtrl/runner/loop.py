"""The contract of a training loop, and the statistics of training episodes that all loops keep."""

import abc
import math
from collections import deque
from typing import Any

import numpy as np
import torch

from mtrl.algorithm import Metrics
from mtrl.config import RunConfig
from mtrl.evaluation import Episode, RunningEpisodes
from mtrl.ranks import ALONE, Ranks
from mtrl.seeds import derived_seed
from mtrl.types import Observations, Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv, slots_of_each_task
from mtrl.vector.shifting import ShiftingWorlds

STREAM = 1
"""Which of the random streams under the run's seed is the training loop's; agents use the seed itself."""
FOLLOWED = 64
"""At least so many steps lie between two looks of the agent at how its tasks do."""
Recent = dict[str, deque[tuple[int, float]]]
"""Success and return of a task's last episodes, by task."""
WINDOW = 20
"""Training episodes of each task that success and return are averaged over."""


def stream_seed(seed: int, ranks: Ranks) -> int:
    """What a training loop draws with, in each process something else."""
    own = [ranks.rank] if ranks.rank else []
    return int(np.random.SeedSequence([seed, STREAM, *own]).generate_state(1)[0])


class EpisodeStatistics:
    """Success (at any step) and return of the last episodes of every task.

    In trials whose first episodes are there to adapt in, those are counted apart.

    Args:
        env: The training environment.
    """

    def __init__(self, env: TaskVectorEnv) -> None:
        self._env, self._running = env, RunningEpisodes(env)
        self._recent: Recent = {task.name: deque(maxlen=WINDOW) for task in env.tasks}
        self._adapting: Recent = {task.name: deque(maxlen=WINDOW) for task in env.tasks}

    def add(self, reward: Rewards, info: StepInfo) -> None:
        """Takes in one step; what ended with it may be looked at later (`TaskVectorEnv.report_every`)."""
        self._take(self._running.add(reward, info))

    def _take(self, episodes: list[Episode]) -> None:
        for episode in episodes:
            counted = self._adapting if episode.number < self._env.adapting else self._recent
            counted[episode.task].append((episode.success_any, episode.return_))

    def drop_running(self) -> None:
        """Forgets the episodes that are under way: all worlds begin others."""
        self._take(self._running.collect())
        self._running.drop()

    def metrics(self) -> dict[str, float]:
        """`train/success` and `train/return`, as means over tasks and for each task; NaN before the first episode.

        `train/faults` counts the episodes that were cut short because their physics failed; `train/adapting/success`
        and `train/adapting/return` are means over tasks.
        """
        self._take(self._running.collect())
        result = {"train/faults": float(self._env.faults.sum())}
        for name, column in (("success", 0), ("return", 1)):
            of_task = dict(zip(self._recent, _means(self._recent, column), strict=True))
            result[f"train/{name}"] = sum(of_task.values()) / len(of_task)
            result |= {f"train/{name}/{task}": value for task, value in of_task.items()}
            if self._env.adapting:
                result[f"train/adapting/{name}"] = sum(_means(self._adapting, column)) / len(of_task)
        return result

    def success(self) -> torch.Tensor:
        """`[task]`, success of the last episodes as far as they were looked at; NaN before the first."""
        return torch.tensor(_means(self._recent, 0), device=self._env.device)

    def get_state(self) -> State:
        """All that is needed to go on."""
        self._take(self._running.collect())
        recent, adapting = (
            {task: [list(row) for row in rows] for task, rows in counted.items()}
            for counted in (self._recent, self._adapting)
        )
        return {"running": self._running.get_state(), "recent": recent, "adapting": adapting}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        self._running.set_state(state["running"])
        for counted, saved in ((self._recent, state["recent"]), (self._adapting, state.get("adapting", {}))):
            for task, rows in saved.items():
                counted[task] = deque([(int(s), float(r)) for s, r in rows], maxlen=WINDOW)


def _means(recent: Recent, column: int) -> list[float]:
    """Of each task's last episodes: success (0) or return (1)."""
    return [sum(row[column] for row in rows) / len(rows) if rows else math.nan for rows in recent.values()]


class TrainingLoop(abc.ABC):
    """One way to train: off-policy, on-policy or meta. The session calls it; logging, evaluation, checkpoints are its.

    Attributes:
        algorithm: What learns; has `act`, `weights`, `load_weights`, `get_state`, `set_state`.
        env: What it learns from.
        ranks: Processes that train together; steps are counted over all of them.
        slots_per_task: Slots of each task, in this process.
        statistics: Of the training episodes.
        vector_steps: Steps of the vector environment so far.
        played: Steps of the worlds of each task so far, in this process.
        updates: Gradient updates so far.
        carried: Environment steps of each task that were made elsewhere, on another engine or in other worlds.
        metrics: What the newest update reported.
        has_replay: Whether what is learned from is saved apart, as rows (`replay_rows`).

    Raises:
        UserError: The tasks of `env` have different numbers of slots.
    """

    has_replay = False
    carried = 0
    ranks: Ranks = ALONE

    def __init__(self, algorithm: Any, env: TaskVectorEnv, config: RunConfig, ranks: Ranks = ALONE) -> None:
        self.algorithm, self.env, self.ranks, self._config = algorithm, env, ranks, config
        self.statistics = EpisodeStatistics(env)
        self.slots_per_task = slots_of_each_task(env)
        self.vector_steps = self.updates = self._before = self._looks = self._restarts = 0
        self.played = [0] * len(env.tasks)
        self.metrics: Metrics = {}

    @property
    def env_step(self) -> int:
        """Environment steps over all tasks."""
        return self.carried * len(self.played) + sum(self.played) * self.ranks.size

    @property
    def steps_per_task(self) -> int:
        """Environment steps of each task; their mean, rounded down, where worlds shift."""
        return self.env_step // len(self.played)

    @property
    def _step(self) -> int:
        """Environment steps of each task in one step of the vector environments, if all worlds play."""
        return self.slots_per_task * self.ranks.size

    def _count_step(self) -> None:
        self._before = self.steps_per_task
        self.vector_steps += 1
        self.played = [so_far + count for so_far, count in zip(self.played, self.env.playing, strict=True)]

    def crossed(self, every: int, reports: int = 1) -> bool:
        """Whether the last step reached or passed a multiple of so many environment steps a task; 0 never does.

        Args:
            every: Environment steps of a task.
            reports: Where the host looks at the device only now and then, a multiple is at least so many looks long:
                thousands of worlds would pass one at nearly every step.
        """
        if self.env.report_every > 1 and every:
            every = max(every, reports * self.env.report_every * self._step)
        return every > 0 and self.steps_per_task // every > self._before // every

    def follow_success(self) -> None:
        """Tells the agent how its tasks do, now and then; called after every step."""
        if not self.algorithm.follows_success:
            return
        reports = self.env.report_every
        if self.vector_steps % (reports * math.ceil(FOLLOWED / reports)) == 0:
            self.algorithm.follow_success(self.ranks.mean(self.statistics.success())[0])

    def _rearranged(self) -> bool:
        """Whether worlds shift now, and all of them are to begin anew."""
        env, looks = self.env, self.steps_per_task // self._config.shift.every
        if not isinstance(env, ShiftingWorlds) or looks == self._looks:
            return False
        self._looks = looks
        return env.arrange(self.ranks.mean(self.statistics.success())[0])

    def _begin_anew(self) -> Observations:
        """New episodes in all worlds, and what they begin with."""
        self._restarts += 1
        options = {"random_progress": self._config.random_progress}
        seed = derived_seed(self.ranks.seed(self._config.seed), self._restarts)
        obs, _ = self.env.reset(seed=seed, options=options)
        self.statistics.drop_running()
        self.algorithm.begin_episodes(torch.ones(self.env.num_envs, dtype=torch.bool, device=self.env.device))
        return obs

    def shifted(self) -> dict[str, int]:
        """Where worlds shift: how many of each task play, and how many steps each has taken."""
        if not isinstance(self.env, ShiftingWorlds):
            return {}
        told = {}
        for task, count, steps in zip(self.env.tasks, self.env.playing, self.played, strict=True):
            told[f"worlds/{task.name}"] = count * self.ranks.size
            told[f"steps/{task.name}"] = self.carried + steps * self.ranks.size
        return told

    @property
    def place(self) -> dict[str, Any]:
        """Where the run is: on what it can go on exactly."""
        return {"engine": self.env.engine_name, "device": self.env.device.type, "worlds": self.env.num_envs}

    @abc.abstractmethod
    def start(self) -> None:
        """Begins a new run."""

    @abc.abstractmethod
    def advance(self) -> None:
        """The smallest whole piece of training, between two of which a run can be saved and stopped."""

    def get_state(self) -> State:
        """All that is needed to go on, besides weights and replay."""
        return {
            "algorithm": self.algorithm.get_state(),
            "env": self.env.get_state(),
            "statistics": self.statistics.get_state(),
            "vector_steps": self.vector_steps,
            "played": list(self.played),
            "before": self._before,
            "looks": self._looks,
            "restarts": self._restarts,
            "carried": self.carried,
            "steps_per_task": self.steps_per_task,
            "updates": self.updates,
            "metrics": {name: value.cpu() for name, value in self.metrics.items()},
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.env.device) if self.env.device.type == "cuda" else None,
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state; the weights are loaded already."""
        self.algorithm.set_state(state["algorithm"])
        self.statistics.set_state(state["statistics"])
        self.vector_steps, self.carried = int(state["vector_steps"]), int(state["carried"])
        self.played, self._before = [int(steps) for steps in state["played"]], int(state["before"])
        self._looks = int(state["looks"])
        self.updates, self._restarts = int(state["updates"]), int(state["restarts"])
        self.metrics = dict(state["metrics"])
        torch.set_rng_state(state["torch_rng"])
        if state["cuda_rng"] is not None and self.env.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.env.device)

    def carry_over(self, state: State) -> None:
        """Goes on elsewhere: with what the agent has gathered, and new episodes.

        Weights are loaded already, and so is the replay where there are as many worlds as before.
        """
        self.start()
        self.algorithm.set_state(state["algorithm"])
        self.algorithm.begin_elsewhere()
        self.carried, self.updates = int(state["steps_per_task"]), int(state["updates"])
        self._before = self.carried
        self.metrics = {name: value.to(self.env.device) for name, value in state["metrics"].items()}

    def replay_rows(self) -> dict[str, torch.Tensor] | None:
        """Replay rows since the last `replay_saved`; None where the loop has no replay."""
        return None

    def replay_saved(self) -> None:  # noqa: B027 - only where there is a replay
        """The rows that `replay_rows` gave are on the disk."""

    def put_replay(self, rows: dict[str, torch.Tensor]) -> None:  # noqa: B027 - only where there is a replay
        """Takes back a span of rows."""
