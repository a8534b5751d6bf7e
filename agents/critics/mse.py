"""Values as plain numbers, learned by squared error."""

import torch

from mtrl.parts.critic import Backup, Critic, CriticConfig, CriticValues, Reduction, reduce_critics
from mtrl.parts.network import GroupTasks, Outputs
from mtrl.parts.part import Setting
from mtrl.parts.register import register_critic


@register_critic("mse", description="values as plain numbers, learned by squared error")
class MSE(Critic):
    """The target is y = r + discount (v' + bonus), with v' the least or the mean value of the target critics."""

    outputs = 1

    def __init__(self, setting: Setting, config: CriticConfig) -> None:
        super().__init__()

    def values(self, outputs: Outputs, task_id: GroupTasks) -> CriticValues:
        """The one output."""
        return outputs.squeeze(-1)

    def target(self, outputs: Outputs, backup: Backup, task_id: GroupTasks, reduction: Reduction) -> torch.Tensor:
        """`[group, sample]`."""
        value = reduce_critics(self.values(outputs, task_id), reduction)
        return backup.reward + backup.discount * (value + backup.bonus)

    def losses(self, outputs: Outputs, target: torch.Tensor, task_id: GroupTasks) -> CriticValues:
        """(v - y)^2."""
        return (self.values(outputs, task_id) - target).square()
