"""The Python interface, which the command line calls too.

import mtrl
run = mtrl.train("MT3", agent="quick", seed=0, network="moore", tracking={"log_every": 500})
print(run.evaluate().success_any, run.evaluate(goals="heldout").success_any)
"""

import dataclasses
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtrl.algorithm import AGENTS, Policy
from mtrl.config import RunConfig, from_dict
from mtrl.errors import UserError
from mtrl.evaluation import EvaluationResult
from mtrl.evaluation import evaluate as play
from mtrl.logger.console import warn
from mtrl.logger.jsonl import JsonlFile
from mtrl.parts.words import WORDS, choose_parts
from mtrl.plain_types import Context
from mtrl.run_folder import RunFolder, read_json, read_jsonl
from mtrl.runner import go_on, load_policy, prepare, start
from mtrl.runner.experiment import Experiment, make_problem, read_experiment


@dataclass(frozen=True)
class Run:
    """A run folder.

    Attributes:
        path: Where it is.
    """

    path: Path

    @property
    def folder(self) -> RunFolder:
        """Names of all its files."""
        return RunFolder(self.path)

    @property
    def config(self) -> RunConfig:
        """Its configuration."""
        return read_experiment(self.path).config

    @property
    def finished(self) -> bool:
        """Whether it has ended as planned."""
        return self.folder.is_finished()

    def metrics(self) -> list[dict[str, Any]]:
        """Lines of `metrics.jsonl`, oldest first."""
        return read_jsonl(self.folder.metrics)

    def evaluations(self) -> list[dict[str, Any]]:
        """Lines of `eval.jsonl`, oldest first."""
        return read_jsonl(self.folder.evaluations)

    def policy(self, device: str = "cpu") -> Policy:
        """Its agent, with the newest weights."""
        return load_policy(self.path, device=device)

    def evaluate(self, **options: Any) -> EvaluationResult:
        """`evaluate` of this run."""
        return evaluate(self.path, **options)

    def resume(self, steps_per_task: int | None = None, **place: Any) -> "Run":
        """`resume` of this run."""
        return resume(self.path, steps_per_task, **place)


def train(suite: str | RunConfig = "MT3", agent: str = "mtmhsac", **options: Any) -> Run:
    """Trains an agent, or goes on with a run of the same configuration.

    Args:
        suite: A suite, a task, tasks joined by commas; or a whole `RunConfig`, and then nothing else.
        agent: Agent preset; its values are the defaults of all options.
        **options: Fields of `RunConfig`; a nested config is given as a dict of the fields to change, and a part of the
            agent as its name or as a dict with its `name`. The words `network`, `critic`, `combiner` and `scale` choose
            all parts of their kind by name.

    Returns:
        The run.

    Raises:
        UserError: Something is unknown or impossible, or the run folder holds another run.
        Interrupted: A signal came (Ctrl-C); the run can be gone on with.
    """
    if isinstance(suite, RunConfig):
        if options:
            raise UserError(f"option '{min(options)}' was given beside a RunConfig: put it into the RunConfig")
        return Run(start(suite))
    return Run(start(make_config(suite, agent, **options)))


def resume(
    path: str | Path, steps_per_task: int | None = None, *, engine: str = "", device: str = "", worlds: int = 0
) -> Run:
    """Goes on with a run from its newest whole checkpoint.

    Args:
        path: The run folder.
        steps_per_task: Train up to so many steps of each task, more than the run was begun with.
        engine: Go on on another engine; empty: on the same.
        device: Go on on another device; empty: on the same.
        worlds: Go on in so many worlds over all tasks; 0: in as many as before.

    Returns:
        The run.

    Raises:
        UserError: There is no run, or none of its checkpoints is whole.
        Interrupted: A signal came (Ctrl-C).
    """
    return Run(go_on(Path(path), steps_per_task, engine=engine, device=device, worlds=worlds))


