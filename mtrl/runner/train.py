"""Beginning a run, or going on with one that is there."""

import dataclasses
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mtrl import provenance
from mtrl.algorithm import Algorithm, OffPolicyAlgorithm, OnPolicyAlgorithm
from mtrl.config import RunConfig, differences, to_dict
from mtrl.errors import UserError
from mtrl.goals import GoalSet
from mtrl.logger.console import program_name, say
from mtrl.memory import keep_freed_memory
from mtrl.ranks import Ranks
from mtrl.run_folder import read_json, to_json, write_atomically
from mtrl.runner.clock import Clock
from mtrl.runner.experiment import Experiment, prepare, read_experiment
from mtrl.runner.loop import TrainingLoop
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.runner.on_policy import OnPolicyLoop
from mtrl.runner.session import Session
from mtrl.runner.together import Follower

FREE = ("run_folder", "workers", "checkpoint.", "tracking.")
"""Fields that change nothing about what is learned: a run may go on with others."""


def start(config: RunConfig) -> Path:
    """Trains to the end: a new run, or the rest of one that was begun with the same configuration.

    Returns:
        The run folder.

    Raises:
        UserError: The configuration is impossible, or the folder holds a run of another one.
        Interrupted: A signal came; a checkpoint is written.
    """
    clock, experiment = Clock(time.perf_counter()), _joined(prepare(config))
    if experiment.ranks.rank:
        return _follow(experiment)
    experiment.folder.check_usable()
    with experiment.folder.lock():
        if experiment.folder.is_run():
            _check_same(experiment)
        _run(experiment, clock)
    return experiment.folder.path


def go_on(path: Path, steps_per_task: int | None = None, **place: Any) -> Path:
    """Goes on with a run from its newest whole checkpoint.

    Args:
        path: The run folder.
        steps_per_task: Train up to so many steps of each task instead of what the run was begun with; its final
            evaluation is then played anew at the new end.
        **place: Fields of the configuration that say where it runs (`engine`, `device`, `worlds`), if it is to go on
            elsewhere.

    Returns:
        The run folder.

    Raises:
        UserError: There is no run, or none of its checkpoints is whole.
        Interrupted: A signal came; a checkpoint is written.
    """
    clock, experiment = Clock(time.perf_counter()), _joined(read_experiment(path, **_placed(path, place)))
    extended = steps_per_task is not None and steps_per_task != experiment.config.steps_per_task
    if extended:
        experiment = _extended(experiment, int(steps_per_task or 0))
    if experiment.ranks.rank:
        return _follow(experiment)
    with experiment.folder.lock():
        _check_processes(experiment, read_json(experiment.folder.config))
        if extended:
            experiment.folder.done.unlink(missing_ok=True)
        _run(experiment, clock)
    return experiment.folder.path


