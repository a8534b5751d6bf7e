"""Configuration of a run: frozen dataclasses, of which the command line is made and which `config.json` holds.

The string under a field is its `--help`.
"""

import dataclasses
import difflib
import json
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

import tyro

from mtrl.errors import UserError
from mtrl.scenes.warp.settings import WarpSettings


@dataclass(frozen=True)
class Choice:
    """Settings of something that is chosen by name; the name decides which settings there are."""

    name: str
    """What is chosen."""

    def renamed(self, name: str) -> Self:
        """The settings of another choice.

        Raises:
            UserError: There is no such choice.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ReplayConfig:
    """Replay buffer."""

    capacity_per_task: int = 100_000
    """Transitions kept for each task; the oldest are overwritten."""


@dataclass(frozen=True)
class TrialConfig:
    """Trials, for agents that learn to learn: episodes in a row in the same task with the same goal."""

    episodes: int = 10
    """Episodes in which an agent adapts."""
    judged: int = 3
    """Episodes that follow them in an evaluation, and alone count there."""
    learned: int = 0
    """Episodes in which an agent adapts in training, where shorter trials will do; 0: as many as in evaluations."""

    @property
    def training(self) -> int:
        """Episodes in which an agent adapts in training."""
        return self.learned or self.episodes


@dataclass(frozen=True)
class ShiftConfig:
    """Worlds that shift towards tasks that fail: those of tasks that succeed rest."""

    floor: float = 1.0
    """Share of a task's worlds that play however well it does; with success s, floor + (1 - floor) (1 - s) of them do.
    With 1 all always play."""
    every: int = 25_000
    """Environment steps, a task on average, between two looks at how tasks do; where other worlds are to play then,
    all begin new episodes."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation protocol."""

    every: int = 50_000
    """Environment steps a task between evaluations during training; 0 evaluates at the end alone. On the warp engine
    at least 1,024 steps of all worlds."""
    goals: int = 10
    """Goals a task in evaluations during training."""
    slots_per_task: int = 0
    """Slots a task that evaluation is spread over; 0: one, or one for each goal on the warp engine."""
    final: bool = True
    """Evaluate on the training goals (A-eval) when training ends."""
    final_goals: int = 0
    """Goals a task in the final evaluation; 0 plays all of them, and anything else is named beside every figure."""


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints."""

    every: int = 20_000
    """Environment steps a task between checkpoints; on the warp engine at least 1,024 steps of all worlds."""
    keep: int = 1
    """Checkpoints kept besides the newest."""
    replay: bool = True
    """Save the replay buffer, without which a run cannot be resumed exactly."""
    max_gigabytes: float = 20.0
    """Upper bound on what checkpoints and replay may take on disk; a checkpoint that would pass it is not written."""


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go besides the run folder's jsonl files."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases: `auto` is online where a key or login exists and offline otherwise; WANDB_MODE has its say."""
    wandb_project: str = "mtrl"
    """wandb project."""
    wandb_group: str = ""
    """wandb group; empty: suite and agent."""
    wandb_tags: tuple[str, ...] = ()
    """wandb tags."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder."""
    trackers: tuple[str, ...] = ()
    """Registered trackers of your own, by name."""
    log_every: int = 1_000
    """Environment steps a task between lines of metrics; on the warp engine at least 32 steps of all worlds."""
    video: bool = False
    """Film one episode a task after the final evaluation."""


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    suite: Annotated[str, tyro.conf.Positional] = "MT3"
    """Suite (MT3, MT10, ...), a task (reach-v3), or tasks joined by commas."""
    agent: str = "mtmhsac"
    """Agent preset; `mtrl list agents` shows all."""
    steps_per_task: int = 2_000_000
    """Environment steps to train for, counted for each task, or on average where worlds shift (`--shift.floor`)."""
    seed: int = 0
    """Fixes initial weights, exploration and the order of goals."""
    goal_seed: int = 42
    """Fixes the goals themselves, so that agents and seeds are compared on the same ones."""
    engine: str = "auto"
    """`native` (CPU threads), `warp` (thousands of worlds on a GPU), `official` (the oracle); `auto`: as tasks and
    device suggest."""
    slots_per_task: int = 1
    """Environments of each task that are stepped together."""
    worlds: int = 0
    """Environments over all tasks, divided equally among them, instead of slots-per-task; 0: as that says."""
    workers: int = 0
    """Worker processes, or threads of the native engine, that step environments; 0 takes one less than the cores."""
    compile: bool = False
    """Compile networks and the rules of tasks on scenes: a minute at the start, then faster. Needs a C++ compiler."""
    graphs: bool = True
    """On CUDA, record updates once and replay them as CUDA graphs."""
    random_progress: bool = False
    """Begin each slot's first training episode at a random step, so that slots do not end together (native, warp);
    agents that learn to learn begin first trials at later episodes instead."""
    device: str = "auto"
    """Torch device: `auto`, `cpu`, `cuda`, `cuda:1`."""
    warmup_steps: int = 4_000
    """Environment steps a task with random actions before the first update."""
    updates_per_step: float = 1.0
    """Gradient updates for each step of the vector environment; below 1, an update every so many steps."""
    run_folder: str = ""
    """Where the run is written; empty: runs/SUITE/AGENT/seed-SEED."""
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    trial: TrialConfig = field(default_factory=TrialConfig)
    shift: ShiftConfig = field(default_factory=ShiftConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    warp: WarpSettings = field(default_factory=WarpSettings)
    algorithm: Any = None
    """Hyperparameters of the agent (set by the preset)."""


def to_dict(config: Any) -> dict[str, Any]:
    """Plain, JSON-ready form of a config dataclass."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(template: Any, values: dict[str, Any]) -> Any:
    """The inverse of `to_dict`.

    Args:
        template: A config of the same type, whose nested types are used.
        values: What `to_dict` gave; fields that are missing keep the template's value.

    Raises:
        UserError: A field is unknown or of another type.
    """
    known = {f.name: getattr(template, f.name) for f in dataclasses.fields(template)}
    hints = get_type_hints(type(template))
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
            raise UserError(f"configuration field '{name}' is unknown to {type(template).__name__}: {hint}")
        current = known[name]
        if isinstance(current, Choice) and isinstance(value, str | dict):
            current, value = _choose(current, value)
        plain = tuple(value) if isinstance(value, list) else value
        if dataclasses.is_dataclass(current) and isinstance(value, dict):
            changes[name] = from_dict(current, value)
        elif dataclasses.is_dataclass(current) or not _fits(hints[name], plain):
            wanted = "a dict of its fields" if dataclasses.is_dataclass(current) else _wording(hints[name])
            raise UserError(f"configuration field '{name}' is {value!r}: give {wanted}")
        else:
            changes[name] = plain
    return dataclasses.replace(template, **changes)


def _choose(current: Choice, value: str | dict[str, Any]) -> tuple[Choice, dict[str, Any]]:
    """The choice that a value names, and the fields that it changes; a name alone may stand for it."""
    fields = {"name": value} if isinstance(value, str) else value
    chosen = fields.get("name", current.name)
    return (current if chosen == current.name else current.renamed(chosen)), fields


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value may stand in a field of this type, of which configs know but a few."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in arguments
    if origin in (Union, types.UnionType):
        return any(_fits(argument, value) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(arguments[0], entry) for entry in value)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)


def _wording(hint: Any) -> str:
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    return f"{hint.__name__ if isinstance(hint, type) and not arguments else hint}"


def differences(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted names of the fields in which two `to_dict` forms differ, with both values."""
    result: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*one, *other}):
        left, right = one.get(name), other.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            result |= differences(left, right, f"{prefix}{name}.")
        elif left != right:
            result[prefix + name] = (left, right)
    return result


