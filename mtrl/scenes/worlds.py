"""What the vector environments of both engines share: worlds laid out as the rules want them, seen as slots."""

import abc
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from mtrl.compiling import compiled
from mtrl.errors import UserError
from mtrl.goals import GoalSet
from mtrl.scenes.bank import load_snapshots
from mtrl.scenes.camera import ScenePictures
from mtrl.scenes.columns import Columns
from mtrl.scenes.scene import Scene, Viewpoint
from mtrl.scenes.snapshots import Snapshots
from mtrl.scenes.task import Layout, Outcome
from mtrl.tasks import TaskDefinition
from mtrl.types import State
from mtrl.vector.contract import TaskVectorEnv
from mtrl.vector.processes import available_cores


class SceneWorlds(TaskVectorEnv):
    """Worlds of one or several tasks with equal rules; slots are the same worlds in the suite's order.

    Args:
        definitions: The suite's tasks, in order.
        goal_set: Their goals.
        slots_per_task: Worlds of each task.
        goal_visible: Whether observations show the goal.
        device: Where returned tensors live.
        rules_device: Where views and memory live.
        dtype: Of views, memory and everything computed from them.

    Raises:
        UserError: A task has no scene, or one that cannot be used.

    Attributes:
        engine: Name of the engine.
    """

    engine: str

    def __init__(
        self,
        definitions: Sequence[TaskDefinition],
        goal_set: GoalSet,
        slots_per_task: int,
        *,
        goal_visible: bool,
        device: str | torch.device,
        rules_device: str | torch.device,
        dtype: torch.dtype,
    ) -> None:
        task_id = np.repeat(np.arange(len(definitions)), slots_per_task)
        super().__init__([task.spec for task in definitions], task_id.tolist(), goal_set, torch.device(device))
        self._task_of_slot, self._per_task = task_id, slots_per_task
        scene_tasks = [task.scene_task for task in definitions]
        self._rules = scene_tasks[0].rules
        self._order = np.array(self._rules.order([task.name for task in scene_tasks]))
        ordered = tuple(scene_tasks[place] for place in self._order)
        counts = (slots_per_task,) * len(ordered)
        self._layout = Layout(ordered, counts, goal_visible, dtype, torch.device(rules_device))
        self._evaluator = self._rules.lay_out(self._layout)
        self._judge = self._evaluator.evaluate
        self._memory = Columns.empty(self._layout.worlds, self._rules.memory, dtype, self._layout.device)
        # Slot k of a task is world k of that task, wherever the rules want the task.
        self._position = np.argsort(self._order)
        self._world = self._position[task_id] * slots_per_task + np.arange(self.num_envs) % slots_per_task
        self._world_of_slot = self._indices(self._world)
        self._slot_of_world = self._indices(np.argsort(self._world))
        self._horizon = np.array([task.horizon for task in definitions])[task_id]
        self._action = torch.zeros(self.num_envs, self._rules.action_dim, device=self._layout.device)
        self._outcome: Outcome
        self._pictures: dict[tuple[Scene, Viewpoint], ScenePictures] = {}
        self._snapshots = self._load_snapshots(goal_set)

    @staticmethod
    def kind_of(definition: TaskDefinition) -> Hashable:
        """Tasks with the same rules fit into one environment."""
        return definition.scene_task.rules

    def _indices(self, order: np.ndarray) -> torch.Tensor | None:
        """The order as indices; None where it changes nothing."""
        unchanged = (order == np.arange(len(order))).all()
        return None if unchanged else torch.from_numpy(order).to(self._layout.device)

    def _by_slot(self, values: torch.Tensor) -> torch.Tensor:
        return values if self._world_of_slot is None else values[self._world_of_slot]

    def _own_by_slot(self, values: torch.Tensor) -> torch.Tensor:
        """The same as a tensor that the caller may keep."""
        return values.clone() if self._world_of_slot is None else values[self._world_of_slot]

    def _load_snapshots(self, goal_set: GoalSet) -> list[Snapshots]:
        """The starts of every task, in the suite's order."""
        scene_tasks = [self._layout.tasks[position] for position in self._position]
        return load_snapshots(scene_tasks, goal_set.rows, threads=available_cores())

    @abc.abstractmethod
    def _use_snapshots(self) -> None:
        """Takes new `_snapshots` into use: for episodes that begin from now on."""

    def set_goals(self, goal_set: GoalSet) -> None:
        """Draws goals anew: episodes that begin from now on play this set; those that run go on to their end.

        Args:
            goal_set: As many goals of each task as before, since the schedule counts on them.

        Raises:
            UserError: The set has another form.
        """
        if goal_set.counts != self.goal_set.counts:
            raise UserError(
                f"goals were {self.goal_set.counts} a task, the new set has {goal_set.counts}: keep the numbers"
            )
        self._snapshots = self._load_snapshots(goal_set)
        self._use_snapshots()
        self.goal_set = goal_set

    @property
    def metrics(self) -> dict[str, torch.Tensor]:
        """What the rules report of the last step besides reward and success, `[env]` each; before the next step."""
        table = self._by_slot(self._outcome.metrics())
        return {name: table[:, column].to(self.device) for column, name in enumerate(self._rules.metrics)}

    @property
    @abc.abstractmethod
    def _views(self) -> Columns:
        """What the rules read."""

    def compile(self) -> None:
        """See `TaskVectorEnv.compile`: the rules, whose many small operations cost most where worlds are few."""
        evaluate, views, memory = self._evaluator.evaluate, self._views, self._memory
        # Once as it is: what the rules set up at their first call would otherwise have them compiled twice.
        kept = memory.table.clone()
        with torch.inference_mode():
            evaluate(views, self._action, memory)
        memory.table[:] = kept

        def tensors(action: torch.Tensor) -> tuple[Any, ...]:
            outcome = evaluate(views, action, memory)
            return outcome.observation, outcome.reward, outcome.success, outcome.terminated, outcome.metrics()

        fast = compiled(tensors, f"the rules of {self.tasks[0].name}")

        def judge(_views: Columns, action: torch.Tensor, _memory: Columns) -> Outcome:
            observation, reward, success, terminated, metrics = fast(action)
            return Outcome(observation, reward, success, terminated, lambda: metrics)

        self._judge = judge

    def _check_actions(self, actions: torch.Tensor) -> None:
        if actions.shape != self._action.shape:
            raise ValueError(f"actions have shape {tuple(actions.shape)}, expected {tuple(self._action.shape)}")

    def _identity(self) -> State:
        """What a saved state must agree in with the environment that goes on from it."""
        return {"engine": self.engine, "tasks": [task.name for task in self.tasks]}

    def _check_state(self, state: State) -> None:
        """Refuses the state of another environment.

        Raises:
            UserError: It has other tasks or slots.
        """
        alike = all(state.get(name) == value for name, value in self._identity().items())
        if not alike or len(state["goal"]) != self.num_envs:
            raise UserError(
                "the saved environment has other tasks, slots or another engine than this one: build it as it was saved"
            )

    @abc.abstractmethod
    def _simulation_of(self, task: int, slot: int) -> tuple[Scene, np.ndarray, np.ndarray] | None:
        """What is needed to draw a slot, whose task has that place in the layout; None where nothing is played."""

    def render_slot(self, slot: int) -> np.ndarray:
        """See `TaskVectorEnv.render_slot`; the scene is drawn with everything that only looks."""
        task = int(self._position[self._task_of_slot[slot]]) if 0 <= slot < self.num_envs else -1
        simulation = self._simulation_of(task, slot) if task >= 0 else None
        if simulation is None:
            raise UserError(f"slot {slot} plays nothing that could be rendered")
        scene, state, body_pos = simulation
        viewpoint = self._layout.tasks[task].viewpoint
        if (scene, viewpoint) not in self._pictures:
            self._pictures[scene, viewpoint] = ScenePictures(scene, viewpoint)
        return self._pictures[scene, viewpoint].draw(state, body_pos)

    def close_extras(self, **_: Any) -> None:
        """Frees what draws."""
        for pictures in self._pictures.values():
            pictures.close()
