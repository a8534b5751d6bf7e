"""Trials: several episodes in a row in the same task with the same goal, in which an agent can find out what is hidden.

Duan et al., "RL2: Fast Reinforcement Learning via Slow Reinforcement Learning", 2016; Wang et al., "Learning to
Reinforcement Learn", 2016.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import torch

from mtrl.errors import UserError
from mtrl.goals import BegunSlots, ResampleGoals
from mtrl.types import Actions, Flags, Observations, Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv, schedule_of
from mtrl.vector.wrapper import WrappedVectorEnv

TOLD = 3
"""Numbers that an observation tells of the step before, beside its action: `REWARD`, `ENDED` and `BEGINS`."""
REWARD, ENDED, BEGINS = -3, -2, -1
"""Where an observation has the reward of the step before, 1 if that ended an episode, and 1 if a trial begins."""


class Told(NamedTuple):
    """An observation of `Trials` taken apart, `[..., env]` or `[..., env, number]`.

    Attributes:
        obs: What the environment shows.
        action: Of the step before, as the environment got it.
        reward: Of the step before.
        ended: Bool, whether it ended an episode.
        begins: Bool, whether a trial begins, and nothing came before.
    """

    obs: torch.Tensor
    action: torch.Tensor
    reward: torch.Tensor
    ended: torch.Tensor
    begins: torch.Tensor


def taken_apart(seen: torch.Tensor, action_dim: int) -> Told:
    """Observations `[..., env, obs]` of `Trials` in their parts.

    Args:
        seen: What `Trials` showed.
        action_dim: Numbers in an action.
    """
    shown = seen.shape[-1] - action_dim - TOLD
    action = seen[..., shown : shown + action_dim]
    return Told(seen[..., :shown], action, seen[..., REWARD], seen[..., ENDED] > 0, seen[..., BEGINS] > 0)


def told_of(action: torch.Tensor, reward: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
    """What the next observations of a trial tell of a step: `[env, act + TOLD]`.

    Args:
        action: `[env, act]`.
        reward: `[env]`.
        ended: `[env]`, whether it ended an episode.
    """
    numbers = torch.stack([reward, ended.to(reward.dtype), torch.zeros_like(reward)], dim=1)
    return torch.cat([action, numbers], dim=1)


def told_first(before: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
    """The same, `[env, act + TOLD]`, with nothing to tell where a trial begins, `[env]`, but that."""
    told = before.masked_fill(begins.unsqueeze(1), 0.0)
    told[:, BEGINS] = begins.to(before.dtype)
    return told


def mask_in_trials(obs_mask: torch.Tensor, action_mask: torch.Tensor) -> torch.Tensor:
    """`[task, obs]` bool, which numbers are real of what `Trials` shows of an environment with these masks."""
    return torch.cat([obs_mask, action_mask, torch.ones_like(obs_mask[:, :1]).expand(-1, TOLD)], dim=1)


class TrialInfo(StepInfo):
    """What `Trials.step` returns besides observation and reward.

    Attributes:
        episode_mask: Where an episode of the trial ended with this step.
        episode: `[env]` int64, number of the episode in its trial that this step belonged to, from 0.
    """

    episode_mask: Flags
    episode: torch.Tensor


class Trials(WrappedVectorEnv):
    """Makes one long episode, a trial, of every so many episodes in a row.

    An observation is that of the environment, then what the step before was: its action and reward, and 1 where it
    ended an episode; then 1 where a trial begins, and nothing came before. `final_mask` and `final_obs` speak of
    trials. The end of a trial is terminal, since what follows is another goal; the end of an episode within it is not.

    Args:
        env: Steps single episodes. It is owned, and closed, by this one.
        episodes: Of a trial.
        adapting: The first so many of them do not count in an evaluation.

    Raises:
        UserError: A trial has no episode, or none that counts.
    """

    def __init__(self, env: TaskVectorEnv, episodes: int, adapting: int = 0) -> None:
        if episodes <= adapting:
            raise UserError(f"a trial of {episodes} episodes with {adapting} to adapt has none that counts: give more")
        action_dim = env.action_mask.shape[1]
        width = env.obs_mask.shape[1] + action_dim + TOLD
        tasks = [replace(task, obs_dim=width, horizon=episodes * task.horizon) for task in env.tasks]
        super().__init__(env, tasks)
        self.trial_episodes, self.adapting, self._seed = episodes, adapting, 0
        self.obs_mask = mask_in_trials(env.obs_mask, env.action_mask)
        self._before = torch.zeros((self.num_envs, action_dim + TOLD), device=env.device)
        self._episode = torch.zeros(self.num_envs, dtype=torch.int64, device=env.device)
        self._real = env.action_mask[env.task_id].to(torch.float32)
        self._action = torch.zeros((self.num_envs, action_dim), device=env.device)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """See `TaskVectorEnv.reset`; a schedule that is given has to hold each goal for all episodes of a trial.

        With `{"random_progress": True}` episodes are whole, and each slot's first trial begins at a later episode, so
        that a task's slots are spread evenly over the episodes of a trial.
        """
        given = dict(options or {})
        self._seed = self._seed if seed is None else int(seed)
        schedule = schedule_of(given) or ResampleGoals(self.goal_counts, self._seed, self.trial_episodes)
        self._episode.zero_()
        if given.pop("random_progress", False):
            slots = torch.bincount(self.task_id)
            place = torch.arange(self.num_envs, device=self.device) - (slots.cumsum(0) - slots)[self.task_id]
            self._episode = place % self.trial_episodes
            schedule = BegunSlots(schedule, self._episode.tolist())
        obs, info = self._env.reset(seed=self._seed, options={**given, "schedule": schedule})
        self._before = told_first(torch.zeros_like(self._before), info["active"])
        return self._whole(obs), info

    def _whole(self, obs: Observations) -> Observations:
        return torch.cat([obs, self._before], dim=1)

    def step_async(self, actions: Actions) -> None:
        """See `TaskVectorEnv.step_async`."""
        self._action = actions.to(self.device) * self._real
        self._env.step_async(actions)

    def step_wait(self) -> tuple[Observations, Rewards, Flags, Flags, TrialInfo]:
        """See `TaskVectorEnv.step_wait`."""
        obs, reward, _, _, info = self._env.step_wait()
        ended, number = info["final_mask"], self._episode.clone()
        self._before = told_of(self._action, reward, ended).mul_(info["active"].unsqueeze(1))
        final = torch.cat([info["final_obs"], self._before], dim=1)
        asked = self.device.type == "cpu"  # another device is not, for the host would wait
        if asked and not ended.any():  # as nearly always
            over, whole = ended.clone(), final.clone()
        else:
            over = ended & (number == self.trial_episodes - 1)
            self._before = told_first(self._before, over)
            self._episode = (number + ended).masked_fill_(over, 0)
            whole = self._whole(obs)
            final = torch.where(over.unsqueeze(1), final, whole)
        told: TrialInfo = {
            **info,
            "final_mask": over,
            "final_obs": final,
            "episode_mask": ended,
            "episode": number,
        }
        return whole, reward, over, torch.zeros_like(over), told

    def get_state(self) -> State:
        """See `TaskVectorEnv.get_state`."""
        own = {
            "before": self._before.cpu().clone(),
            "episode": self._episode.cpu().clone(),
            "episodes": self.trial_episodes,
            "seed": self._seed,
        }
        return {"env": self._env.get_state(), **own}

    def set_state(self, state: State) -> Observations:
        """See `TaskVectorEnv.set_state`."""
        if state["episodes"] != self.trial_episodes:
            raise UserError(f"the saved trials have {state['episodes']} episodes, these {self.trial_episodes}")
        obs = self._env.set_state(state["env"])
        self._before = state["before"].to(self.device)
        self._episode, self._seed = state["episode"].to(self.device), state["seed"]
        return self._whole(obs)
