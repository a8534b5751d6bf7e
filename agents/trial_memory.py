"""What agents that adapt from data keep of the running trials: the episodes in which they adapt."""

import torch

from mtrl.types import State
from mtrl.vector.trials import Told


class TrialMemory:
    """Steps of the first episodes of every world's trial, as observations of `Trials` tell of them.

    Args:
        worlds: Worlds that are acted in.
        episodes: Of a trial, whose steps are kept.
        steps: That they have at most, all together.
        obs_dim: Numbers in an observation, without what it tells.
        action_dim: Numbers in an action.
        device: Where it lives.

    Attributes:
        obs: `[world, step, obs]`, before each step.
        action: `[world, step, act]`, as the policy drew it.
        log_prob: `[world, step]`, of that action.
        reward: `[world, step]`.
        ended: `[world, step]` bool, where it ended an episode.
        count: `[world]` int64, steps that are held.
        episodes_done: `[world]` int64, episodes of the trial that are over.
    """

    def __init__(
        self, worlds: int, episodes: int, steps: int, obs_dim: int, action_dim: int, device: torch.device
    ) -> None:
        self._episodes, self._steps = episodes, steps
        self.obs = torch.zeros((worlds, steps, obs_dim), device=device)
        self.action = torch.zeros((worlds, steps, action_dim), device=device)
        self.log_prob, self.reward = (torch.zeros((worlds, steps), device=device) for _ in range(2))
        self.ended = torch.zeros((worlds, steps), dtype=torch.bool, device=device)
        self.count, self.episodes_done = (torch.zeros(worlds, dtype=torch.int64, device=device) for _ in range(2))
        self._world = torch.arange(worlds, device=device)

    @property
    def adapting(self) -> torch.Tensor:
        """`[world]` bool, where the next step belongs to the episodes that are kept."""
        return self.episodes_done < self._episodes

    @property
    def held(self) -> torch.Tensor:
        """`[world, step]` bool, where there is a step."""
        return torch.arange(self._steps, device=self.count.device) < self.count[:, None]

    def learn(self, told: Told) -> torch.Tensor:
        """Takes in what came of the last step.

        Returns:
            `[world]` bool, where with it the last of the episodes that are kept is over.
        """
        before, place = self.adapting & ~told.begins, (self.count - 1).clamp(min=0)
        known = before & (self.count > 0)
        row = self._world, place
        self.reward[row] = torch.where(known, told.reward, self.reward[row])
        self.ended[row] = torch.where(known, told.ended, self.ended[row])
        self.episodes_done = (self.episodes_done + (told.ended & ~told.begins)).masked_fill(told.begins, 0)
        self.count = self.count.masked_fill(told.begins, 0)
        return before & ~self.adapting

    def keep(self, obs: torch.Tensor, drawn: torch.Tensor, log_prob: torch.Tensor) -> None:
        """Takes in the step that is made now, in worlds that are still adapting; what is too much is left out."""
        fits = self.adapting & (self.count < self._steps)
        row = self._world, self.count.clamp(max=self._steps - 1)
        self.obs[row] = torch.where(fits[:, None], obs, self.obs[row])
        self.action[row] = torch.where(fits[:, None], drawn, self.action[row])
        self.log_prob[row] = torch.where(fits, log_prob, self.log_prob[row])
        self.count = self.count + fits

    def get_state(self) -> State:
        """All that is needed to go on, on the CPU."""
        return {name: value.cpu().clone() for name, value in self._columns().items()}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        for name, value in self._columns().items():
            value.copy_(state[name])

    def _columns(self) -> dict[str, torch.Tensor]:
        names = ("obs", "action", "log_prob", "reward", "ended", "count", "episodes_done")
        return {name: getattr(self, name) for name in names}