def evaluate(
    run: str | Path | None = None,
    *,
    suite: str = "MT3",
    agent: str = "",
    goals: str = "train",
    count: int | None = None,
    mode: bool = True,
    context: Context = "own",
    seed: int = 0,
    goal_seed: int = 42,
    slots_per_task: int = 0,
    engine: str = "",
    workers: int = 0,
    device: str = "cpu",
) -> EvaluationResult:
    """Plays protocol A with a run's newest agent, or with a fixed policy on a suite.

    An evaluation of all goals with the mode action on the run's own engine is added to the `eval.jsonl` of a finished
    run.

    Args:
        run: A run folder.
        suite: Without a run: the suite.
        agent: Without a run: a fixed policy (`zero`, `random`, `repeat`).
        goals: `train`, `heldout` (same tasks, goals never trained on), or `test` (tasks never trained on).
        count: Only the first so many goals of each task; None plays all.
        mode: Take the most likely action rather than a sample.
        context: What an agent that adapts learns from: its `own` goal, or as a control an `other` one, or `none`.
        seed: Without a run: the policy's seed.
        goal_seed: Without a run: fixes the goals.
        slots_per_task: Environments of each task; 0: one, or one for each goal on the warp engine.
        engine: Which engine runs the tasks; empty: the run's own, or without a run `auto`.
        workers: Worker processes; 0 takes one less than the cores.
        device: Where the agent acts.

    Raises:
        UserError: There is no such run, agent, suite or set of goals.
    """
    if count is not None and count < 1:
        raise UserError(f"cannot play {count} goals: give at least 1")
    changes: dict[str, Any] = {"workers": workers, "device": device}
    changes |= {"engine": engine} if engine else {}
    if run is None:
        experiment = prepare(make_config(suite, agent or "zero", seed=seed, goal_seed=goal_seed, **changes))
        if experiment.preset.trainable:
            raise UserError(
                f"agent '{agent}' must be trained first: give its run folder, or a fixed policy such as zero"
            )
        sets, policy = experiment.goal_sets(), experiment.build_agent()
        experiment.tasks_of(goals)
        return _play(experiment, policy, sets[goals], count, mode, context, slots_per_task)
    experiment = read_experiment(Path(run), **changes)
    goal_set = experiment.folder.read_goals(goals, experiment.tasks_of(goals))
    if goals == "test" and experiment.preset.trainable and not experiment.in_trials:
        raise UserError(
            f"agent '{experiment.preset.name}' knows the tasks it was trained on alone: evaluate it on --goals heldout"
        )
    if goals == "test" and experiment.preset.trainable:
        _check_widths(experiment)
    policy = load_policy(run, device=device)
    result = _play(experiment, policy, goal_set, count, mode, context, slots_per_task)
    own = not engine or engine == read_experiment(Path(run)).config.engine
    if experiment.folder.is_finished() and count is None and mode and own:
        _add(experiment, result)
    return result


def make_config(suite: str, agent: str, **options: Any) -> RunConfig:
    """The configuration of a preset with some fields changed.

    Args:
        suite: As of `train`.
        agent: As of `train`.
        **options: As of `train`.

    Raises:
        UserError: The preset, a field or a part is unknown, a value is of another type, or two contradict each other.
    """
    defaults = dataclasses.replace(AGENTS.get(agent).defaults, suite=suite, agent=agent)
    words = {word: options.pop(word) for word in WORDS if word in options}
    for word, name in words.items():
        if not isinstance(name, str):
            raise UserError(f"{word} is {name!r}: give the name of one (`mtrl list {word}s` shows all)")
    return from_dict(choose_parts(defaults, words | _names_in(options)), options)


def _names_in(options: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted names of what may be names of parts: of the texts in nested dicts."""
    found: dict[str, str] = {}
    for field, value in options.items():
        if isinstance(value, Mapping):
            found |= _names_in(value, f"{prefix}{field}.")
        elif isinstance(value, str):
            found[prefix + (field if field == "name" else f"{field}.name")] = value
    return found


def _play(
    experiment: Experiment,
    policy: Policy,
    goals: Any,
    count: int | None,
    mode: bool,
    context: Context,
    slots_per_task: int,
) -> EvaluationResult:
    slots = slots_per_task or experiment.evaluation_slots(count or max(goals.counts))
    with closing(experiment.build_evaluation_env(goals, slots)) as env:
        return play(policy, env, count, mode, context=context)


def _check_widths(experiment: Experiment) -> None:
    """Makes sure that an agent can see and act in tasks that it was not trained on.

    Raises:
        UserError: They have other sizes.
    """
    problems = [make_problem(experiment.tasks_of(split), experiment.device, 0) for split in ("train", "test")]
    trained, new = ((problem.obs_mask.shape[1], problem.action_mask.shape[1]) for problem in problems)
    if trained != new:
        raise UserError(
            f"the agent of {experiment.folder.path} sees {trained[0]} numbers and gives {trained[1]}, and the test "
            f"tasks have {new[0]} and {new[1]}: evaluate it on --goals heldout"
        )


def _add(experiment: Experiment, result: EvaluationResult) -> None:
    """Adds a line to a finished run; the counters are those of its end."""
    folder = experiment.folder
    done = read_json(folder.done)
    counters = {name: done[name] for name in ("env_step", "steps_per_task", "updates", "wall_s", "cpu_s")}
    record = result.to_record(final=True, **counters)
    if any(line == record for line in read_jsonl(folder.evaluations)):
        return  # the same again
    try:
        with folder.lock():
            file = JsonlFile(folder.evaluations, folder.evaluations.stat().st_size)
            file.append(record)
            file.close()
    except (UserError, OSError) as error:
        warn(f"the evaluation was not added to {folder.evaluations}: {error}")
