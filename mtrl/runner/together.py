"""Processes that train together: what the first one does for all, and what the others do besides learning."""

from typing import Any

from mtrl.checkpoint import Checkpoint, CheckpointStore, Snapshot
from mtrl.errors import Interrupted, UserError
from mtrl.ranks import Ranks
from mtrl.run_folder import RunFolder
from mtrl.runner.experiment import Experiment
from mtrl.runner.loop import TrainingLoop
from mtrl.runner.signals import StopRequest

SELDOM = 32
"""Looks at the device that lie at least between two evaluations or checkpoints, where looks are rare."""


def folder_of(experiment: Experiment) -> RunFolder:
    """Where this process saves what is its own: the run folder, or one within it for each further process."""
    rank = experiment.ranks.rank
    return RunFolder(experiment.folder.path / "ranks" / str(rank)) if rank else experiment.folder


def store_of(experiment: Experiment) -> CheckpointStore:
    """This process's checkpoints."""
    held = experiment.config.replay.capacity_per_task // experiment.slots_per_task
    return CheckpointStore(folder_of(experiment), experiment.config.checkpoint, held)


def newest_common(store: CheckpointStore, ranks: Ranks) -> Checkpoint | None:
    """The newest checkpoint of a step at which every process has one; None where one has none.

    Raises:
        UserError: Their checkpoints are of different steps altogether.
    """
    found = store.newest()
    own = int(found.manifest["env_step"]) if found else 0
    common = ranks.smallest(own)
    if common < own:
        found = store.newest(common) if common else None
    if ranks.any(bool(common) and int(found.manifest["env_step"] if found else 0) != common):
        raise UserError("the processes of this run have no checkpoint in common: delete its folder and train anew")
    return found


def load(loop: TrainingLoop, checkpoint: Checkpoint, folder: RunFolder) -> tuple[tuple[float, float], bool]:
    """Puts a loop, its agent and its replay to where a checkpoint has them.

    Returns:
        What the clock had reached, and whether an evaluation was due.

    Raises:
        UserError: It does not fit them.
    """
    state: Any = checkpoint.state()
    try:
        loop.algorithm.load_weights(checkpoint.weights())
        for rows in checkpoint.segments(folder.replay):
            loop.put_replay(rows)
        loop.set_state(state["loop"])
        wall, work = state["clock"]
        return (float(wall), float(work)), bool(state["evaluation_due"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"checkpoint {checkpoint.path} does not fit this version of its agent or tasks ({error!r}): go on with "
            "the versions in config.json, or train into another --run-folder"
        ) from error


def stop_agreed(loop: TrainingLoop, made: bool) -> bool:
    """Whether any process was asked to stop; they ask each other as often as the host looks at the device."""
    if loop.ranks.size == 1:
        return made
    return loop.vector_steps % loop.env.report_every == 0 and loop.ranks.any(made)


class Follower:
    """A further process's part of a run: it learns with the others, and saves what is its own.

    Args:
        experiment: The run.
        loop: Its training loop, not started.
    """

    def __init__(self, experiment: Experiment, loop: TrainingLoop) -> None:
        self._config, self._loop, self._folder = experiment.config, loop, folder_of(experiment)
        self._folder.path.mkdir(parents=True, exist_ok=True)
        self._store = store_of(experiment)
        self._saved_at = -1
        self._due = False
        checkpoint = newest_common(self._store, experiment.ranks)
        if checkpoint is None:
            loop.start()
        else:
            _, self._due = load(loop, checkpoint, self._folder)
            self._saved_at = loop.env_step

    def run(self) -> None:
        """Trains to the end, in step with the first process, and waits wherever that one evaluates.

        Raises:
            Interrupted: A signal came, here or elsewhere.
        """
        loop, target, final = self._loop, self._config.steps_per_task, self._config.evaluation.final
        with StopRequest() as stop:
            if self._due and (loop.steps_per_task < target or not final):
                self._wait()
            while loop.steps_per_task < target:
                loop.advance()
                self._due = loop.crossed(self._config.evaluation.every, SELDOM)
                over, stopping = loop.steps_per_task >= target, stop_agreed(loop, stop.made)
                if loop.crossed(self._config.checkpoint.every, SELDOM) or stopping or over:
                    self._save()
                if stopping:
                    raise Interrupted("stopped by a signal")
                if self._due and not (over and final):
                    self._wait()

    def _wait(self) -> None:
        """Until the first process has evaluated."""
        if self._loop.ranks.any(False):
            self._save()
            raise Interrupted("stopped by a signal during an evaluation")
        self._due = False

    def _save(self) -> None:
        loop = self._loop
        if self._saved_at == loop.env_step:
            return
        rows = loop.replay_rows() if self._config.checkpoint.replay else None
        state = {"loop": loop.get_state(), "clock": [0.0, 0.0], "evaluation_due": self._due}
        lengths = {"metrics": 0, "evaluations": 0}
        if self._store.save(Snapshot(loop.env_step, loop.algorithm.weights(), state, lengths, rows)):
            loop.replay_saved()
            self._saved_at = loop.env_step
