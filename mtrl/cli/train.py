"""`mtrl train` and `mtrl resume`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from mtrl.cli.parse import parse
from mtrl.config import RunConfig, option
from mtrl.errors import UserError


def train(arguments: Sequence[str]) -> None:
    """Trains an agent; its preset, with the parts that are asked for, gives the defaults of all options."""
    from mtrl.algorithm import AGENTS  # torch comes with it: not before it is known that a preset is needed
    from mtrl.parts.words import WORDS, choose_parts, owners_of

    def explain(flag: str) -> str:
        setting = flag.removeprefix("--").replace("-", "_")
        owners = owners_of(default, setting)
        place = option(f"{setting.rpartition('.')[0]}.name")
        return f"it is an option of {' or '.join(owners)}, which {place} chooses" if owners else ""

    name = peel_agent(arguments) or RunConfig.agent
    preset = AGENTS.get(name)
    names = peel_names(arguments, tuple(WORDS))
    default = choose_parts(dataclasses.replace(preset.defaults, agent=name), names)
    lines = [
        "Train an agent on a suite of tasks.",
        f"Shown are the values of preset '{name}': {AGENTS.describe(name)}.",
        *([f"Notes: {preset.notes}"] if preset.notes else []),
        f"Cost: {preset.cost}.",
        f"Source: {preset.source}.",
        f"Presets: {', '.join(AGENTS)}; choose with --agent NAME.",
    ]
    config = parse(_with_words(default), arguments, "mtrl train", "\n\n".join(lines), explain)
    if config is not None:
        from mtrl.api import train as train_agent

        train_agent(RunConfig(**{one.name: getattr(config, one.name) for one in dataclasses.fields(RunConfig)}))


def _with_words(config: RunConfig) -> RunConfig:
    """The same config with an option for each word that chooses parts of its agent: `--network`, and so on."""
    from mtrl.parts.words import WORDS, parts_of

    added: list[tuple[str, Any, str]] = []
    for word, parts in parts_of(config.algorithm).items():
        names = list(dict.fromkeys(part.name for part in parts.values()))
        fields = " and ".join(option(f"algorithm.{name}") for name in parts)
        text = (
            f"{word.capitalize()} of {fields}, by name: {', '.join(WORDS[word])} (`mtrl list {word}s` explains them)."
        )
        added.append((word, Annotated[str, tyro.conf.arg(help=text)], " and ".join(names)))
    options = dataclasses.make_dataclass(
        "TrainOptions",
        [(word, kind, field(default=name)) for word, kind, name in added],
        bases=(RunConfig,),
        frozen=True,
    )
    return options(**{one.name: getattr(config, one.name) for one in dataclasses.fields(config)})


def peel_names(arguments: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """What is given for the options that name parts, which decide what the other options are.

    Args:
        arguments: The words after the command.
        words: Options that choose parts of an agent, such as `network`.

    Returns:
        Dotted name to value, the last one given: of these words, and of all options that end in `.name`.
    """
    found: dict[str, str] = {}
    for position, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or not (name in words or name.endswith(".name")):
            continue
        value = value if equals else next(iter(arguments[position + 1 : position + 2]), "")
        if value and not value.startswith("--"):  # of others the parser says that a value is missing
            found[name] = value
    return found


def peel_agent(arguments: Sequence[str]) -> str | None:
    """The value of `--agent`, which decides what the other options are.

    Raises:
        UserError: The option stands there without a value.
    """
    name: str | None = None
    for position, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag != "--agent":
            continue
        name = value if equals else next(iter(arguments[position + 1 : position + 2]), "")
        if not name or name.startswith("-"):
            raise UserError("option --agent needs a value: the name of a preset (`mtrl list agents` shows all)")
    return name


@dataclass(frozen=True)
class ResumeOptions:
    """What `mtrl resume` takes."""

    run: Annotated[str, tyro.conf.Positional] = ""
    """Run folder, such as runs/MT10/mtmhsac/seed-0."""
    steps_per_task: int | None = None
    """Train up to so many environment steps of each task, more than the run was begun with; None: as begun with."""
    engine: str = ""
    """Go on on another engine (native, warp, ...); empty: on the same."""
    device: str = ""
    """Go on on another device; empty: on the same."""
    worlds: int = 0
    """Go on in so many environments over all tasks; 0: in as many as before."""


def resume(arguments: Sequence[str]) -> None:
    """Goes on with a run."""
    options = parse(ResumeOptions(), arguments, "mtrl resume", "Go on with a run from its last checkpoint.")
    if options is None:
        return
    if not options.run:
        raise UserError("no run folder given: name one, as in `mtrl resume runs/MT10/mtmhsac/seed-0`")
    from mtrl.api import resume as resume_run

    resume_run(options.run, options.steps_per_task, engine=options.engine, device=options.device, worlds=options.worlds)
