"""PopArt: targets of each task are normalised as they come, and the values stay what they are."""

from dataclasses import dataclass

import torch
from torch import nn

from mtrl.config import check_bounds
from mtrl.parts.critic import Backup, Critic, CriticConfig, CriticValues, Reduction, reduce_critics
from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkAround, NetworkShape, Outputs, TaskSpecific
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_critic

LEAST_DEVIATION, LARGEST_DEVIATION = 1e-4, 1e6


@dataclass(frozen=True)
class PopArtConfig(CriticConfig):
    """How fast the statistics follow."""

    beta: float = 3e-4
    """Share of each update's targets in their running mean and variance."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"beta": (0.0, 1.0)}, prefix)


class TaskAffine(TaskSpecific):
    """A scale and a shift of each task's own, in every copy: the last layer that PopArt corrects."""

    def __init__(self, copies: int, num_tasks: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(copies, num_tasks, 1, 1))
        self.shift = nn.Parameter(torch.zeros(copies, num_tasks, 1, 1))

    def forward(self, x: Outputs, task_id: GroupTasks) -> Outputs:
        """`[copies, group, sample, 1]`, the same shape."""
        return self.scale[:, task_id] * x + self.shift[:, task_id]


class PopArtNetwork(NetworkAround):
    """Any network, with the layer that PopArt corrects behind it."""

    def __init__(self, body: Network, shape: NetworkShape) -> None:
        super().__init__(body)
        self.last = TaskAffine(shape.copies, shape.num_tasks)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """See `Network`."""
        return self.last(self.body(x, task_id), task_id)


@register_critic(
    "popart", description="PopArt: targets normalised for each task, values preserved", config=PopArtConfig
)
class PopArt(Critic):
    """Values v = sigma_i n + mu_i, with n = w_i f(s, a) + b_i the network's output for task i.

    What is learned is n, towards (y - mu_i) / sigma_i, by squared error.

    Van Hasselt et al., "Learning values across many orders of magnitude", NeurIPS 2016; one pair of statistics a task
    as in Hessel et al., "Multi-task Deep Reinforcement Learning with PopArt", AAAI 2019. When they change,

        w_i <- w_i sigma_i / sigma_i',    b_i <- (sigma_i b_i + mu_i - mu_i') / sigma_i'

    in critics and target critics, so no value changes. The statistics are saved with the weights.
    """

    outputs = 1

    def __init__(self, setting: Setting, config: PopArtConfig) -> None:
        super().__init__()
        self._beta, self._ranks = config.beta, setting.ranks
        self.register_buffer("mean", torch.zeros(setting.num_tasks, device=setting.device))
        self.register_buffer("variance", torch.ones(setting.num_tasks, device=setting.device))

    def deviation(self) -> PerTask:
        """Of the targets of every task, within bounds."""
        return self.get_buffer("variance").clamp(LEAST_DEVIATION**2, LARGEST_DEVIATION**2).sqrt()

    def attach(self, network: Network, shape: NetworkShape) -> Network:
        """See `Critic.attach`."""
        return PopArtNetwork(network, shape)

    def values(self, outputs: Outputs, task_id: GroupTasks) -> CriticValues:
        """See the class."""
        deviation, mean = self.deviation()[task_id], self.get_buffer("mean")[task_id]
        return deviation[:, None] * outputs.squeeze(-1) + mean[:, None]

    def target(self, outputs: Outputs, backup: Backup, task_id: GroupTasks, reduction: Reduction) -> torch.Tensor:
        """Plain y = r + discount (v' + bonus), `[group, sample]`, which `adapt` normalises."""
        value = reduce_critics(self.values(outputs, task_id), reduction)
        return backup.reward + backup.discount * (value + backup.bonus)

    def adapt(self, target: torch.Tensor, task_id: GroupTasks, networks: tuple[Network, ...]) -> torch.Tensor:
        """Moves the statistics towards the targets, corrects the networks, and normalises the targets.

        With nu the running mean of squares, mu' = mu + beta (E[y] - mu), nu' = nu + beta (E[y^2] - nu) and sigma^2 =
        nu - mu^2, written so that two large numbers are not subtracted:
        sigma'^2 = (1 - beta) sigma^2 + beta E[(y - mu)^2] - beta^2 (E[y] - mu)^2.
        """
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        old_mean, old_deviation = mean.clone(), self.deviation()
        away = target - mean[task_id][:, None]
        first, second = self._ranks.mean(away.mean(dim=1), away.square().mean(dim=1))
        step = self._beta * first
        moved = (1.0 - self._beta) * variance[task_id] + self._beta * second - step.square()
        variance.index_copy_(0, task_id, moved)
        mean.index_add_(0, task_id, step)
        deviation = self.deviation()
        for network in networks:
            self._preserve(network, old_mean, old_deviation)
        return (target - mean[task_id][:, None]) / deviation[task_id][:, None]

    def _preserve(self, network: Network, old_mean: PerTask, old_deviation: PerTask) -> None:
        last = network.get_submodule("last")
        deviation, shifted = self.deviation(), old_mean - self.get_buffer("mean")
        scale, shift = last.get_parameter("scale"), last.get_parameter("shift")
        column = (-1, 1, 1)
        scale.mul_((old_deviation / deviation).view(column))
        shift.copy_((old_deviation.view(column) * shift + shifted.view(column)) / deviation.view(column))

    def losses(self, outputs: Outputs, target: torch.Tensor, task_id: GroupTasks) -> CriticValues:
        """(n - (y - mu_i) / sigma_i)^2, with targets as `adapt` gives them."""
        return (outputs.squeeze(-1) - target).square()
