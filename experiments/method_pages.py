"""Writes what was measured into the pages of docs/methods: the cost of an update, and success after training.

    python experiments/method_pages.py

Figures come from docs/benchmark-agents.json (`experiments/bench_agents.py`) and from the runs in experiments/results
(`experiments/learning.py`); each page has two marks, between which they are put. Where nothing was
measured there is nothing. Takes a second.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COSTS = ROOT / "docs" / "benchmark-agents.json"
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
PAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "adapters": ((), ("ars-lora-small",)),
    "ars": ((), ("ars-small", "ars-lora-small")),
    "brc": (("bronet", "c51"), ("brc-small",)),
    "cagrad": (("cagrad", "cagrad_fast"), ("cagrad-small",)),
    "care": (("care",), ("care-small",)),
    "conditioning": ((), ()),
    "critics": (("c51", "hl_gauss"), ("hl-gauss-small",)),
    "fairgrad": (("fairgrad",), ("fairgrad-small",)),
    "famo": (("famo",), ("famo-small",)),
    "fast": ((), ("fast-small", "fast-small-mt10")),
    "film": (("film",), ("film-small",)),
    "flat-regions": (("flat_regions",), ("flat-regions-small",)),
    "front-ends": (("front_ends",), ("front-ends-small",)),
    "gradnorm": (("gradnorm",), ("gradnorm-small",)),
    "hypernet": (("hypernet",), ("hypernet-small",)),
    "maml": ((), ("maml-small", "fine-tuned-small")),
    "mgda": (("mgda",), ("mgda-small",)),
    "moore": (("moore",), ("moore-small",)),
    "multi-head": (("multi_head", "one_hot"), ("mtmhsac-small", "mtsac-small")),
    "nash": (("nash",), ("nash-small",)),
    "paco": (("paco",), ("paco-small",)),
    "pcgrad": (("pcgrad",), ("pcgrad-small",)),
    "pearl": ((), ("pearl-small",)),
    "popart": (("popart",), ("popart-small",)),
    "ppo": ((), ("ppo-small", "toppo-small")),
    "rl2": ((), ("rl2-small", "rl2-recall-small")),
    "scales": ((), ("brc-small", "ars-small")),
    "simba-v2": (("simba_v2",), ("simba-v2-small",)),
    "soft-modules": (("soft_modules",), ("soft-modules-small",)),
    "weights": (("given", "temperature", "uncertainty", "scale_invariant"), ("uncertainty-small",)),
}
"""Page to the parts whose cost it gives, and the presets whose results."""


def cost_lines(costs: list[dict[str, Any]], parts: tuple[str, ...]) -> list[str]:
    """A table of the cost of parts; nothing where none was measured."""
    rows = [row for row in costs if row["part"] in parts]
    if not rows:
        return []
    lines = [
        "An update beside that of the multi-head network with squared error and equal weights, in the same run",
        "(`python experiments/bench_agents.py`, [all parts](../benchmark-agents.md)):",
        "",
        "| part | suite | mode | time | memory |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['part']} | {row['suite']} | {row['mode']} | {row['ratio']:.2f} times | {row['mb']:.0f} MB |"
        for row in rows
    ]
    return [*lines, ""]


def final_evaluations(results: Path, preset: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Suite and last final evaluation on training goals of every finished run of a preset."""
    for done in sorted(results.glob(f"*/{preset}/seed-*/DONE")):
        records = [json.loads(line) for line in (done.parent / "eval.jsonl").read_text().splitlines()]
        own = [record for record in records if record["final"] and record.get("context", "own") == "own"]
        finals = [record for record in own if record["goal_set"] == "train"]
        if finals:
            yield done.parts[-4], finals[-1]


def result_lines(results: Path, presets: tuple[str, ...]) -> list[str]:
    """A table of success after training; nothing where nothing was trained."""
    rows = []
    for preset in presets:
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for suite, record in final_evaluations(results, preset):
            found.setdefault((suite, record["steps_per_task"]), []).append(record)
        for (suite, steps), records in sorted(found.items()):
            success = [record["summary"]["success_any"] for record in records]
            each = ", ".join(f"{value:.2f}" for value in success)
            minutes = statistics.mean(record["wall_s"] for record in records) / 60
            rows.append(f"| `{preset}` | {suite} | {steps // 1000} k | {each} | {minutes:.0f} |")
    if not rows:
        return []
    return [
        "Success on training goals after training, A-eval, one figure a seed; few seeds, so no ranking",
        "(`python experiments/learning.py`; of agents that learn to learn after adapting, `experiments/adaptation.py`;",
        "[runs](../../experiments/results)):",
        "",
        "| preset | suite | steps a task | success | minutes on one CPU core |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]


def filled(text: str, lines: list[str]) -> str:
    """A page with other lines between its marks.

    Raises:
        SystemExit: It has no marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"error: the page '{text.splitlines()[0]}' lacks the lines {BEGIN} and {END}: put them at its end")
    return "\n".join([before + BEGIN, *lines, END + after])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--costs", type=Path, default=COSTS)
    parser.add_argument("--pages", type=Path, default=ROOT / "docs" / "methods")
    arguments = parser.parse_args()
    costs = json.loads(arguments.costs.read_text())["rows"] if arguments.costs.exists() else []
    for path in sorted(arguments.pages.glob("*.md")):
        if path.stem not in PAGES:
            sys.exit(f"error: {path} is not in PAGES of {Path(__file__).name}: say what belongs to it")
        parts, presets = PAGES[path.stem]
        measured = [*cost_lines(costs, parts), *result_lines(arguments.results, presets)]
        body = ["", "## Measured", "", *measured] if measured else []
        path.write_text(
            filled(path.read_text(), [f"{line}" for line in body]) if body else filled(path.read_text(), [])
        )


if __name__ == "__main__":
    main()
