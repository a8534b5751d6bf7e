"""The command line: `mtrl train`, `resume`, `eval`, `video`, `compare`, `list`, `check` and `demo`.

What the user has to mend is one line on standard error, `error: ...`, and exit code 2. A traceback is a fault of ours.
"""

import difflib
import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from mtrl import __version__
from mtrl.errors import UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("mtrl.cli.train:train", "train an agent on a suite: mtrl train MT10 --agent mtmhsac"),
    "resume": (
        "mtrl.cli.train:resume",
        "go on with a run from its last checkpoint: mtrl resume runs/MT10/mtmhsac/seed-0",
    ),
    "eval": ("mtrl.cli.play:evaluate", "evaluate a run, or a fixed policy: mtrl eval --agent zero --suite MT3"),
    "video": ("mtrl.cli.play:video", "film a run's agent, one mp4 a task: mtrl video runs/MT10/mtmhsac/seed-0"),
    "compare": ("mtrl.cli.look:compare", "write the dashboard of all runs in a folder: mtrl compare runs"),
    "list": (
        "mtrl.cli.listing:listing",
        "show the suites, tasks, agents, networks and so on: mtrl list agents",
    ),
    "check": ("mtrl.cli.look:check", "test a task or a suite of yours against the contract: mtrl check my-task"),
    "demo": ("mtrl.cli.look:demo", "train three tasks, evaluate them and write the dashboard: mtrl demo --short"),
}
"""Command to where it is (`module:function`, imported when it is used, so that `--help` is quick) and what it does."""

# What the system refuses, apart from what we do wrong: no right, no room, no such place.
_REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The words after `mtrl`; None takes them from the process.

    Returns:
        Exit code: 0, 2 after bad input, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except UserError as error:
        return _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output, such as `head`, has gone; nothing may be written any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        return _fail(f"{error.strerror}: {error.filename or 'a file of the run'}")


def _fail(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 2


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"mtrl {__version__}")
        return 0
    if words[0] not in COMMANDS:
        close = difflib.get_close_matches(words[0], COMMANDS, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(COMMANDS)}"
        raise UserError(f"unknown command '{words[0]}': {hint} (see `mtrl --help`)")
    module, _, name = COMMANDS[words[0]][0].partition(":")
    command: Callable[[list[str]], int | None] = getattr(importlib.import_module(module), name)
    return command(words[1:]) or 0


def _overview() -> str:
    lines = [f"  {name:<9}{description}" for name, (_, description) in COMMANDS.items()]
    return "\n".join(
        [
            f"mtrl {__version__}: multi-task and meta reinforcement learning on Meta-World",
            "",
            "usage: mtrl COMMAND [options]",
            "",
            *lines,
            "",
            "`mtrl COMMAND --help` documents every option; `mtrl train --agent NAME --help` for that agent.",
            "`--network`, `--critic`, `--combiner` and `--scale` of `mtrl train` change parts of it by name.",
        ]
    )
