"""Which trackers a run has, by its configuration."""

import os

from mtrl.logger.contract import TRACKERS, RunInfo, Trackers


def start_trackers(info: RunInfo) -> Trackers:
    """Starts all trackers that are configured.

    Raises:
        UserError: No tracker of a given name is registered.
    """
    names = list(info.tracking.trackers)
    if info.tracking.tensorboard:
        names.append("tensorboard")
    if wants_wandb(info.tracking.wandb):
        names.append("wandb")
    return Trackers([(name, TRACKERS.get(name)) for name in dict.fromkeys(names)], info)


def wants_wandb(setting: str) -> bool:
    """Whether wandb is started: not where it is off, nor in `auto` where wandb's own WANDB_MODE says `disabled`."""
    return setting != "off" and not (setting == "auto" and os.environ.get("WANDB_MODE") == "disabled")
