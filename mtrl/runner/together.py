"""Processes that train together: what the first one does for all, and what the others do besides learning."""

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Loaded:
    """What a checkpoint gave besides the loop's state.

    Attributes:
        spent: What the clock had counted.
        evaluation_due: Whether an evaluation was.
        moved: What is to be told of where the run has moved, and what came along; empty where it goes on exactly.
    """

    spent: dict[str, float]
    evaluation_due: bool
    moved: str


def load(loop: TrainingLoop, checkpoint: Checkpoint, folder: RunFolder) -> Loaded:
    """Puts a loop, its agent and its replay to where a checkpoint has them, as far as it is from the same place.

    Raises:
        UserError: It does not fit them.
    """
    state: Any = checkpoint.state()
    try:
        before, here = state["place"], loop.place
        loop.algorithm.load_weights(checkpoint.weights())
        if before["worlds"] == here["worlds"]:
            for rows in checkpoint.segments(folder.replay):
                loop.put_replay(rows)
        if before == here:
            loop.set_state(state["loop"])
        else:
            loop.carry_over(state["loop"])
        spent = {name: float(seconds) for name, seconds in state["clock"].items()}
        moved = "" if before == here else _move(loop, before, bool(checkpoint.manifest["replay"]))
        return Loaded(spent, bool(state["evaluation_due"]), moved)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"checkpoint {checkpoint.path} does not fit this version of its agent or tasks ({error!r}): go on with "
            "the versions in config.json, or train into another --run-folder"
        ) from error


def _move(loop: TrainingLoop, before: dict[str, Any], saved: bool) -> str:
    """What a run takes along to another engine, device or number of worlds, and what not."""
    places = " to ".join(f"{p['engine']} with {p['worlds']} worlds on {p['device']}" for p in (before, loop.place))
    kept = saved and before["worlds"] == loop.place["worlds"]
    replay, lost = (
        " replay," if kept else "",
        "" if kept else ", and the replay is filled again before learning goes on",
    )
    if not loop.has_replay:
        replay = lost = ""
    return (
        f"moved from {places}: weights, optimisers, normalisers,{replay} counters are carried over; episodes and "
        f"random numbers begin anew{lost}"
    )


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
            found = load(loop, checkpoint, self._folder)
            self._due = found.evaluation_due
            if found.moved:
                self._store.begin_replay_anew()
            else:
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
        state = {"loop": loop.get_state(), "place": loop.place, "clock": {}, "evaluation_due": self._due}
        lengths = {"metrics": 0, "evaluations": 0}
        if self._store.save(Snapshot(loop.env_step, loop.algorithm.weights(), state, lengths, rows)):
            loop.replay_saved()
            self._saved_at = loop.env_step