Bounds = Mapping[str, tuple[float, float]]
"""Lowest and highest value of numbers in a config, ends included, by dotted name."""

_LARGEST = 2**31 - 1
_BOUNDS: Bounds = {
    "steps_per_task": (0, math.inf),
    "seed": (0, _LARGEST),
    "goal_seed": (0, _LARGEST),
    "slots_per_task": (1, 1_000_000),
    "workers": (0, 1_000),
    "warmup_steps": (0, math.inf),
    "updates_per_step": (0.001, 1_000),
    "replay.capacity_per_task": (1, math.inf),
    "evaluation.every": (0, math.inf),
    "evaluation.goals": (1, math.inf),
    "evaluation.final_goals": (0, math.inf),
    "evaluation.slots_per_task": (0, 1_000_000),
    "trial.episodes": (1, 10_000),
    "trial.judged": (1, 10_000),
    "trial.learned": (0, 10_000),
    "shift.floor": (0.001, 1.0),
    "shift.every": (1, math.inf),
    "checkpoint.every": (1, math.inf),
    "checkpoint.keep": (0, 1_000),
    "checkpoint.max_gigabytes": (0.001, math.inf),
    "tracking.log_every": (1, math.inf),
}


def validate(config: RunConfig) -> RunConfig:
    """Refuses what cannot work, before anything is built or written.

    Hyperparameters are the agent's own to check: a method `check()` of its config is called, if there is one.

    Args:
        config: What the user asked for.

    Returns:
        The same config.

    Raises:
        UserError: A number is out of its bounds, or two do not fit each other.
    """
    check_bounds(config, _BOUNDS)
    config.warp.check()
    if hasattr(config.algorithm, "check"):
        config.algorithm.check()
    if config.random_progress and getattr(config.algorithm, "whole_trials", False):
        raise UserError(f"{config.agent} learns from whole trials of all worlds: leave {option('random_progress')} off")
    capacity, slots = config.replay.capacity_per_task, config.slots_per_task
    if capacity < slots:
        raise UserError(
            f"{option('replay.capacity_per_task')} {capacity} is less than one step of {slots} slots: give more"
        )
    batch = getattr(config.algorithm, "batch_per_task", 0)
    if batch > capacity:
        raise UserError(
            f"{option('algorithm.batch_per_task')} {batch} is more than the {capacity} transitions that "
            f"{option('replay.capacity_per_task')} keeps: lower the one or raise the other"
        )
    return config


def check_bounds(config: Any, bounds: Bounds, prefix: str = "") -> None:
    """Refuses numbers out of their bounds.

    Args:
        config: A config dataclass.
        bounds: Of its numbers.
        prefix: Dotted name of the config itself, such as `algorithm.`.

    Raises:
        UserError: One is; NaN always is.
    """
    for name, (lowest, highest) in bounds.items():
        value: Any = config
        for part in name.split("."):
            value = getattr(value, part)
        if not lowest <= value <= highest:
            allowed = f"at least {lowest:.10g}" + ("" if math.isinf(highest) else f" and at most {highest:.10g}")
            raise UserError(f"{option(prefix + name)} {value} is impossible: give {allowed}")


def option(name: str) -> str:
    """How a field is written on the command line: `evaluation.slots_per_task` is `--evaluation.slots-per-task`."""
    return "--" + name.replace("_", "-")
