"""`mtrl list`: what there is, one line each."""

import difflib
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from mtrl.cli.parse import parse
from mtrl.errors import UserError
from mtrl.registry import Registry, broken_plugins, import_named, load_plugins

REGISTRIES = {
    "suites": "mtrl.suites:SUITES",
    "tasks": "mtrl.tasks:TASKS",
    "agents": "mtrl.algorithm:AGENTS",
    "networks": "mtrl.parts.network:NETWORKS",
    "critics": "mtrl.parts.critic:CRITICS",
    "combiners": "mtrl.parts.combiner:COMBINERS",
    "scales": "mtrl.parts.scale:SCALES",
    "trackers": "mtrl.logger:TRACKERS",
    "engines": "mtrl.vector.build:ENGINES",
}
"""What can be listed, and where it is; imported when it is asked for."""


@dataclass(frozen=True)
class ListOptions:
    """What `mtrl list` takes."""

    kind: Annotated[str, tyro.conf.Positional] = ""
    """suites, tasks, agents, networks, critics, combiners, scales, trackers or engines; empty: all of them. With what a
    module of yours registers: MODULE:networks, and so on."""


def listing(arguments: Sequence[str]) -> None:
    """Prints names and descriptions, and the plug-ins that could not be loaded."""
    options = parse(ListOptions(), arguments, "mtrl list", "Show what there is, one line each.")
    if options is None:
        return
    kind = import_named(options.kind)
    kinds = [kind] if kind else list(REGISTRIES)
    if kinds[0] not in REGISTRIES:
        close = difflib.get_close_matches(kinds[0], REGISTRIES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(REGISTRIES)}"
        raise UserError(f"cannot list '{kinds[0]}': {hint}")
    load_plugins()
    print("\n".join(_lines(kinds)))


def _lines(kinds: Sequence[str]) -> Iterator[str]:
    for kind in kinds:
        module, _, name = REGISTRIES[kind].partition(":")
        registry: Registry[object] = getattr(importlib.import_module(module), name)
        names = list(registry)
        width = max(map(len, [*names, "MT1:TASK"]))
        if len(kinds) > 1:
            yield f"{kind}:"
        for entry in names:
            yield f"  {entry:<{width}}  {registry.describe(entry)}"
        if kind == "suites":
            yield f"  {'MT1:TASK':<{width}}  one task, goal visible; also TASK alone, or several: TASK,TASK,..."
            yield f"  {'ML1:TASK':<{width}}  one task, goal hidden"
        if len(kinds) > 1:
            yield ""
    for plugin, reason in broken_plugins.items():
        yield f"broken plug-in {plugin}: {' '.join(reason.split())}"
