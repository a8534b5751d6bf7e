"""CAGrad of a few tasks drawn at each update, and the mean: most of the gain for little more than a plain update.

Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021, section 3.3.
"""

from dataclasses import dataclass

import torch

from mtrl.config import check_bounds
from mtrl.parts.combiner import GradientCombiner, Gram, Objective, TaskGradients, conflicts, set_gradients
from mtrl.parts.network import split_parameters
from mtrl.parts.part import PerTask, Setting
from mtrl.parts.register import register_combiner

from .cagrad import CAGradConfig, conflict_averse


@dataclass(frozen=True)
class CAGradFastConfig(CAGradConfig):
    """How far from the mean gradient, and for how many tasks."""

    tasks: int = 4
    """Tasks drawn at each update, whose gradients are taken apart from the others'."""

    def check(self, prefix: str) -> None:
        """See `PartConfig.check`."""
        super().check(prefix)
        check_bounds(self, {"tasks": (1, 1_000)}, prefix)


@register_combiner(
    "cagrad_fast", description="CAGrad of a few tasks drawn at each update, and the mean", config=CAGradFastConfig
)
class CAGradFast(GradientCombiner):
    """d = (g_0 + c |g_0| g_w / |g_w|) / (1 + c^2), where w weighs only a few tasks, drawn at each update.

    The gradients of all others are never taken apart: what is kept is one for each task drawn, and their sum.
    """

    def __init__(self, setting: Setting, config: CAGradFastConfig) -> None:
        super().__init__()
        self.c, self.count = config.c, min(config.tasks, setting.num_tasks)
        self.generator = torch.Generator(setting.device).manual_seed(setting.seed)

    def weights(self, gram: Gram, losses: PerTask) -> PerTask:
        """The same from the gradients of all tasks, where these are known already."""
        tasks = len(losses)
        drawn = torch.zeros(tasks, dtype=torch.float64, device=losses.device)
        drawn.index_fill_(0, self._order(tasks, losses.device)[: self.count], 1.0)
        return conflict_averse(gram.double(), torch.full_like(drawn, 1.0 / tasks), drawn, self.c)

    def backward(self, objective: Objective) -> PerTask:
        """See `Combiner.backward`."""
        tasks = objective.num_tasks
        if self.count == tasks or not split_parameters(objective.network).shared:
            return super().backward(objective)
        order = self._order(tasks, next(objective.network.parameters()).device)
        gradients = objective.some_gradients(order, self.count)
        with torch.no_grad():
            self._set(objective, gradients, order)
        return gradients.losses

    def _set(self, objective: Objective, gradients: TaskGradients, order: torch.Tensor) -> None:
        """Sets `grad` along the direction of the class.

        Args:
            objective: Whose network.
            gradients: Of the tasks drawn, and of the sum of all others.
            order: All tasks, first those drawn.
        """
        tasks, gram = objective.num_tasks, gradients.gram()
        mean = torch.full((self.count + 1,), 1.0 / tasks, dtype=torch.float64, device=gram.device)
        among = torch.ones_like(mean)
        among[self.count] = 0.0
        weights = conflict_averse(gram.double(), mean, among, self.c).to(gram.dtype)
        every = weights[self.count :].expand(tasks).scatter(0, order[: self.count], weights[: self.count])
        self._report = {"weight": every, "conflict": conflicts(gram[: self.count, : self.count])}
        set_gradients(objective, gradients, weights, self.own_weights(every))

    def _order(self, tasks: int, device: torch.device) -> torch.Tensor:
        """`[task]`, all tasks in random order."""
        return torch.rand(tasks, generator=self.generator, device=device, dtype=torch.float64).argsort()
