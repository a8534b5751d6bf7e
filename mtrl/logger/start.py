"""Which trackers a run has, by its configuration."""

from mtrl.logger.contract import TRACKERS, RunInfo, Trackers


def start_trackers(info: RunInfo) -> Trackers:
    """Starts all trackers that are configured.

    Raises:
        UserError: No tracker of a given name is registered.
    """
    names = list(info.tracking.trackers)
    if info.tracking.tensorboard:
        names.append("tensorboard")
    if info.tracking.wandb != "off":
        names.append("wandb")
    return Trackers([(name, TRACKERS.get(name)) for name in dict.fromkeys(names)], info)
