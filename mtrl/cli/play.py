"""`mtrl eval` and `mtrl video`: what needs a trained agent, or a fixed policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from mtrl.cli.parse import parse
from mtrl.errors import UserError
from mtrl.plain_types import Context

if TYPE_CHECKING:
    from mtrl.evaluation import EvaluationResult


@dataclass(frozen=True)
class EvaluateOptions:
    """What `mtrl eval` takes."""

    run: Annotated[str, tyro.conf.Positional] = ""
    """Run folder, such as runs/MT10/mtmhsac/seed-0; or none, and --agent with --suite."""
    agent: str = ""
    """Instead of a run: a fixed policy, zero, random or repeat."""
    suite: str = ""
    """Suite, task, or tasks joined by commas that the fixed policy plays."""
    goals: Literal["train", "heldout", "test"] = "train"
    """train: the goals that are trained on (A-eval); heldout: goals never trained on; test: tasks never trained on."""
    count: int | None = None
    """Only the first so many goals of each task; None plays all, and adds the result to a finished run where it
    comes from the run's own engine."""
    mode: bool = True
    """Take the most likely action; with --no-mode, a sample."""
    context: Context = "own"
    """What an agent that adapts learns from: own: its goal; as a control, other: another goal of the same task, or
    none: every episode is played as the first of a trial."""
    seed: int = 0
    """Seed of the fixed policy."""
    goal_seed: int = 42
    """Fixes the goals that the fixed policy plays."""
    slots_per_task: int = 0
    """Environments of each task that are stepped together; 0: one, or one for each goal on the warp engine."""
    engine: str = ""
    """Which engine runs the tasks; empty: the run's own."""
    workers: int = 0
    """Worker processes that step environments; 0 takes one less than the cores, at least 1."""
    device: str = "cpu"
    """Where the agent acts: `auto`, `cpu`, `cuda`, `cuda:1`."""


def evaluate(arguments: Sequence[str]) -> None:
    """Plays protocol A and prints success and return, as means over tasks and for each task."""
    description = "Evaluate a run's newest agent, or a fixed policy: every goal of every task once (protocol A)."
    options = parse(EvaluateOptions(), arguments, "mtrl eval", description)
    if options is None:
        return
    if bool(options.run) == bool(options.agent):
        raise UserError(
            "give either a run folder or --agent with a fixed policy, as in `mtrl eval --agent zero --suite MT3`"
        )
    if options.run and options.suite:
        raise UserError(f"--suite {options.suite} does not go with a run, which has its own: leave it out")
    from mtrl import api

    shared = {
        name: getattr(options, name)
        for name in ("goals", "count", "mode", "context", "slots_per_task", "engine", "workers", "device")
    }
    if options.run:
        result = api.evaluate(options.run, **shared)
        print(_report(result, _trained_steps(Path(options.run))))
    else:
        fixed = {name: getattr(options, name) for name in ("agent", "seed", "goal_seed")}
        print(_report(api.evaluate(suite=options.suite or "MT3", **fixed, **shared), 0))


def _trained_steps(run: Path) -> int:
    """Steps per task behind the newest checkpoint of a run; 0 where nothing is trained."""
    from mtrl.checkpoint import find_checkpoint
    from mtrl.runner.experiment import read_experiment

    experiment = read_experiment(run, device="cpu")
    checkpoint = find_checkpoint(experiment.folder, with_replay=False)
    return checkpoint.manifest["env_step"] // len(experiment.suite.train_tasks) if checkpoint else 0


def _report(result: "EvaluationResult", steps_per_task: int) -> str:
    """The evaluation as a table, under its protocol letter; of trials, the adaptation curve too."""
    rows = [("mean over tasks", result.success_any, result.success_end, result.mean_return)]
    rows += [(task, row["success_any"], row["success_end"], row["return"]) for task, row in result.per_task.items()]
    rows += [
        (f"episode {number} of a trial", row["success_any"], row["success_end"], row["return"])
        for number, row in enumerate(result.adaptation, 1)
    ]
    width = max(len(name) for name, *_ in rows)
    lines = [result.label(steps_per_task), f"{'task':<{width}}  success  success at end   return"]
    lines += [f"{name:<{width}}  {any_:7.3f}  {end:14.3f}  {return_:7.1f}" for name, any_, end, return_ in rows]
    if result.adapting and result.context == "own":
        found, gap = result.official_success, result.official_success - result.success_any
        lines.append(f"Meta-World's own evaluator would report {found:.3f} ({gap:+.3f}): see docs/evaluation.md")
    return "\n".join(lines)


@dataclass(frozen=True)
class VideoOptions:
    """What `mtrl video` takes."""

    run: Annotated[str, tyro.conf.Positional] = ""
    """Run folder, such as runs/MT10/mtmhsac/seed-0; the files are written to its folder videos."""
    tasks: tuple[str, ...] = ()
    """Tasks to film, with spaces between; none films all."""
    episodes: int = 1
    """Episodes in each file, on consecutive goals."""
    first_goal: int = 0
    """Index of the first goal among the training goals."""
    every: int = 5
    """Environment steps from one frame to the next."""
    device: str = "cpu"
    """Where the agent acts: `auto`, `cpu`, `cuda`, `cuda:1`."""


def video(arguments: Sequence[str]) -> None:
    """Films a run's agent."""
    description = "Film a run's agent, with the most likely actions: one mp4 a task."
    options = parse(VideoOptions(), arguments, "mtrl video", description)
    if options is None:
        return
    if not options.run:
        raise UserError("no run folder given: name one, as in `mtrl video runs/MT10/mtmhsac/seed-0`")
    from mtrl.video import film_run

    files = film_run(
        options.run,
        only=options.tasks,
        episodes=options.episodes,
        first_goal=options.first_goal,
        every=options.every,
        device=options.device,
    )
    print("\n".join(str(file) for file in files))
