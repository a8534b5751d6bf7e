"""TensorBoard event files in the run folder."""

from mtrl.logger.contract import TRACKERS, RunInfo, Tracker


class TensorBoardTracker(Tracker):
    """Writes scalars to `tensorboard/` in the run folder, on the axis of environment steps.

    Args:
        info: The run.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, info: RunInfo) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter  # an extra, which need not be installed

        # What a run wrote after the checkpoint that it goes on from is hidden by `purge_step`.
        purge = info.env_step + 1 if info.env_step else None
        self._writer = SummaryWriter(str(info.folder / "tensorboard"), purge_step=purge)

    def log(self, env_step: int, metrics: dict[str, float]) -> None:
        """Writes each number as a scalar."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, env_step)

    def close(self, exit_code: int) -> None:
        """Writes what is left."""
        self._writer.close()


TRACKERS.register(
    "tensorboard", TensorBoardTracker, "TensorBoard event files in the run folder (--tracking.tensorboard)"
)
