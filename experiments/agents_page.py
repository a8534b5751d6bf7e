"""The page of bench_agents.py: one table a suite."""

from typing import Any

KINDS = {
    "network": "Networks, for actor and critics, with squared error and equal weights",
    "critic": "Critics, with the multi-head network",
    "combiner": "Combiners, for actor and critics, with the multi-head network",
}
LIMIT = 4.0
TARGETS = (
    ("MT10", "soft_modules"), ("MT50", "soft_modules"), ("MT10", "moore"), ("MT50", "moore"), ("MT10", "paco"),
    ("MT50", "paco"), ("MT10", "pcgrad"), ("MT10", "cagrad"),
)  # fmt: skip
"""What is to stay within `LIMIT` times the reference on two cores."""


def page(results: dict[str, Any]) -> str:
    """The Markdown page."""
    about, rows = results["about"], results["rows"]
    where = about.get("gpu") or f"{about['cpu']}, {about['cores']} cores"
    lines = [
        "# What an update costs with each part",
        "",
        f"Command: `{about['command']}`. Commit {about['commit']}; {where}; Python {about['versions']['python']}, "
        f"torch {about['versions']['torch']}; one thread.",
        "",
        "An update is one step of critics, actor, temperatures and targets of soft actor-critic, with 128 transitions",
        "of each task, 39 observation and 4 action numbers. Networks have the sizes that their authors took for the",
        "suite (3 layers of 400 units where nothing else is said); BroNet and SimbaV2 are smaller, since theirs take",
        "seconds here. Every part is compared with the multi-head network, squared error and equal weights in the",
        "same round: medians over rounds, in brackets the quartiles of the ratio. Memory is that of all tensors at the",
        "worst moment of an update. *work* is the ratio of multiply-adds in products of matrices, counted, not timed.",
        "*compiled* is `--compile`, *graph* a CUDA graph; compiling and recording are not counted.",
        "",
    ]
    if results["short"]:
        lines += ["**Short: networks and batches are tiny, the figures mean nothing.**", ""]
    for suite in dict.fromkeys(row["suite"] for row in rows):
        lines += [f"## {suite}", ""]
        for kind, title in KINDS.items():
            of_suite = [row for row in rows if row["suite"] == suite]
            lines += table([row for row in of_suite if row["kind"] == kind], title, work_of(of_suite))
    return "\n".join([*lines, *graph_gains(rows), *targets(rows)]).rstrip() + "\n"


def work_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Multiply-adds of each part of a suite over those of the reference, which comes first."""
    counted = {row["part"]: row["multiply_adds"] for row in rows if "multiply_adds" in row}
    reference = next(iter(counted.values()), 1)
    return {part: count / reference for part, count in counted.items()}


def table(rows: list[dict[str, Any]], title: str, work: dict[str, float]) -> list[str]:
    """One table; a column of time, ratio and memory for each mode."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    if not rows:
        return []
    heads = [f"{mode}: ms | ratio | MB" for mode in modes]
    lines = [
        f"### {title}",
        "",
        f"| part | parameters | work | {' | '.join(heads)} |",
        "|---|" + "---|" * (2 + 3 * len(modes)),
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        own = {row["mode"]: row for row in rows if row["part"] == part}
        cells = [cell for mode in modes for cell in (figures(own[mode]) if mode in own else ["", "", ""])]
        done = f"{work[part]:.2f}" if part in work else ""
        lines.append(f"| {part} | {next(iter(own.values()))['parameters']:,} | {done} | {' | '.join(cells)} |")
    return [*lines, ""]


def figures(row: dict[str, Any]) -> list[str]:
    """Time, ratio and memory."""
    low, high = row["quartiles"]
    fault = f" (not recorded: {row['fault']})" if row["fault"] else ""
    return [f"{row['ms']:.1f}{fault}", f"{row['ratio']:.2f} [{low:.2f}, {high:.2f}]", f"{row['mb']:.0f}"]


def graph_gains(rows: list[dict[str, Any]]) -> list[str]:
    """How much faster replayed updates are than eager ones."""
    times = {(row["suite"], row["part"], row["mode"]): row["ms"] for row in rows if not row["fault"]}
    gains = [
        (suite, part, times[suite, part, "eager"] / times[suite, part, "graph"])
        for suite, part, mode in times
        if mode == "graph" and (suite, part, "eager") in times
    ]
    if not gains:
        return []
    lines = [
        "## CUDA graphs",
        "",
        "Eager time over that of the replayed graph (aim: 5).",
        "",
        "| suite | part | gain |",
    ]
    return [*lines, "|---|---|---|", *(f"| {suite} | {part} | {gain:.1f} |" for suite, part, gain in gains), ""]


def targets(rows: list[dict[str, Any]]) -> list[str]:
    """Whether what was aimed at holds in each mode; a part whose *work* is more than the limit cannot hold it."""
    ratios = {(row["suite"], row["part"], row["mode"]): row["ratio"] for row in rows}
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    known = [key for key in TARGETS if any((*key, mode) in ratios for mode in modes)]
    if not known:
        return []
    heads = f"| suite | part | work | {' | '.join(modes)} |"
    lines = [f"## Aims: within {LIMIT:g} times the reference", "", heads, "|---|---|---|" + "---|" * len(modes)]
    for suite, part in known:
        work = work_of([row for row in rows if row["suite"] == suite]).get(part)
        cells = [verdict(ratios.get((suite, part, mode))) for mode in modes]
        lines.append(f"| {suite} | {part} | {f'{work:.2f}' if work else ''} | {' | '.join(cells)} |")
    return [*lines, ""]


def verdict(ratio: float | None) -> str:
    """A ratio, and whether it is within the limit."""
    return "" if ratio is None else f"{ratio:.2f} {'yes' if ratio <= LIMIT else 'no'}"
