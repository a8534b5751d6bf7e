"""Vector environments: the one contract that agents, evaluation and plots stand on, and what implements it."""

from mtrl.vector.contract import StepInfo, TaskVectorEnv

__all__ = ["StepInfo", "TaskVectorEnv"]
