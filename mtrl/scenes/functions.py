"""Rules made of a user's functions: for a task of one's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from mtrl.errors import UserError
from mtrl.scenes.columns import Columns
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.task import Evaluator, Layout, Outcome, Rules


class Situation:
    """All worlds of a task after a step: its views, and what its start remembered, `[world, n]` or `[world]`.

    `situation["goal"]` is the goal that each world plays.
    """

    def __init__(self, views: Columns, memory: Columns) -> None:
        self._views, self._memory = views, memory

    def __getitem__(self, name: str) -> torch.Tensor:
        table = self._views if name in self._views.widths else self._memory
        if name not in table.widths:
            known = ", ".join((*self._views.widths, *self._memory.widths))
            raise UserError(f"the task has neither a view nor a memory '{name}': it has {known}")
        return table[name]


Judge = Callable[[Situation], torch.Tensor]
Control = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]


@dataclass(frozen=True, eq=False)  # equal to themselves alone: functions say nothing about being alike
class FunctionRules(Rules):
    """The functions, and the sizes of what they read; see `mtrl.scenes.register.register_scene_task`."""

    name: str
    views: Mapping[str, int]  # pyright: ignore[reportIncompatibleVariableOverride]
    memory: Mapping[str, int]  # pyright: ignore[reportIncompatibleVariableOverride]
    observe: Judge
    reward: Callable[[Situation, torch.Tensor], torch.Tensor]
    success: Judge
    terminated: Judge | None
    control: Control | None
    goal_part: tuple[int, int] | None
    obs_dim: int  # pyright: ignore[reportIncompatibleVariableOverride]
    action_dim: int  # pyright: ignore[reportIncompatibleVariableOverride]

    def lay_out(self, layout: Layout) -> "FunctionEvaluator":
        """See `Rules.lay_out`."""
        return FunctionEvaluator(self, layout)


class FunctionEvaluator(Evaluator):
    """A user's functions over the worlds of an environment, with a clear error where a result has the wrong shape."""

    def __init__(self, rules: FunctionRules, layout: Layout) -> None:
        self._rules, self._layout = rules, layout
        control_range = torch.from_numpy(stripped_model(layout.tasks[0].scene).actuator_ctrlrange)
        control_range = control_range.to(layout.device, layout.dtype)
        self._low, self._span = control_range[:, 0], 0.5 * (control_range[:, 1] - control_range[:, 0])

    def control(self, action: torch.Tensor, memory: Columns) -> Mapping[str, torch.Tensor]:
        """Scales the action to the actuators' control ranges, if the task does not say otherwise."""
        if self._rules.control is not None:
            return self._rules.control(action)
        return {"ctrl": self._low + self._span * (action.clamp(-1, 1).to(self._layout.dtype) + 1)}

    def begin(self, views: Columns, memory: Columns) -> torch.Tensor:
        """See `Evaluator.begin`."""
        return self._observed(Situation(views, memory))

    def evaluate(self, views: Columns, action: torch.Tensor, memory: Columns) -> Outcome:
        """See `Evaluator.evaluate`."""
        situation, rules = Situation(views, memory), self._rules
        reward = rules.reward(situation, action)
        return Outcome(
            observation=self._observed(situation),
            reward=self._checked("reward", reward, ()),
            success=self._checked("success", rules.success(situation), ()).bool(),
            terminated=self._checked("terminated", rules.terminated(situation), ()).bool()
            if rules.terminated
            else None,
            metrics=lambda: reward.new_empty(len(reward), 0),
        )

    def _observed(self, situation: Situation) -> torch.Tensor:
        observation = self._checked("observe", self._rules.observe(situation), (self._rules.obs_dim,))
        if self._rules.goal_part is not None and not self._layout.goal_visible:
            observation = observation.clone()
            observation[:, slice(*self._rules.goal_part)] = 0
        return observation

    def _checked(self, name: str, value: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        expected = (self._layout.worlds, *shape)
        if tuple(value.shape) != expected:
            raise UserError(
                f"task '{self._rules.name}': `{name}` gave shape {tuple(value.shape)} for {expected[0]} worlds, it "
                f"must give {expected}"
            )
        return value
