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
        "worst moment of an update. *compiled* is `--compile`, *graph* a CUDA graph; compiling and recording are not",
        "counted.",
        "",
    ]
    if results["short"]:
        lines += ["**Short: networks and batches are tiny, the figures mean nothing.**", ""]
    for suite in dict.fromkeys(row["suite"] for row in rows):
        lines += [f"## {suite}", ""]
        for kind, title in KINDS.items():
            lines += table([row for row in rows if row["suite"] == suite and row["kind"] == kind], title)
    return "\n".join([*lines, *graph_gains(rows), *targets(rows)]).rstrip() + "\n"


def table(rows: list[dict[str, Any]], title: str) -> list[str]:
    """One table; a column of time, ratio and memory for each mode."""
    modes = list(dict.fromkeys(row["mode"] for row in rows))
    if not rows:
        return []
    heads = [f"{mode}: ms | ratio | MB" for mode in modes]
    lines = [
        f"### {title}",
        "",
        f"| part | parameters | {' | '.join(heads)} |",
        "|---|" + "---|" * (1 + 3 * len(modes)),
    ]
    for part in dict.fromkeys(row["part"] for row in rows):
        own = {row["mode"]: row for row in rows if row["part"] == part}
        cells = [cell for mode in modes for cell in (figures(own[mode]) if mode in own else ["", "", ""])]
        lines.append(f"| {part} | {next(iter(own.values()))['parameters']:,} | {' | '.join(cells)} |")
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
    """Whether what was aimed at holds, eager and on a CPU."""
    ratios = {(row["suite"], row["part"]): row["ratio"] for row in rows if row["mode"] == "eager"}
    known = [key for key in TARGETS if key in ratios]
    if not known:
        return []
    lines = [f"## Aims: within {LIMIT:g} times the reference", "", "| suite | part | ratio | |", "|---|---|---|---|"]
    for suite, part in known:
        ratio = ratios[suite, part]
        lines.append(f"| {suite} | {part} | {ratio:.2f} | {'yes' if ratio <= LIMIT else 'no'} |")
    return [*lines, ""]