def _placed(path: Path, place: dict[str, Any]) -> dict[str, Any]:
    """Fields of the configuration that change with the place; worlds are written as slots of each task.

    Raises:
        UserError: There are fewer worlds than tasks.
    """
    changes = {name: value for name, value in place.items() if value}
    worlds = changes.pop("worlds", 0)
    if worlds:
        tasks = len(read_experiment(path).suite.train_tasks)
        if worlds < tasks:
            raise UserError(f"--worlds {worlds} is less than one for each task: give {tasks} or more")
        changes |= {"slots_per_task": worlds // tasks, "worlds": 0}
    return changes


def _joined(experiment: Experiment) -> Experiment:
    """The same with the processes that `torchrun` started, if it did.

    Raises:
        UserError: They cannot be reached, or what they share cannot be divided among them.
    """
    ranks = Ranks.join(experiment.device)
    ranks.share(experiment.slots_per_task, "--slots-per-task")
    return dataclasses.replace(experiment, ranks=ranks)


def _extended(experiment: Experiment, steps_per_task: int) -> Experiment:
    if steps_per_task < experiment.config.steps_per_task:
        raise UserError(
            f"steps_per_task {steps_per_task} is less than the {experiment.config.steps_per_task} that the run "
            f"{experiment.folder.path} was begun with: give more"
        )
    extended = prepare(dataclasses.replace(experiment.config, steps_per_task=steps_per_task))
    return dataclasses.replace(extended, ranks=experiment.ranks)


def _check_processes(experiment: Experiment, document: Any) -> None:
    """Makes sure that as many processes go on as began: each has worlds and a replay of its own.

    Raises:
        UserError: They are more or fewer.
    """
    begun = document.get("processes", 1)
    if begun != experiment.ranks.size:
        how = f"{program_name(begun)} ..." if begun > 1 else "mtrl ..., without torchrun"
        raise UserError(
            f"run folder {experiment.folder.path} was begun with {begun} processes, and here are "
            f"{experiment.ranks.size}: go on with `{how}`, or train into another --run-folder"
        )


def _check_same(experiment: Experiment) -> None:
    """Makes sure that the run in the folder has the same configuration, as far as it decides what is learned.

    Raises:
        UserError: It has not; the message lists the fields.
    """
    folder = experiment.folder
    document = read_json(folder.config)
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise UserError(f"{folder.config} is damaged: restore it, or train into another --run-folder")
    _check_processes(experiment, document)
    found = differences(document["config"], to_dict(experiment.config))
    differing = {name: values for name, values in found.items() if not name.startswith(FREE)}
    if differing:
        listed = ", ".join(f"{name} (there {there!r}, asked {asked!r})" for name, (there, asked) in differing.items())
        raise UserError(
            f"run folder {folder.path} holds a run of another configuration: {listed}; choose another --run-folder, or "
            f"go on with that run by `mtrl resume {folder.path}`"
        )


def _run(experiment: Experiment, clock: Clock) -> None:
    folder, ranks = experiment.folder, experiment.ranks
    if folder.is_finished():
        ranks.any(True)  # the others need not begin
        say(f"{experiment.title}: finished already, in {folder.path}")
        return
    agent = _build(experiment)
    _write_beginning(experiment, agent)
    ranks.any(not experiment.preset.trainable)
    goals = folder.read_goals("train", experiment.suite.train_tasks)
    if not experiment.preset.trainable:
        Session(experiment, None, agent, goals, clock).run()
        return
    worlds, tasks = experiment.config.worlds, len(experiment.suite.train_tasks)
    if worlds % tasks:
        say(f"stepping {experiment.slots_per_task * tasks} worlds, since {worlds} do not divide among {tasks} tasks")
    with _loop(experiment, agent, goals) as loop:
        Session(experiment, loop, agent, goals, clock).run()


def _follow(experiment: Experiment) -> Path:
    """A further process's part: to learn with the first one."""
    if not experiment.ranks.any(False):
        agent = _build(experiment)
        goals = experiment.folder.read_goals("train", experiment.suite.train_tasks)
        with _loop(experiment, agent, goals) as loop:
            Follower(experiment, loop).run()
    return experiment.folder.path


def _build(experiment: Experiment) -> Any:
    """The agent.

    Raises:
        UserError: No training loop knows what to do with it.
    """
    if experiment.device.type == "cpu":
        torch.set_num_threads(1)  # more are slower: the networks are small, and workers need the other cores
        keep_freed_memory()
    torch.manual_seed(experiment.config.seed)
    agent = experiment.build_agent()
    if experiment.preset.trainable and not isinstance(agent, OffPolicyAlgorithm | OnPolicyAlgorithm):
        raise UserError(
            f"agent '{experiment.preset.name}' is a {type(agent).__name__}: derive it from "
            "mtrl.algorithm.OffPolicyAlgorithm or OnPolicyAlgorithm, for which there are training loops"
        )
    return agent


@contextmanager
def _loop(experiment: Experiment, agent: Algorithm, goals: GoalSet) -> Iterator[TrainingLoop]:
    """The training loop that the agent asks for, with this process's worlds."""
    config, ranks = experiment.config, experiment.ranks
    with closing(experiment.build_env(goals, experiment.slots_per_task // ranks.size)) as env:
        if config.compile:
            agent.compile()
            env.compile()
        if config.graphs:
            agent.record()
        if isinstance(agent, OnPolicyAlgorithm):
            yield OnPolicyLoop(agent, env, config, ranks)
        elif isinstance(agent, OffPolicyAlgorithm):
            yield OffPolicyLoop(agent, env, config, ranks)


def _write_beginning(experiment: Experiment, agent: Any) -> None:
    """Writes configuration and goals before anything runs; of a run that is there, what is missing or may change."""
    folder, config = experiment.folder, experiment.config
    tables = {}
    if not folder.goals.exists():
        tables = {
            split: dict(zip(experiment.tasks_of(split), goals.rows, strict=True))
            for split, goals in experiment.goal_sets().items()
        }
    if folder.is_run():
        document = read_json(folder.config)
        document["config"] = to_dict(config)
    else:
        document = {
            "id": uuid.uuid4().hex[:12],
            "config": to_dict(config),
            "agent": experiment.agent_name,
            "suite": dataclasses.asdict(experiment.suite),
            "versions": provenance.versions(),
            "commit": provenance.commit(),
            "hardware": provenance.hardware(),
            "device": str(experiment.device),
            "processes": experiment.ranks.size,
            "parameters": agent.parameter_counts() if experiment.preset.trainable else {},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
        }
    write_atomically(folder.config, to_json(document, indent=1))
    if tables:
        folder.write_goals(config.goal_seed, tables)
