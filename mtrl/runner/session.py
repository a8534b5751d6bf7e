"""A session: one process's part of a run. What all training loops share: metrics, evaluation, checkpoints, stopping."""

import math
from datetime import UTC, datetime
from typing import Any

from mtrl.algorithm import Algorithm, Policy
from mtrl.checkpoint import Checkpoint, Snapshot
from mtrl.errors import Interrupted, UserError
from mtrl.evaluation import EvaluationResult, evaluate
from mtrl.goals import GoalSet
from mtrl.logger.console import program_name, say, warn
from mtrl.logger.contract import RunInfo
from mtrl.logger.jsonl import JsonlFile
from mtrl.logger.start import start_trackers
from mtrl.run_folder import read_json, to_json, write_atomically
from mtrl.runner.clock import Clock
from mtrl.runner.experiment import Experiment
from mtrl.runner.loop import TrainingLoop
from mtrl.runner.metrics import flat_evaluation, flat_metrics
from mtrl.runner.progress import Progress, describe_evaluation
from mtrl.runner.signals import StopRequest
from mtrl.runner.together import SELDOM, load, newest_common, stop_agreed, store_of
from mtrl.vector.contract import TaskVectorEnv


class Session:
    """Runs a training loop from where the run folder has it to the end, or to a signal.

    Args:
        experiment: The run.
        loop: Its training loop, not started; None for a policy that learns nothing.
        agent: What is evaluated.
        goals: The training goals.
        clock: Running since the session's start.

    Raises:
        UserError: No checkpoint is whole, or the run folder cannot be written.
    """

    def __init__(
        self, experiment: Experiment, loop: TrainingLoop | None, agent: Any, goals: GoalSet, clock: Clock
    ) -> None:
        self._experiment, self._loop, self._agent, self._goals, self._clock = experiment, loop, agent, goals, clock
        self._config, self._folder = experiment.config, experiment.folder
        self._store = store_of(experiment)
        self._evaluation_env: TaskVectorEnv | None = None
        self._evaluation_due = False
        self._saved_at = -1
        self._faults_told = 0
        checkpoint = newest_common(self._store, experiment.ranks) if loop is not None else None
        lengths = checkpoint.manifest["lengths"] if checkpoint else {"metrics": 0, "evaluations": 0}
        self._metrics = JsonlFile(self._folder.metrics, lengths["metrics"])
        self._evaluations = JsonlFile(self._folder.evaluations, lengths["evaluations"])
        if loop is not None and checkpoint is not None:
            self._restore(loop, checkpoint)
        elif loop is not None:
            loop.start()
        begun = f"from {self._steps_per_task} steps/task" if checkpoint else "from the start"
        say(f"{experiment.title}: {begun}, on {experiment.device}, in {self._folder.path}")
        self._trackers = start_trackers(self._run_info())

    def run(self) -> dict[str, Any] | None:
        """Trains to the end and evaluates; returns the final summary, None where no final evaluation is configured.

        Raises:
            Interrupted: A signal came; a checkpoint is written.
            UserError: The agent diverged, or a worker died.
        """
        exit_code = 1
        self._clock.begin("wall_s")
        self._speed_mark = (self._env_step, self._updates, self._clock.read().wall_s)
        self._progress = Progress(self._experiment.title, self._config.steps_per_task, self._steps_per_task)
        try:
            with StopRequest() as self._stop:
                if self._loop is not None:
                    self._train(self._loop)
                summary = self._finish()
            exit_code = 0
            return summary
        except Interrupted:
            exit_code = 130
            program = program_name(self._experiment.ranks.size)
            say(f"stopped at {self._steps_per_task} steps/task; go on with: {program} resume {self._folder.path}")
            raise
        finally:
            self._close(exit_code)

    def _train(self, loop: TrainingLoop) -> None:
        every, log_every = self._config.evaluation.every, self._config.tracking.log_every
        target, final = self._config.steps_per_task, self._config.evaluation.final
        if self._evaluation_due and (loop.steps_per_task < target or not final):
            self._evaluate_midway(loop)
        while loop.steps_per_task < target:
            loop.advance()
            self._progress.step(loop.steps_per_task)
            if loop.crossed(log_every):
                self._log(loop)
            self._evaluation_due = loop.crossed(every, SELDOM)
            over, stopping = loop.steps_per_task >= target, stop_agreed(loop, self._stop.made)
            if loop.crossed(self._config.checkpoint.every, SELDOM) or stopping or over:
                self._save(loop)
            if stopping:
                raise Interrupted("stopped by a signal")
            if self._evaluation_due and not (over and final):  # after saving: a kill within it then loses no steps
                self._evaluate_midway(loop)
        if self._saved_at != loop.env_step:
            raise UserError(
                f"the last checkpoint of {self._folder.path} could not be written: make room on the disk (or raise "
                "--checkpoint.max-gigabytes) and give the same command again"
            )
        if loop.vector_steps and not loop.crossed(log_every):
            self._log(loop)

    def _log(self, loop: TrainingLoop) -> None:
        """One line of metrics; here alone the numbers of the updates are fetched from the device."""
        seconds = self._clock.read().wall_s
        env_step, updates, before = self._speed_mark
        elapsed = max(seconds - before, 1e-9)
        record = {
            **self._counters(),
            **loop.statistics.metrics(),
            **loop.shifted(),
            **flat_metrics(loop.metrics, [task.name for task in loop.env.tasks]),
            "speed/env_steps_per_s": (loop.env_step - env_step) / elapsed,
            "speed/updates_per_s": (loop.updates - updates) / elapsed,
        }
        self._speed_mark = (loop.env_step, loop.updates, seconds)
        self._metrics.append(record)
        self._trackers.log(loop.env_step, record)
        self._progress.report(record, record["speed/env_steps_per_s"] * loop.steps_per_task / loop.env_step)
        self._report_faults(loop)
        self._check_finite(loop, record)

    def _report_faults(self, loop: TrainingLoop) -> None:
        """Says which episodes the physics has cut short since it was last said."""
        faults = loop.env.faults
        if faults.sum() > self._faults_told:
            of_task = {task.name: int(n) for task, n in zip(loop.env.tasks, faults, strict=True) if n}
            told = ", ".join(f"{name} {count}" for name, count in of_task.items())
            why = "; ".join(f"{reason}: {count}" for reason, count in loop.env.fault_reasons.items())
            say(
                f"{int(faults.sum())} episodes ended because their physics failed, and were begun anew: {told}"
                + (f" ({why})" if why else "")
            )
            self._faults_told = int(faults.sum())

    def _check_finite(self, loop: TrainingLoop, record: dict[str, float]) -> None:
        """Ends a run whose losses are no numbers any more: nothing that follows would mean anything.

        Raises:
            UserError: One is not.
        """
        bad = [name for name, value in record.items() if name.startswith("loss/") and not math.isfinite(value)]
        if bad:
            raise UserError(
                f"the agent diverged by step {loop.steps_per_task} of each task ({bad[-1]} is {record[bad[-1]]}): "
                "lower its learning rates (`--algorithm.*`) and train into another --run-folder"
            )

    def _save(self, loop: TrainingLoop) -> None:
        """Writes a checkpoint, unless this very state is saved already."""
        if self._saved_at == loop.env_step:
            return
        self._check_finite(loop, flat_metrics(loop.metrics, [task.name for task in loop.env.tasks]))
        lengths = {"metrics": self._metrics.sync(), "evaluations": self._evaluations.sync()}
        clock, due = dict(vars(self._clock.read())), self._evaluation_due
        state = {"loop": loop.get_state(), "place": loop.place, "clock": clock, "evaluation_due": due}
        rows = loop.replay_rows() if self._config.checkpoint.replay else None
        if self._store.save(Snapshot(loop.env_step, loop.algorithm.weights(), state, lengths, rows)):
            loop.replay_saved()
            self._saved_at = loop.env_step

    def _restore(self, loop: TrainingLoop, checkpoint: Checkpoint) -> None:
        found = load(loop, checkpoint, self._folder)
        self._evaluation_due = found.evaluation_due
        self._faults_told = int(loop.env.faults.sum())
        self._clock.add(found.spent)
        if found.moved:
            say(found.moved)
            self._store.begin_replay_anew()
            return
        self._saved_at = loop.env_step
        if loop.has_replay and not checkpoint.manifest["replay"]:
            warn(
                "the run was saved without its replay: it is filled again before learning goes on, so this is not exact"
            )

    def _evaluate_midway(self, loop: TrainingLoop) -> None:
        """An evaluation between two steps; one that is cut short by a signal is played again on resuming."""
        try:
            result = self._evaluate(self._config.evaluation.goals)
        except Interrupted:
            self._save(loop)
            loop.ranks.any(True)  # the other processes wait for this one's evaluation
            raise
        self._evaluation_due = False
        self._record(result, final=False)
        loop.ranks.any(False)

    def _evaluate(self, goals: int | None) -> EvaluationResult:
        with self._clock.evaluating():
            if self._evaluation_env is None:
                slots = self._experiment.evaluation_slots(goals or max(self._goals.counts))
                self._evaluation_env = self._experiment.build_evaluation_env(self._goals, slots)
            return evaluate(self._player(), self._evaluation_env, goals, on_step=self._stop.check)

    def _player(self) -> Policy:
        """The agent as it plays elsewhere than where it learns."""
        return self._agent.player() if isinstance(self._agent, Algorithm) else self._agent

    def _record(self, result: EvaluationResult, *, final: bool) -> None:
        self._evaluations.append(result.to_record(final=final, **self._counters()))
        self._trackers.log(self._env_step, flat_evaluation(result))
        say(f"{self._experiment.title}: {describe_evaluation(result, self._steps_per_task)}")

    def _finish(self) -> dict[str, Any] | None:
        """The final evaluation on all goals, films, and the mark that the run is over."""
        summary = None
        if self._config.evaluation.final:
            goals = self._config.evaluation.final_goals or None
            episodes = sum(count if goals is None else min(goals, count) for count in self._goals.counts)
            say(f"{self._experiment.title}: final evaluation, {episodes} episodes")
            result = self._evaluate(goals)
            self._record(result, final=True)
            summary = result.summary
        if self._config.tracking.video:
            self._film()
        for file in (self._metrics, self._evaluations):
            file.sync()
            if file.waiting:
                raise UserError(
                    f"the last lines of {file.path} could not be written: make room and `mtrl resume` the run"
                )
        spent = self._clock.read().rounded()
        done = {
            **self._counters(),
            **spent,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "summary": summary,
        }
        write_atomically(self._folder.done, to_json(done, indent=1))
        return summary

    def _film(self) -> None:
        from mtrl.video import Stage, film  # needs ffmpeg and OpenGL, which training does not

        stage = Stage.of(self._experiment, self._goals)
        try:
            files = film(self._player(), stage, self._folder.videos)
        except UserError as error:
            warn(f"no videos: {error}")
            return
        for task, file in zip(stage.tasks, files, strict=True):
            self._trackers.log_video(self._env_step, task.name, file)

    def _counters(self) -> dict[str, Any]:
        spent = self._clock.read().rounded()
        steps = {"env_step": self._env_step, "steps_per_task": self._steps_per_task, "updates": self._updates}
        return {**steps, "wall_s": spent["wall_s"], "cpu_s": spent["cpu_s"]}

    @property
    def _env_step(self) -> int:
        return self._loop.env_step if self._loop else 0

    @property
    def _steps_per_task(self) -> int:
        return self._loop.steps_per_task if self._loop else getattr(self._agent, "steps_per_task", 0)

    @property
    def _updates(self) -> int:
        return self._loop.updates if self._loop else 0

    def _run_info(self) -> RunInfo:
        experiment, config = self._experiment, self._config
        group = f"{experiment.suite.name} {experiment.agent_name}"
        document = read_json(self._folder.config)
        return RunInfo(self._folder.path, experiment.title, group, document, config.tracking, self._env_step)

    def _close(self, exit_code: int) -> None:
        self._progress.close()
        self._trackers.close(exit_code)
        self._metrics.close()
        self._evaluations.close()
        if self._evaluation_env is not None:
            self._evaluation_env.close()
