"""What all vector environments have in common that change another one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtrl.tasks import TaskSpec
from mtrl.vector.contract import TaskVectorEnv


class WrappedVectorEnv(TaskVectorEnv):
    """Slots of another vector environment; what a derived class does not change is that one's.

    Args:
        env: It is owned, and closed, by this one.
        tasks: What this one shows instead of `env.tasks`.
    """

    def __init__(self, env: TaskVectorEnv, tasks: Sequence[TaskSpec] = ()) -> None:
        super().__init__(tasks or env.tasks, env.task_id.tolist(), env.goal_set, env.device)
        self._env, self.report_every = env, env.report_every
        self.obs_mask, self.action_mask = env.obs_mask, env.action_mask
        self.trial_episodes, self.adapting = env.trial_episodes, env.adapting

    def compile(self) -> None:
        """See `TaskVectorEnv.compile`."""
        self._env.compile()

    @property
    def engine_name(self) -> str:
        """See `TaskVectorEnv.engine_name`."""
        return self._env.engine_name

    @property
    def faults(self) -> np.ndarray:
        """See `TaskVectorEnv.faults`."""
        return self._env.faults

    @property
    def fault_reasons(self) -> dict[str, int]:
        """See `TaskVectorEnv.fault_reasons`."""
        return self._env.fault_reasons

    def render_slot(self, slot: int) -> np.ndarray:
        """See `TaskVectorEnv.render_slot`."""
        return self._env.render_slot(slot)

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the environment within."""
        self._env.close()
