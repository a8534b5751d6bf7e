"""Rollouts on the device for on-policy learning: storage over time of all worlds, and advantages computed from it."""

import copy

import torch
from jaxtyping import Bool, Float32

from mtrl.buffers import FinalObservations
from mtrl.errors import UserError
from mtrl.types import Actions, Flags, Observations, Rewards, State

PerStep = Float32[torch.Tensor, "time env"]
PerWorld = Float32[torch.Tensor, " env"]


class RolloutBuffer:
    """So many steps of all worlds, one after the other, laid out `[time, world]`; the host waits for nothing.

    What an episode ended with is kept where one did, in a few rows a world, so that the values of all of them are one
    call of the critic for each rollout:

        buffer.add(...)                                     # `steps` times
        value, final_value = critic(buffer.obs), critic(buffer.final_obs)  # [time, world], [row, world]
        following = buffer.next_values(value, critic(obs), final_value)
        advantage, target = gae(buffer.reward, value, following, buffer.terminated, buffer.ended, ...)
        buffer.clear()

    Args:
        steps: Steps of a rollout.
        worlds: Worlds that step together.
        obs_dim: Numbers in a padded observation.
        action_dim: Numbers in a padded action.
        device: Where it lives.
        shortest_episode: Steps of the shortest horizon. Where more episodes end in a rollout than this lets expect, by
            failing physics say, the value before the last step stands in for the value after it.

    Attributes:
        obs: `[time, world, obs]`, before each step.
        action: `[time, world, act]`, as the policy drew it.
        log_prob: `[time, world]`, of that action.
        age: `[time, world]` int32, steps since the episode began, or since it was first seen.
        reward: `[time, world]`, of the step.
        terminated: `[time, world]` bool, where no value follows.
        ended: `[time, world]` bool, where an episode ended, terminated or truncated.
    """

    def __init__(
        self, steps: int, worlds: int, obs_dim: int, action_dim: int, device: torch.device, *, shortest_episode: int
    ) -> None:
        self._steps, self._filled = steps, 0
        self.obs = torch.zeros((steps, worlds, obs_dim), device=device)
        self.action = torch.zeros((steps, worlds, action_dim), device=device)
        self.log_prob, self.reward = (torch.zeros((steps, worlds), device=device) for _ in range(2))
        self.age = torch.zeros((steps, worlds), dtype=torch.int32, device=device)
        self._age = torch.zeros(worlds, dtype=torch.int32, device=device)
        self.terminated = torch.zeros((steps, worlds), dtype=torch.bool, device=device)
        self._end = torch.full((steps, worlds), -1, device=device)
        rows = FinalObservations.rows_for(steps, shortest_episode)
        self._final = FinalObservations(torch.zeros((rows, worlds, obs_dim), device=device))

    @property
    def filled(self) -> int:
        """Steps that it holds."""
        return self._filled

    @property
    def full(self) -> bool:
        """Whether the rollout is complete."""
        return self._filled == self._steps

    @property
    def next_age(self) -> torch.Tensor:
        """`[world]` int32, steps since the episode began in which the next step will be."""
        return self._age

    @property
    def ended(self) -> Bool[torch.Tensor, "time env"]:
        """Where an episode ended."""
        return self._end >= 0

    @property
    def final_obs(self) -> Float32[torch.Tensor, "row env obs"]:
        """What episodes ended with, some rows a world; `next_values` knows which belongs where."""
        return self._final.obs

    def add(
        self,
        obs: Observations,
        action: Actions,
        log_prob: PerWorld,
        reward: Rewards,
        terminated: Flags,
        ended: Flags,
        final_obs: Observations,
    ) -> None:
        """Adds a step of every world; see the attributes. `final_obs` is read where `ended` alone.

        Raises:
            UserError: The rollout is complete already.
        """
        if self.full:
            raise UserError(f"the rollout has its {self._steps} steps: call clear before the next one")
        row, self._filled = self._filled, self._filled + 1
        values = (obs, action, log_prob, reward, self._age, terminated, self._final.add(ended, final_obs))
        for column, new in zip(self._columns().values(), values, strict=True):
            column[row].copy_(new)
        self._age.add_(1).masked_fill_(ended, 0)

    def next_values(
        self, value: PerStep, last_value: PerWorld, final_value: Float32[torch.Tensor, "row env"]
    ) -> PerStep:
        """The value of what each step led to.

        Args:
            value: Of `obs`.
            last_value: Of the observations after the last step, where the next rollout begins.
            final_value: Of `final_obs`.
        """
        following = torch.cat([value[1:], last_value[None]])
        world = torch.arange(value.shape[1], device=value.device).expand_as(self._end)
        place, there = self._final.find(self._end, world)
        at_end = torch.where(there, final_value.flatten()[place], value)
        return torch.where(self.ended, at_end, following)

    def every(self, steps: int) -> "RolloutBuffer":
        """A copy in which so many steps are one, of a complete rollout.

        A step of it is seen, done and drawn as the first of those was; its reward is their mean, and an episode ends
        with it, terminated or truncated, where one ended with any.

        Args:
            steps: That become one; they divide the steps of the rollout.
        """
        together = copy.copy(self)
        for name in ("obs", "action", "log_prob", "age"):
            setattr(together, name, getattr(self, name)[::steps].clone())
        together.reward = self.reward.unflatten(0, (-1, steps)).mean(dim=1)
        together.terminated = self.terminated.unflatten(0, (-1, steps)).any(dim=1)
        together._end = self._end.unflatten(0, (-1, steps)).amax(dim=1)
        together._steps = together._filled = self._filled // steps
        return together

    def clear(self) -> None:
        """Makes room for the next rollout."""
        self._filled = 0

    def get_state(self) -> State:
        """The steps that it holds, on the CPU, and all else that is needed to go on."""
        return {
            "filled": self._filled,
            "columns": {name: column[: self._filled].cpu() for name, column in self._columns().items()},
            **{name: value.cpu().clone() for name, value in self._others().items()},
        }

    def set_state(self, state: State) -> None:
        """Goes on from a state.

        Raises:
            ValueError: It is of a buffer of other sizes.
        """
        self._filled = int(state["filled"])
        for name, column in self._columns().items():
            if state["columns"][name].shape[1:] != column.shape[1:]:
                raise ValueError(f"saved rollouts have '{name}' of another shape")
            column[: self._filled].copy_(state["columns"][name])
        for name, value in self._others().items():
            value.copy_(state[name])

    def _columns(self) -> dict[str, torch.Tensor]:
        """By name, what has a row for each step."""
        named = {"obs": self.obs, "action": self.action, "log_prob": self.log_prob, "reward": self.reward}
        return {**named, "age": self.age, "terminated": self.terminated, "end": self._end}

    def _others(self) -> dict[str, torch.Tensor]:
        """By name, what else changes."""
        return {"running_age": self._age, "final_obs": self._final.obs, "ends": self._final.ends}


