"""What an update costs, in time and memory, with every registered network, critic and combiner.

    python experiments/bench_agents.py --output docs/benchmark-agents.md
    python experiments/bench_agents.py --short --only multi_head pcgrad --seconds 0.2  # little of it

Every part is measured beside the multi-head network with squared error and equal weights, in the same rounds: one after
the other does a few updates, again and again, so that whatever else the machine does hits all alike. Compiling needs a
C++ compiler and is not counted. On a GPU updates are also replayed as CUDA graphs. Expected time: half an hour on two
cores that do nothing else.
"""

import argparse
import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import checkout  # noqa: F401 - makes mtrl importable
import torch
from agents_cases import SUITES, Candidate, candidates
from agents_measure import measure
from agents_page import page

from mtrl.errors import UserError
from mtrl.memory import keep_freed_memory
from mtrl.provenance import commit, hardware, versions


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """What everything ran on."""
    command = "python experiments/bench_agents.py" + "".join(f" {word}" for word in sys.argv[1:])
    rows = {"command": command, "commit": commit() or "unknown", "device": arguments.device, **hardware()}
    rows["versions"] = {"python": platform.python_version(), "torch": versions()["torch"]}
    if torch.device(arguments.device).type == "cuda":
        rows["gpu"] = torch.cuda.get_device_name()
    return rows


def modes_of(device: str) -> tuple[str, ...]:
    """How updates are run there."""
    compiled = ("compiled",) if shutil.which("g++") else ()
    graphs = ("graph",) if torch.device(device).type == "cuda" else ()
    return ("eager", *compiled, *graphs)


def chosen(suite: str, arguments: argparse.Namespace) -> list[Candidate]:
    """What is measured, the reference first.

    Raises:
        UserError: A name is unknown.
    """
    every = candidates(suite, short=arguments.short)
    names = {candidate.name for candidate in every}
    if unknown := sorted(set(arguments.only or ()) - names):
        raise UserError(f"--only {unknown[0]}: there is no such part: choose from {', '.join(sorted(names))}")
    return [one for number, one in enumerate(every) if not number or not arguments.only or one.name in arguments.only]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES), help="sizes")
    parser.add_argument("--only", nargs="+", metavar="PART", help="networks, critics and combiners by name")
    parser.add_argument("--modes", nargs="+", choices=("eager", "compiled", "graph"), help="of running an update")
    parser.add_argument("--seconds", type=float, default=10.0, help="of updates, for each part and mode on average")
    parser.add_argument("--short", action="store_true", help="small networks and batches, to see that it runs")
    parser.add_argument("--output", type=Path, help="write a Markdown page there, and the figures (JSON) beside it")
    return parser.parse_args()


def main() -> None:
    """The command line's work; results are written after every suite and mode."""
    arguments = parsed()
    torch.set_num_threads(1)
    keep_freed_memory()
    results: dict[str, Any] = {"about": about(arguments), "short": arguments.short, "rows": []}
    for suite in arguments.suites:
        for mode in arguments.modes or modes_of(arguments.device):
            try:
                cases = chosen(suite, arguments)
            except UserError as error:
                sys.exit(f"error: {error}")
            results["rows"] += measure(suite, mode, cases, torch.device(arguments.device), arguments.seconds)
            if arguments.output:
                arguments.output.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
                arguments.output.write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
