"""Tracking: jsonl files always, and trackers that follow beside them: wandb, TensorBoard and your own."""

from mtrl.logger import tensorboard, wandb
from mtrl.logger.contract import TRACKERS, RunInfo, Tracker

__all__ = ["TRACKERS", "RunInfo", "Tracker", "tensorboard", "wandb"]
