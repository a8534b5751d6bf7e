"""Command lines to config dataclasses, with errors of one line.

tyro does the parsing and the help. Its errors are boxes of many lines, so the words that it does not know are asked
back from it and named here, and what it prints about wrong values is caught and put into one line.
"""

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
import types
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from mtrl.errors import UserError

T = TypeVar("T")
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        flag: As typed, such as `--algorithm.gamma`.
        kind: What it takes, in words; empty for a switch, which takes nothing.
    """

    flag: str
    kind: str


def options_of(config: Any, prefix: str = "") -> list[Option]:
    """All options that tyro makes of a config, in its naming.

    Args:
        config: A dataclass instance, whose nested configs are instances too.
        prefix: Dotted name of the config itself.
    """
    hints = get_type_hints(type(config), include_extras=True)
    found: list[Option] = []
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), field.name.replace("_", "-")
        if tyro.conf.Positional in getattr(hints[field.name], "__metadata__", ()):
            continue
        if dataclasses.is_dataclass(value):
            found += options_of(value, f"{prefix}{name}.")
        elif isinstance(value, bool):
            found += [Option(f"--{prefix}{name}", ""), Option(f"--{prefix}no-{name}", "")]
        else:
            found.append(Option(f"--{prefix}{name}", _kind(hints[field.name])))
    return found


def _kind(hint: Any) -> str:
    """What an option of this type takes, in words."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin is tuple:
        return f"{_kind(arguments[0])} (or several, with spaces between)"
    if origin in (Union, types.UnionType):
        return " or ".join("None" if argument is type(None) else _kind(argument) for argument in arguments)
    return _KINDS.get(hint, "a value")


def parse(
    default: T,
    arguments: Sequence[str],
    program: str,
    description: str,
    explain: Callable[[str], str] = lambda flag: "",
) -> T | None:
    """Reads a command line.

    Args:
        default: A dataclass instance: the type to make and the values to start from.
        arguments: The words after the command.
        program: What the user typed so far, such as `mtrl train`.
        description: Text above the options in `--help`.
        explain: Says what an unknown option belongs to; empty where it is none of ours, and the nearest are named.

    Returns:
        The config, or None where help was asked for and has been printed.

    Raises:
        UserError: An option is unknown, lacks its value or has a wrong one.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            config, left = tyro.cli(
                type(default),
                prog=program,
                description=description,
                args=list(arguments),
                default=default,
                return_unknown_args=True,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.PositionalMetavarFromFieldName),
            )
    except SystemExit as end:
        if not end.code:
            return None
        raise UserError(_one_line(complaint.getvalue(), arguments, options_of(default), program)) from None
    if left:
        raise _unexpected(left, options_of(default), program, explain)
    return config


def _unexpected(
    left: Sequence[str], options: Sequence[Option], program: str, explain: Callable[[str], str]
) -> UserError:
    """The error for words that tyro had no use for."""
    flag = next((word.partition("=")[0] for word in left if word.startswith("-")), None)
    if flag is None:
        return UserError(f"unexpected '{left[0]}' after `{program}`: options look like --name (see `{program} --help`)")
    return UserError(f"unknown option '{flag}': {explain(flag) or _nearest(flag, options)} (see `{program} --help`)")


def _nearest(flag: str, options: Sequence[Option]) -> str:
    """A hint at what the user may have meant: by the whole name, or by its last part (`--gamma`)."""
    flags = [option.flag for option in options]
    tail = flag.lstrip("-").replace("_", "-").rpartition(".")[2]
    same_tail = [known for known in flags if known.lstrip("-").rpartition(".")[2] == tail]
    close = same_tail or difflib.get_close_matches(flag.replace("_", "-"), flags, n=3, cutoff=0.75)
    if not close:
        tails = {known.rpartition(".")[2].lstrip("-"): known for known in flags}
        close = [tails[match] for match in difflib.get_close_matches(tail, tails, n=3, cutoff=0.6)]
    return f"did you mean {' or '.join(close[:3])}?" if close else "there is nothing like it"


def _one_line(box: str, arguments: Sequence[str], options: Sequence[Option], program: str) -> str:
    """What tyro complained about, in one line.

    The wording inside the box is tyro's own and may change, so this looks only for a known option in it and falls back
    to its first sentence.
    """
    body = " ".join(re.sub("[╭╮╰╯│]", " ", line).strip() for line in _first_paragraph(box))
    kinds = {option.flag: option.kind for option in options}
    flag = next((word for word in re.findall(r"--[\w.-]+", body) if word.rstrip(".") in kinds), "").rstrip(".")
    if not flag:
        return f"{' '.join(body.split()) or 'the command line cannot be read'} (see `{program} --help`)"
    given = _value_of(flag, arguments, several="several" in kinds[flag])
    if not kinds[flag]:
        return f"option {flag} is a switch: give it without a value"
    if given is None:
        return f"option {flag} needs a value: {kinds[flag]}"
    return f"option {flag} takes {kinds[flag]}, not '{given}'"


def _first_paragraph(box: str) -> list[str]:
    """The lines of tyro's box between its title and the first rule."""
    lines = [line for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    rule = next((index for index, line in enumerate(lines) if "───" in line), len(lines))
    return lines[:rule]


def _value_of(flag: str, arguments: Sequence[str], several: bool) -> str | None:
    """What was last given for an option, if anything."""
    value: str | None = None
    for position, word in enumerate(arguments):
        name, equals, rest = word.partition("=")
        if name.replace("_", "-") == flag:
            following = arguments[position + 1 : None if several else position + 2]
            words = itertools.takewhile(lambda after: not after.startswith("--"), following)
            value = rest if equals else " ".join(words) or None
    return value
