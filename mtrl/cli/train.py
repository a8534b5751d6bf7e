"""`mtrl train` and `mtrl resume`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from mtrl.cli.parse import parse
from mtrl.config import RunConfig
from mtrl.errors import UserError


def train(arguments: Sequence[str]) -> None:
    """Trains an agent; its preset gives the defaults of all options."""
    from mtrl.algorithm import AGENTS  # torch comes with it: not before it is known that a preset is needed

    name = peel_agent(arguments) or RunConfig.agent
    preset = AGENTS.get(name)
    default = dataclasses.replace(preset.defaults, agent=name)
    description = "\n\n".join(
        [
            "Train an agent on a suite of tasks.",
            f"Shown are the values of preset '{name}': {AGENTS.describe(name)}.",
            f"Cost: {preset.cost}.",
            f"Source: {preset.source}.",
            f"Presets: {', '.join(AGENTS)}; choose with --agent NAME.",
        ]
    )
    config = parse(default, arguments, "mtrl train", description)
    if config is not None:
        from mtrl.api import train as train_agent

        train_agent(config)


def peel_agent(arguments: Sequence[str]) -> str | None:
    """The value of `--agent`, which decides what the other options are.

    Raises:
        UserError: The option stands there without a value.
    """
    name: str | None = None
    for position, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if option != "--agent":
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


def resume(arguments: Sequence[str]) -> None:
    """Goes on with a run."""
    options = parse(ResumeOptions(), arguments, "mtrl resume", "Go on with a run from its last checkpoint.")
    if options is None:
        return
    if not options.run:
        raise UserError("no run folder given: name one, as in `mtrl resume runs/MT10/mtmhsac/seed-0`")
    from mtrl.api import resume as resume_run

    resume_run(options.run, options.steps_per_task)
