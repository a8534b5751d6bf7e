"""Running: an experiment's parts, the training loops, and the session that every loop shares."""

from mtrl.runner.experiment import Experiment, load_policy, prepare
from mtrl.runner.train import go_on, start

__all__ = ["Experiment", "go_on", "load_policy", "prepare", "start"]
