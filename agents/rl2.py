"""RL2: a policy with memory that learns, over a trial, what the task and the goal are.

Duan et al., "RL2: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016. The learner is proximal policy
optimisation; an episode of it is a whole trial (`mtrl.vector.trials.Trials`), so values and advantages run on across
the episodes of a trial, and nothing runs on from one trial to the next.
"""

import copy
import dataclasses
from typing import cast

import torch

from mtrl.algorithm import Explored, Metrics, Policy, Rows
from mtrl.errors import UserError
from mtrl.parts.groups import GroupMemory, Groups
from mtrl.parts.network import Network, Outputs
from mtrl.rollouts import PerStep, RolloutBuffer
from mtrl.types import Actions, Observations, State, TaskIds
from mtrl.vector.trials import REWARD, TOLD

from .advantages import by_task
from .holding import Holding, decisions_of
from .memory import Recall, WithMemory
from .meta_checks import refuse_own_parts, refuse_several_processes
from .ppo import PPO
from .rl2_config import RL2Config, places_in
from .statistics import ObsNormalizer


class RL2(PPO):
    """PPO whose networks remember the trial, and whose samples are sequences.

    Args:
        config: Hyperparameters.
        problem: Tasks, masks, device and seed; observations are those of `Trials`.
    """

    config: RL2Config
    _remembered: torch.Tensor | None = None
    """`[env, width]`, of the worlds that are acted in."""
    _width: int
    """Numbers of a memory: its units, and what it recalls."""
    _carried: torch.Tensor | None = None
    """`[env, 2 * width]`, memories of actor and critics before the first step of the rollout."""
    _adapting: torch.Tensor | None = None
    """`[env]` bool, where actions are sampled whatever is asked for; None: nowhere."""
    _late: torch.Tensor | None = None
    """`[env, flag]`, what was told after the last decision of the newest rollout."""
    _input_scale: torch.Tensor
    """`[obs]`, see `_build_input_scale`."""
    _judged: torch.Tensor
    """`[env, width]`, the critics' memory after the last step of the newest rollout."""

    def _build_networks(self, seed: int) -> tuple[Network, Network]:
        refuse_several_processes(self.problem, "RL2")
        problem, fan_in = self.problem, self.problem.obs_mask.shape[1]
        recall = Recall(self._shown if self.config.recall else 0)
        width = self._width = self.config.memory + recall.width
        self._input_scale, self._holding = self._build_input_scale(), Holding(self.config.hold)
        beside = torch.ones((problem.num_tasks, width), dtype=torch.bool, device=problem.obs_mask.device)
        seen = dataclasses.replace(problem, obs_mask=torch.cat([problem.obs_mask, beside], dim=1))
        generator = torch.Generator().manual_seed(seed)
        bodies = self._build_bodies(seen, seed)
        for body, config in zip(bodies, (self.config.actor, self.config.critic), strict=True):
            refuse_own_parts(body, config)
        actor, critics = (
            WithMemory(body, fan_in, self.config.memory, self.config.decisions, place, generator, recall)
            for place, body in enumerate(bodies)
        )
        return actor.to(problem.device), critics.to(problem.device)

    @property
    def _shown(self) -> int:
        """Numbers of an observation that are the environment's."""
        return self.problem.obs_mask.shape[1] - self.problem.action_mask.shape[1] - TOLD

    def _build_input_scale(self) -> torch.Tensor:
        """`[obs]`, what each number of an observation is multiplied with before networks see it; 0: they do not."""
        problem, places = self.problem, places_in(self.config.unseen)
        if places and max(places) >= self._shown:
            raise UserError(
                f"--algorithm.unseen names place {max(places)} of an observation of {self._shown} numbers: "
                f"give 0 to {self._shown - 1}"
            )
        scale = torch.ones(problem.obs_mask.shape[1], device=problem.device)
        scale[places], scale[REWARD] = 0.0, self.config.reward_seen
        return scale

    def _build_normalizer(self) -> ObsNormalizer:
        """Normalises what environments show and pay by all tasks together, which tells nothing of the task."""
        mask = self.problem.obs_mask.any(dim=0, keepdim=True).to(self.problem.device).clone()
        mask[:, -(self.problem.action_mask.shape[1] + TOLD) :] = False
        mask[:, REWARD] = True
        return ObsNormalizer(mask, self._ranks)

    def _normal(self, obs: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        return super()._normal(obs, torch.zeros_like(task_id)) * self._input_scale

    def _act_outputs(self, obs: Observations, groups: Groups) -> tuple[torch.Tensor, torch.Tensor]:
        task_id = groups.task_id.clamp(max=self.problem.num_tasks - 1)  # tasks never met may be more
        rows, actor = self._normal(groups.split(obs), task_id), cast(WithMemory, self.actor)
        if self._remembered is None or len(self._remembered) != len(obs):
            self._remembered = torch.zeros((len(obs), self._width), device=obs.device)
        outputs, memory = actor.step(rows, groups.split(self._remembered), task_id)
        self._remembered = groups.join(memory)
        return outputs[0], self._mask[task_id].unsqueeze(1)

    def compile(self) -> None:
        """See `Algorithm.compile`.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "--compile would unroll all steps of a trial, which takes longer than it saves: leave it out for agents "
            "with memory"
        )

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """See `Algorithm.act`."""

        def decide(seen: Observations) -> Explored:
            groups = self._memory.of(task_id)
            outputs, mask = self._act_outputs(seen, groups)
            action = self._likeliest(outputs, mask, groups) if mode else self._drawn(outputs, mask, groups, len(seen))
            if mode and self._adapting is not None:
                drawn = self._drawn(outputs, mask, groups, len(seen))
                action = torch.where(self._adapting.unsqueeze(1), drawn, action)
            return Explored(action, action, torch.zeros(len(seen), device=seen.device))

        return self._holding(obs, decide).action

    def adapts(self, mask: torch.Tensor) -> None:
        """See `Policy`: there actions are sampled, if they are to be."""
        self._adapting = mask if self.config.sampled_adaptation else None

    @torch.no_grad()
    def explore(self, obs: Observations, task_id: TaskIds) -> Explored:
        """See `OnPolicyAlgorithm.explore`."""
        explore = super().explore
        return self._holding(obs, lambda seen: explore(seen, task_id))

    def player(self) -> Policy:
        """See `Algorithm.player`: the same networks, with a memory of other worlds and random numbers of its own."""
        other = copy.copy(self)
        other._generator = torch.Generator(self.problem.device).manual_seed(self.problem.seed + 2)
        other._holding, other._adapting = self._holding.anew(), None
        other._remembered, other._carried, other._memory = None, None, GroupMemory()
        return other

    @torch.no_grad()
    def digest(self, rollout: RolloutBuffer, last_obs: Observations, progress: float) -> Rows:
        """Sequences `[task, world, step, ...]`; beside what is seen, memories as they were before the first step.

        Raises:
            UserError: There are too few worlds.
        """
        steps, worlds = self.config.decisions, len(last_obs) // self.problem.num_tasks
        if worlds < self.minibatches:
            raise UserError(
                f"{worlds} worlds a task in this process cannot be divided into --algorithm.minibatches "
                f"{self.minibatches} parts of whole sequences: give fewer parts, or more --slots-per-task"
            )
        if self._carried is None:
            self._carried = torch.zeros((len(last_obs), 2 * self._width), device=last_obs.device)
        rollout, last_obs, self._late = decisions_of(rollout, last_obs, self._late, self.config.hold)
        critics = self._carried[:, self._width :]
        rows = super().digest(rollout, last_obs, progress)
        if self.config.baseline == "linear":
            rows["obs"] = self._with_memories(rows["obs"], self._carried)
        else:
            critics = self._judged
        self._carried = torch.cat([cast(torch.Tensor, self._remembered), critics], dim=1)
        return {name: row.unflatten(1, (steps, -1)).movedim(2, 1) for name, row in rows.items()}

    def _with_memories(self, rows: torch.Tensor, memories: torch.Tensor) -> torch.Tensor:
        """`[task, sample, obs]`, samples sorted by step, with every world's memories, `[env, 2 * width]`, beside."""
        beside = memories.unflatten(0, (len(rows), -1))
        return torch.cat([rows, beside.repeat(1, rows.shape[1] // beside.shape[1], 1)], dim=-1)

    def _judge(self, rollout: RolloutBuffer, last_obs: Observations) -> tuple[torch.Tensor, Outputs, PerStep]:
        """See `PPO._judge`; the end of a trial is terminal, so it has no value."""
        tasks, task_id, steps = self.problem.num_tasks, self._groups.task_id, len(rollout.obs)
        rows = self._normal(by_task(torch.cat([rollout.obs, last_obs[None]]), tasks), task_id)
        rows = self._with_memories(rows, cast(torch.Tensor, self._carried))
        outputs, memory = cast(WithMemory, self.critics).sequence(rows, task_id, steps + 1)
        self._judged = memory[:, steps - 1].flatten(0, 1)
        last = self._values(outputs, steps + 1)[-1:]
        nothing = torch.zeros((len(rollout.final_obs), len(last_obs)), device=last_obs.device)
        samples = steps * len(last_obs) // tasks
        return rows[:, :samples], outputs[:, :, :samples], torch.cat([last, nothing])

    def update(self, rows: Rows) -> Metrics:
        """One step each of critics and actor, from some sequences of every task."""
        return super().update({name: row.movedim(2, 1).flatten(1, 2) for name, row in rows.items()})

    def get_state(self) -> State:
        """See `PPO.get_state`; what is remembered of the trials that go on, too."""
        now, before = (None if memory is None else memory.cpu().clone() for memory in (self._remembered, self._carried))
        late = None if self._late is None else self._late.cpu().clone()
        held = {"holding": self._holding.get_state(), "late": late}
        return {**super().get_state(), **held, "memory": now, "carried": before}

    def set_state(self, state: State) -> None:
        """See `PPO.set_state`."""
        self._remembered, self._carried = (
            None if memory is None else memory.to(self.problem.device) for memory in (state["memory"], state["carried"])
        )
        self._holding.set_state(state["holding"], self.problem.device)
        self._late = None if state["late"] is None else state["late"].to(self.problem.device)
        super().set_state(state)

    def begin_elsewhere(self) -> None:
        """See `Algorithm.begin_elsewhere`."""
        self._remembered = self._carried = self._late = None
        self._holding = self._holding.anew()
        super().begin_elsewhere()
