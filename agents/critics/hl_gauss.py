"""Values as a histogram, learned by cross-entropy with a Gaussian around the target."""

import math
from dataclasses import dataclass

import torch

from mtrl.config import check_bounds
from mtrl.parts.critic import Backup, Critic, CriticValues, Reduction, reduce_critics
from mtrl.parts.network import GroupTasks, Outputs
from mtrl.parts.part import Setting
from mtrl.parts.register import register_critic

from .c51 import BinsConfig, Distributions


@dataclass(frozen=True)
class HLGaussConfig(BinsConfig):
    """Bins, and how far a target is spread over them."""

    smoothing: float = 0.75
    """Standard deviation of the Gaussian, in widths of a bin."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"smoothing": (1e-3, 1e3)}, prefix)


@register_critic(
    "hl_gauss", description="values as a histogram, learned by cross-entropy with a Gaussian", config=HLGaussConfig
)
class HLGauss(Critic):
    """Bins with edges b_0 < ... < b_K and probabilities softmax(outputs); the target is y = r + discount (v' + bonus).

    Farebrother et al., "Stop Regressing: Training Value Functions via Classification for Scalable Deep RL", ICML 2024.
    """

    def __init__(self, setting: Setting, config: HLGaussConfig) -> None:
        super().__init__()
        self.outputs = config.bins
        edges = torch.linspace(config.v_min, config.v_max, config.bins + 1, device=setting.device)
        self.register_buffer("_edges", edges, persistent=False)
        self.register_buffer("_centres", 0.5 * (edges[1:] + edges[:-1]), persistent=False)
        self._low, self._high = config.v_min, config.v_max
        self._deviation = config.smoothing * (config.v_max - config.v_min) / config.bins

    def values(self, outputs: Outputs, task_id: GroupTasks) -> CriticValues:
        """Expectation: each bin stands for its centre."""
        return outputs.softmax(dim=-1) @ self.get_buffer("_centres")

    def target(self, outputs: Outputs, backup: Backup, task_id: GroupTasks, reduction: Reduction) -> Distributions:
        """The histogram around y, with v' the least or the mean value of the target critics."""
        value = reduce_critics(self.values(outputs, task_id), reduction)
        return self.histogram(backup.reward + backup.discount * (value + backup.bonus))

    def histogram(self, value: torch.Tensor) -> torch.Tensor:
        """p_i = Phi((b_{i+1} - y) / sigma) - Phi((b_i - y) / sigma), divided by their sum; y clipped to the bounds.

        Args:
            value: y, of any shape `[...]`.

        Returns:
            `[..., bin]`.
        """
        y = value.clamp(self._low, self._high).unsqueeze(-1)
        cuts = (self.get_buffer("_edges") - y) / self._deviation
        left, right = cuts[..., :-1], cuts[..., 1:]
        # Above y both are next to 1 and would round to the same: the same difference is taken below y, near 0.
        above = left + right > 0.0
        low, high = torch.where(above, -right, left), torch.where(above, -left, right)
        # Phi(x) = erfc(-x / sqrt(2)) / 2, of which the half goes into the sum; torch's own Phi rounds small ones to 0.
        mass = torch.erfc(-high * math.sqrt(0.5)) - torch.erfc(-low * math.sqrt(0.5))
        return mass / mass.sum(dim=-1, keepdim=True)

    def losses(self, outputs: Outputs, target: torch.Tensor, task_id: GroupTasks) -> CriticValues:
        """Cross-entropy: -sum_i target_i log p_i."""
        return -(target * outputs.log_softmax(dim=-1)).sum(dim=-1)
