"""Beginning a run, or going on with one that is there."""

import dataclasses
import sys
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from mtrl import provenance
from mtrl.algorithm import Algorithm, OffPolicyAlgorithm, OnPolicyAlgorithm
from mtrl.config import RunConfig, differences, to_dict
from mtrl.errors import UserError
from mtrl.goals import GoalSet
from mtrl.logger.console import say
from mtrl.memory import keep_freed_memory
from mtrl.run_folder import read_json, to_json, write_atomically
from mtrl.runner.experiment import Experiment, prepare, read_experiment
from mtrl.runner.loop import TrainingLoop
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.runner.on_policy import OnPolicyLoop
from mtrl.runner.session import Session
from mtrl.vector.contract import TaskVectorEnv

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
    experiment = prepare(config)
    experiment.folder.check_usable()
    with experiment.folder.lock():
        if experiment.folder.is_run():
            _check_same(experiment)
        _run(experiment)
    return experiment.folder.path


def go_on(path: Path, steps_per_task: int | None = None) -> Path:
    """Goes on with a run from its newest whole checkpoint.

    Args:
        path: The run folder.
        steps_per_task: Train up to so many steps of each task instead of what the run was begun with; its final
            evaluation is then played anew at the new end.

    Returns:
        The run folder.

    Raises:
        UserError: There is no run, or none of its checkpoints is whole.
        Interrupted: A signal came; a checkpoint is written.
    """
    experiment = read_experiment(path)
    with experiment.folder.lock():
        if steps_per_task is not None and steps_per_task != experiment.config.steps_per_task:
            experiment = _extended(experiment, steps_per_task)
        _run(experiment)
    return experiment.folder.path


def _extended(experiment: Experiment, steps_per_task: int) -> Experiment:
    if steps_per_task < experiment.config.steps_per_task:
        raise UserError(
            f"steps_per_task {steps_per_task} is less than the {experiment.config.steps_per_task} that the run "
            f"{experiment.folder.path} was begun with: give more"
        )
    extended = prepare(dataclasses.replace(experiment.config, steps_per_task=steps_per_task))
    experiment.folder.done.unlink(missing_ok=True)
    return extended


def _check_same(experiment: Experiment) -> None:
    """Makes sure that the run in the folder has the same configuration, as far as it decides what is learned.

    Raises:
        UserError: It has not; the message lists the fields.
    """
    folder = experiment.folder
    document = read_json(folder.config)
    if not isinstance(document, dict) or not isinstance(document.get("config"), dict):
        raise UserError(f"{folder.config} is damaged: restore it, or train into another --run-folder")
    found = differences(document["config"], to_dict(experiment.config))
    differing = {name: values for name, values in found.items() if not name.startswith(FREE)}
    if differing:
        listed = ", ".join(f"{name} (there {there!r}, asked {asked!r})" for name, (there, asked) in differing.items())
        raise UserError(
            f"run folder {folder.path} holds a run of another configuration: {listed}; choose another --run-folder, or "
            f"go on with that run by `mtrl resume {folder.path}`"
        )


def _run(experiment: Experiment) -> None:
    folder = experiment.folder
    if folder.is_finished():
        say(f"{experiment.title}: finished already, in {folder.path}")
        return
    if experiment.device.type == "cpu":
        torch.set_num_threads(1)  # more are slower: the networks are small, and workers need the other cores
        keep_freed_memory()
    torch.manual_seed(experiment.config.seed)
    agent = experiment.build_agent()
    _write_beginning(experiment, agent)
    goals = folder.read_goals("train", experiment.suite.train_tasks)
    if not experiment.preset.trainable:
        Session(experiment, None, agent, goals).run()
    elif isinstance(agent, OffPolicyAlgorithm | OnPolicyAlgorithm):
        _train(experiment, agent, goals)
    else:
        raise UserError(
            f"agent '{experiment.preset.name}' is a {type(agent).__name__}: derive it from "
            "mtrl.algorithm.OffPolicyAlgorithm or OnPolicyAlgorithm, for which there are training loops"
        )


def _loop(agent: Algorithm, env: TaskVectorEnv, config: RunConfig) -> TrainingLoop:
    """The training loop that an agent asks for."""
    if isinstance(agent, OnPolicyAlgorithm):
        return OnPolicyLoop(agent, env, config)
    assert isinstance(agent, OffPolicyAlgorithm)
    return OffPolicyLoop(agent, env, config)


def _train(experiment: Experiment, agent: OffPolicyAlgorithm | OnPolicyAlgorithm, goals: GoalSet) -> None:
    worlds, tasks = experiment.config.worlds, len(experiment.suite.train_tasks)
    if worlds % tasks:
        say(f"stepping {experiment.slots_per_task * tasks} worlds, since {worlds} do not divide among {tasks} tasks")
    with closing(experiment.build_env(goals, experiment.slots_per_task)) as env:
        if experiment.config.compile:
            agent.compile()
            env.compile()
        if experiment.config.graphs:
            agent.record()
        Session(experiment, _loop(agent, env, experiment.config), agent, goals).run()


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
            "parameters": agent.parameter_counts() if experiment.preset.trainable else {},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": sys.argv,
        }
    write_atomically(folder.config, to_json(document, indent=1))
    if tables:
        folder.write_goals(config.goal_seed, tables)
