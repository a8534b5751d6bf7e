"""`mtrl compare`, `mtrl check` and `mtrl demo`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from mtrl.cli.parse import parse
from mtrl.errors import UserError


@dataclass(frozen=True)
class CompareOptions:
    """What `mtrl compare` takes."""

    folders: Annotated[tuple[str, ...], tyro.conf.Positional] = ("runs",)
    """Folders that hold runs at any depth."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = ""
    """File to write; empty: report.html in the first folder."""


def compare(arguments: Sequence[str]) -> None:
    """Writes the dashboard."""
    description = "Write the dashboard of all runs in some folders: one HTML file that needs no network."
    options = parse(CompareOptions(), arguments, "mtrl compare", description)
    if options is not None:
        from mtrl.report import compare as write_dashboard

        print(write_dashboard(options.folders, options.output or None))


@dataclass(frozen=True)
class CheckOptions:
    """What `mtrl check` takes."""

    name: Annotated[str, tyro.conf.Positional] = ""
    """Task or suite; what a module of yours registers is MODULE:NAME."""


def check(arguments: Sequence[str]) -> int:
    """Checks a task or suite against the contract."""
    description = "Test a task or a suite against the contract, and explain what fails."
    options = parse(CheckOptions(), arguments, "mtrl check", description)
    if options is None:
        return 0
    if not options.name:
        raise UserError("nothing to check: name a task or a suite, as in `mtrl check my_module:my-task`")
    from mtrl.check import run

    return run(options.name)


@dataclass(frozen=True)
class DemoOptions:
    """What `mtrl demo` takes."""

    short: bool = False
    """Go the whole way in about a minute, with too little training to learn anything."""
    seed: int = 0
    """Seed of all runs."""
    folder: str = ""
    """Where runs and dashboard are written; empty: runs, or runs-short with --short."""


def demo(arguments: Sequence[str]) -> None:
    """Runs the demonstration."""
    description = "Train three tasks, evaluate them, play the floors (zero, random, repeat) and write the dashboard."
    options = parse(DemoOptions(), arguments, "mtrl demo", description)
    if options is not None:
        from mtrl.demo import run_demo

        folder = options.folder or ("runs-short" if options.short else "runs")
        try:
            run_demo(folder, seed=options.seed, short=options.short)
        except UserError as error:  # the advice is written for `mtrl train`, whose option has another name
            raise UserError(str(error).replace("--run-folder", "--folder")) from error