def gae(
    reward: PerStep,
    value: PerStep,
    next_value: PerStep,
    terminated: Bool[torch.Tensor, "time env"],
    ended: Bool[torch.Tensor, "time env"],
    *,
    gamma: float,
    lam: float,
) -> tuple[PerStep, PerStep]:
    """Generalised advantage estimation (Schulman et al., 2016), over all worlds at once.

    A truncated episode bootstraps from the value of its last observation, a terminated one from nothing, and neither
    passes anything on to the steps before from the episode that follows.

    Args:
        reward: Of each step.
        value: Before it.
        next_value: After it, in the same episode (`RolloutBuffer.next_values`).
        terminated: Where no value follows.
        ended: Where an episode ended, terminated or truncated.
        gamma: Discount.
        lam: 0 looks one step ahead, 1 to the end of the episode or of the rollout.

    Returns:
        Advantages, and what values are to become: advantage plus value.
    """
    error = reward + gamma * next_value.masked_fill(terminated, 0.0) - value
    passed_on = gamma * lam * (~ended).to(value.dtype)
    advantage, later = torch.empty_like(error), torch.zeros_like(error[0])
    for step in range(len(error) - 1, -1, -1):
        later = error[step] + passed_on[step] * later
        advantage[step] = later
    return advantage, advantage + value
