"""The off-policy loop: act, step the environments, learn from replay meanwhile."""

import math

import torch

from mtrl.algorithm import OffPolicyAlgorithm, Step
from mtrl.buffers import ReplayBuffer
from mtrl.config import RunConfig
from mtrl.ranks import ALONE, Ranks
from mtrl.runner.loop import TrainingLoop, stream_seed
from mtrl.trial_index import TrialIndex
from mtrl.types import Actions, Observations, State
from mtrl.vector.contract import TaskVectorEnv


class OffPolicyLoop(TrainingLoop):
    """Collects transitions into a replay buffer and updates from it while the environments step.

    The updates of a step see the buffer as it was before that step, so the result does not depend on how the two
    overlap. Between two reports of the environment (`TaskVectorEnv.report_every`) the host waits for nothing: actions,
    transitions, batches and updates stay on the environment's device.

    Args:
        algorithm: What learns.
        env: The training environment.
        config: Warm-up, replay, updates and seed.
        ranks: Processes that train together; each holds its part of the replay.
    """

    algorithm: OffPolicyAlgorithm
    has_replay = True

    def __init__(
        self, algorithm: OffPolicyAlgorithm, env: TaskVectorEnv, config: RunConfig, ranks: Ranks = ALONE
    ) -> None:
        super().__init__(algorithm, env, config, ranks)
        obs_dim, action_dim = env.obs_mask.shape[1], env.action_mask.shape[1]
        self.buffer = ReplayBuffer(
            len(env.tasks),
            self.slots_per_task,
            config.replay.capacity_per_task // ranks.size,
            obs_dim,
            action_dim,
            env.device,
            shortest_episode=min(task.horizon for task in env.tasks),
        )
        goals = max(env.goal_set.counts) if algorithm.by_goal else 0
        self._index = TrialIndex(env.task_id, goals, env.device) if goals else None
        self._generator = torch.Generator(env.device).manual_seed(stream_seed(config.seed, ranks))
        self._saved_steps = 0
        self._learning_steps, self._regular_updates = 0, 0
        self._random_until = math.ceil(config.warmup_steps / self._step)
        self._learn_from = max(1, self._random_until)
        self._obs: Observations

    def start(self) -> None:
        """Starts all episodes."""
        options = {"random_progress": self._config.random_progress}
        self._obs, _ = self.env.reset(seed=self.ranks.seed(self._config.seed), options=options)
        self.buffer.start(self._obs)
        self.algorithm.begin_episodes(torch.ones(self.env.num_envs, dtype=torch.bool, device=self.env.device))

    def advance(self) -> None:
        """One step of the vector environment, and the updates that go with it."""
        action = self._choose_action()
        self.env.step_async(action)
        self._learn()
        obs, reward, terminated, _, info = self.env.step_wait()
        self.statistics.add(reward, info)
        self._count_step()
        ended = info["final_mask"]
        if self._rearranged():
            obs, ended = self._begin_anew(), torch.ones_like(ended)
        if self._index is not None:
            self._index.add(self.buffer.steps, ended, info["goal_index"])
        self.buffer.add(action, reward, terminated, ended, info["final_obs"], obs)
        self.algorithm.observe(Step(self._obs, action, reward, terminated, ended, self.env.task_id))
        self.algorithm.begin_episodes(ended)
        self._obs = obs
        self.follow_success()

    def _choose_action(self) -> Actions:
        if self.vector_steps >= self._random_until:
            action = self.algorithm.act(self._obs, self.env.task_id, mode=False)
        else:
            shape = (self.env.num_envs, self.env.action_mask.shape[1])
            action = 2.0 * torch.rand(shape, generator=self._generator, device=self.env.device) - 1.0
        return action if self.env.twin is None else action[self.env.twin]

    def _learn(self) -> None:
        """The updates that are due. Counted from whole steps, so that a fraction never drifts."""
        if self.vector_steps < self._learn_from:
            return
        self._learning_steps += 1
        due = int(self._learning_steps * self._config.updates_per_step) - self._regular_updates
        agent = self.algorithm
        extra = agent.begin_updates(self.steps_per_task, self.buffer)
        for _ in range(due + extra):
            self.metrics = agent.update(agent.draw(self.buffer, self._index, self._generator))
        self._regular_updates += due
        self.updates += due + extra

    def get_state(self) -> State:
        """See `TrainingLoop.get_state`; the replay is saved apart."""
        counters = {"learning_steps": self._learning_steps, "regular_updates": self._regular_updates}
        starts = {"learn_from": self._learn_from, "random_until": self._random_until}
        own = {"generator": self._generator.get_state(), **starts}
        index = {} if self._index is None else {"index": self._index.get_state()}
        return {**super().get_state(), **own, **counters, **index}

    def set_state(self, state: State) -> None:
        """See `TrainingLoop.set_state`; where no replay was saved, it is filled again before learning goes on."""
        super().set_state(state)
        self._obs = self.env.set_state(state["env"])
        self._generator.set_state(state["generator"])
        self._learning_steps, self._learn_from = int(state["learning_steps"]), int(state["learn_from"])
        self._random_until = int(state["random_until"])
        self._regular_updates = int(state["regular_updates"])
        self.buffer.start(self._obs)
        if self._index is not None and self.buffer.steps:
            self._index.set_state(state["index"])
        if not self.buffer.steps:
            self._learn_from = self.vector_steps + max(1, math.ceil(self._config.warmup_steps / self._step))

    def carry_over(self, state: State) -> None:
        """See `TrainingLoop.carry_over`; without its replay, it is filled again before learning goes on."""
        self.buffer.cut()
        super().carry_over(state)
        if self._index is not None and self.buffer.steps:
            self._index.set_state(state["index"])
            self._index.begin_anew(self.buffer.steps)
        self._learn_from = 1 if self.buffer.steps else max(1, self._random_until)
        self._random_until = self._saved_steps = 0  # what was saved does not know where episodes were cut

    def replay_rows(self) -> dict[str, torch.Tensor] | None:
        """See `TrainingLoop.replay_rows`."""
        return self.buffer.rows_since(self._saved_steps)

    def replay_saved(self) -> None:
        """See `TrainingLoop.replay_saved`."""
        self._saved_steps = self.buffer.steps

    def put_replay(self, rows: dict[str, torch.Tensor]) -> None:
        """See `TrainingLoop.put_replay`."""
        self.buffer.extend(rows)
        self.replay_saved()
