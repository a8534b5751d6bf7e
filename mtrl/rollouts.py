"""Rollouts on the device for on-policy learning: storage over time of all worlds, and advantages computed from it."""

import torch
from jaxtyping import Bool, Float32

from mtrl.buffers import FinalObservations
from mtrl.errors import UserError
from mtrl.types import Actions, Flags, Observations, Rewards

PerStep = Float32[torch.Tensor, "time env"]
PerWorld = Float32[torch.Tensor, " env"]


class RolloutBuffer:
    """So many steps of all worlds, one after the other, laid out `[time, world]`; the host waits for nothing.

    What an episode ended with is kept where one did, in a few rows a world, so that the values of all of them are one
    call of the critic for each rollout:

        buffer.add(...)                                     # `steps` times
        final_value = critic(buffer.final_obs)              # [row, world]
        following = buffer.next_values(critic(obs), final_value)
        advantage, target = gae(buffer.reward, buffer.value, following, buffer.terminated, buffer.ended, ...)
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
        action: `[time, world, act]`, that was taken.
        log_prob: `[time, world]`, of that action.
        value: `[time, world]`, that the critic gave to `obs`.
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
        self.log_prob, self.value, self.reward = (torch.zeros((steps, worlds), device=device) for _ in range(3))
        self.terminated = torch.zeros((steps, worlds), dtype=torch.bool, device=device)
        self._end = torch.full((steps, worlds), -1, device=device)
        rows = FinalObservations.rows_for(steps, shortest_episode)
        self._final = FinalObservations(torch.zeros((rows, worlds, obs_dim), device=device))

    @property
    def full(self) -> bool:
        """Whether the rollout is complete."""
        return self._filled == self._steps

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
        value: PerWorld,
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
        columns = (self.obs, self.action, self.log_prob, self.value, self.reward, self.terminated, self._end)
        values = (obs, action, log_prob, value, reward, terminated, self._final.add(ended, final_obs))
        for column, new in zip(columns, values, strict=True):
            column[row].copy_(new)

    def next_values(self, last_value: PerWorld, final_value: Float32[torch.Tensor, "row env"]) -> PerStep:
        """The value of what each step led to.

        Args:
            last_value: Of the observations after the last step, where the next rollout begins.
            final_value: Of `final_obs`.
        """
        following = torch.cat([self.value[1:], last_value[None]])
        world = torch.arange(self.value.shape[1], device=self.value.device).expand_as(self._end)
        place, there = self._final.find(self._end, world)
        at_end = torch.where(there, final_value.flatten()[place], self.value)
        return torch.where(self.ended, at_end, following)

    def clear(self) -> None:
        """Makes room for the next rollout."""
        self._filled = 0


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
