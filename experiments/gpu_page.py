"""The page and the plot of experiments/bench_gpu.py, made from its figures alone."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Rows = Sequence[Mapping[str, Any]]
TARGETS = {"MT10": 250_000, "MT50": 150_000}
"""Env steps a second with policy and storage, at 8,192 worlds on an H200; both are to reach 400,000 in the end."""
AIM, AT = 400_000, 8192
HEADLINE = "policy and replay"
COLUMNS = (HEADLINE, "policy and rollout", "expert", "random")
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f", "#bcbd22", "#e377c2")


def page(results: Mapping[str, Any], stem: str) -> str:
    """The results as a Markdown page.

    Args:
        results: What `bench_gpu.Bench` collected, as far as it got.
        stem: Name of the files beside the page, without their endings.
    """
    about = results.get("about", {})
    on_gpu = about.get("device") == "cuda"
    lines = ["# The warp engine on a GPU", "", *_about(about, results), ""]
    if not on_gpu:
        lines += [NO_GPU]
    lines += [HOW_TO, "## Targets", "", *_targets(results, on_gpu), "", "## Speed", "", SPEED]
    lines += [*_speeds(results.get("speeds", [])), "", f"![env steps a second against worlds]({stem}.svg)", ""]
    lines += ["## What bounds it", "", *_bounds(results), "", "## Launches", "", *_launches(results), ""]
    lines += ["## Start-up and memory", "", *_builds(results), "", "## Room and faults", "", *_room(results), ""]
    lines += ["## Checks", "", *_table(("check", "holds", "what was found"), _checks(results)), ""]
    for kind, title in (("skipped", "Left out for want of time"), ("errors", "What failed")):
        if results.get(kind):
            lines += [f"## {title}", "", *(f"- {row}" for row in results[kind]), ""]
    return "\n".join(lines).rstrip() + "\n"


HOW_TO = """\
## How to run it

With a driver that the installed warp-lang supports (R580 for 1.19) and a CUDA build of torch:

```
pip install -e '.[gpu]'
python experiments/bench_gpu.py --output docs/benchmark-gpu.md
```

It begins with what matters most, writes its results after every piece of work, and begins nothing new after `--minutes`
(9). Kernels come from `$WARP_CACHE_PATH` or the user's cache, and what is not there is compiled; `--cold --only look`
compiles all that MT10 needs anew, in a cache of its own, and says how long it takes. `--only headline` measures the
targets alone. `--device cpu --quick` goes the same way in a minute. `--page RESULTS.json` makes page and plot anew.

On a machine that reaches no package registry, a checkout will do that is not installed: copy it there, and put the
packages on `PYTHONPATH`; `experiments/checkout.py` finds the rest. Needed are Python 3.11 or newer, torch, numpy,
warp-lang, mujoco-warp and mujoco (with mujoco-core, glfw and pyopengl), metaworld 3.0.0 (with gymnasium,
farama-notifications, imageio, pillow, packaging and scipy), jaxtyping (with wadler-lindig), tyro (with docstring-parser
and typeguard), cloudpickle and tqdm.

Kernels take long to compile, one after the other, and some belong to an exact number of worlds. They can be compiled
beforehand for a GPU of a known architecture (90 is an H100 or H200), as many at a time as there are cores, on any Linux
machine with the same versions of warp-lang and mujoco-warp, also on one without a GPU:

```
python experiments/gpu_kernels.py --architecture 90 --cache KERNELS
WARP_CACHE_PATH=KERNELS python experiments/bench_gpu.py --output docs/benchmark-gpu.md
```
"""
SPEED = """\
Env steps a second, all worlds together: the median of some windows, after a warm-up; the host waits for the device at
the two ends of a window alone. An env step is five physics steps and a forward pass, with observation, reward, success
and the beginning of the next episode. *policy and replay*: the actor of the preset `mtmhsac` samples actions, and
transitions go into the replay buffer. *policy and rollout*: into a rollout buffer. *expert*: the
scripted experts' actions, recorded on the native engine for some goals of each task and begun in different steps, so
that there are contacts. *random*: uniform actions. In all but *expert* episodes end all the time, at different steps.
*Contacts* and *rows* (of constraints) are means over worlds at the end of *expert*. In brackets the spread of the
windows of the first column.
"""
START_UP = """\
In the order of the run: building takes in the starts of all goals, models, recordings and whatever kernels were not
compiled yet. Memory in MB; *device* is what the GPU has in use, by anyone; *process* the most of the host's so far.
"""
LAUNCHES = """\
Warp's launches in a recorded step of the tasks, by model; the loop of the solver is counted once. *worlds* is the
number of all models together.
"""
NO_GPU = """\
**No figure of a GPU has been measured yet.** What follows was measured on a CPU, in a small form, to show that
everything runs; mujoco_warp on a CPU is for tests, and its speed says nothing about a GPU's.
"""


def _about(about: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in about.get("versions", {}).items())
    machine = about.get("gpu") or "no GPU"
    cuda = f", CUDA {about['cuda']}" if about.get("cuda") else ""
    return [
        f"Command: `{about.get('command')}`, {results.get('seconds', 0) / 60:.1f} minutes.",
        f"Commit {about.get('commit')};",
        f"{machine}; {about.get('cpu')}, {about.get('cores')} cores, {about.get('memory_gb')} GB; {versions}{cuda}.",
    ]


def _targets(results: Mapping[str, Any], on_gpu: bool) -> list[str]:
    rows = []
    for suite, target in TARGETS.items():
        found = [
            row["median"]
            for row in results.get("speeds", [])
            if on_gpu and row["suite"] == suite and row["actions"] == HEADLINE and AT * 0.99 < row["worlds"] <= AT
        ]
        best = max(found, default=None)
        rows.append((suite, f"{target:,}", f"{AIM:,}", "not measured" if best is None else f"**{best:,.0f}**"))
    text = (
        f"At {AT:,} worlds (or the next number below that the tasks divide) on an H200, policy and storage in the loop:"
    )
    return [text, "", *_table(("suite", "at least", "aim", "measured, env steps/s"), rows)]


def _speeds(speeds: Rows) -> list[str]:
    by_case: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in speeds:
        key = tuple(row[name] for name in ("suite", "worlds", "grouping", "models", "streams"))
        by_case.setdefault(key, {})[row["actions"]] = row
    order = ["MT50", "MT10", "MT3"]
    keys = sorted(
        by_case, key=lambda key: (order.index(key[0]) if key[0] in order else 9, key[0], key[2], key[4], key[1])
    )
    rows = []
    for key in keys:
        own = by_case[key]
        suite, worlds, *rest = key
        cells = [f"{own[kind]['median']:,.0f}" if kind in own else "-" for kind in COLUMNS]
        first, busy = own.get(HEADLINE), own.get("expert", {})
        if first:
            cells[0] += f" ({first['low']:,.0f} to {first['high']:,.0f})"
        crowd = [f"{busy[name]:.1f}" if name in busy else "-" for name in ("contacts", "rows")]
        rows.append((suite, f"{worlds:,}", *rest, *cells, f"{first['ms']:.2f}" if first else "-", *crowd))
    heads = ("suite", "worlds", "grouping", "models", "streams", *COLUMNS, "ms a step", "contacts", "rows")
    return _table(heads, rows)


def _bounds(results: Mapping[str, Any]) -> list[str]:
    """Where the time goes, and a sentence on the largest shares."""
    lines: list[str] = []
    stages = {_key(row): row["ms"] for row in results.get("stages", [])}
    for row in results.get("parts", []):
        parts = {name: value for name, value in row["ms"].items() if name != "whole"}
        whole, physics = row["ms"]["whole"], sum(value for name, value in parts.items() if name.startswith("physics"))
        largest = sorted(parts.items(), key=lambda item: -item[1])[:3]
        title = f"**{row['suite']}, {row['worlds']:,} worlds, {row['grouping']}**: {whole:.2f} ms a step on one stream"
        lines += [
            f"{title}, of which physics {_share(physics, whole)}; the largest parts are "
            + ", ".join(f"{name} {_share(value, whole)}" for name, value in largest)
            + ".",
            "",
        ]
        own = stages.get(_key(row))
        if own:
            total = sum(own.values())
            ordered = sorted(own.items(), key=lambda item: -item[1])
            lines += [
                "Within the physics (stages of mujoco_warp timed apart, with the experts' contacts): "
                + ", ".join(f"{name} {_share(value, total)}" for name, value in ordered if value)
                + ".",
                "",
            ]
        lines += [*_table(("part", "ms", "share"), [(n, f"{v:.3f}", f"{v / whole:.1%}") for n, v in parts.items()]), ""]
    return lines[:-1] if lines else ["Not measured."]


def _share(value: float, whole: float) -> str:
    return f"{value / whole:.0%}" if whole else "-"


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["suite"], row["worlds"], row["grouping"]


def _launches(results: Mapping[str, Any]) -> list[str]:
    rows = [
        (row["suite"], f"{row['worlds']:,}", row["grouping"], row["group"], row["tasks"], row["launches"])
        for row in results.get("launches", [])
    ]
    lines = [LAUNCHES, *_table(("suite", "worlds", "grouping", "model", "tasks", "launches"), rows)]
    for row in results.get("traced", []):
        seen, calls = row["device"] / row["steps"], row["host"] / row["steps"]
        if seen:
            lines += [
                "",
                f"{row['suite']}, {row['worlds']:,} worlds, policy and replay: a profiler saw {seen:,.0f} kernels "
                f"and copies a step on the device, and {calls:,.0f} calls of the host.",
            ]
    return lines


def _builds(results: Mapping[str, Any]) -> list[str]:
    rows, names = [], ["torch, most", "warp's pool", "device", "process, most"]
    for row in results.get("builds", []):
        cells = [f"{row[name]:,.0f}" if name in row else "-" for name in names]
        kernels = row["kernels compiled"]
        seconds = (f"{row['build']:.1f}", f"{row['first step']:.1f}")
        rows.append((row["suite"], f"{row['worlds']:,}", row["grouping"], row["models"], *seconds, kernels, *cells))
    heads = ("suite", "worlds", "grouping", "models", "build, s", "first step, s", "modules compiled")
    lines = [START_UP, *_table((*heads, *names), rows)]
    for row in results.get("starts", []):
        lines += [
            "",
            f"A fresh process with compiled kernels: {row['suite']}, {row['worlds']:,} worlds, takes "
            f"{row['first step']:.1f} s to its first step, {row['imports']:.1f} s of them for imports.",
        ]
    return lines


def _room(results: Mapping[str, Any]) -> list[str]:
    rows = [
        (
            row["suite"],
            row["group"],
            f"{row['worlds']:,}",
            row["constraints"],
            f"{row['contacts']:,}",
            f"{row['pairs']:,}",
            f"{row['room']:,}",
        )
        for row in results.get("peaks", [])
    ]
    heads = (
        "suite",
        "model",
        "worlds",
        "rows, most of a world",
        "contacts, most of all",
        "near pairs",
        "room for either",
    )
    reasons: dict[str, int] = {}
    for row in results.get("faults", []):
        for name, count in row["reasons"].items():
            reasons[name] = reasons.get(name, 0) + count
    counted = "; ".join(f"{count:,} x {name}" for name, count in reasons.items()) or "none"
    failed = sorted({fault for row in results.get("faults", []) for fault in row["recordings"]})
    said = [
        f"Episodes cut short in all measurements together: {counted}.",
        f"Recordings that failed: {'; '.join(failed) or 'none'}.",
    ]
    return [*_table(heads, rows), "", *said]


def _checks(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["check"], "yes" if row["holds"] else "**no**", row["says"]) for row in results.get("checks", [])]


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    return lines + [f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows]


def draw(results: Mapping[str, Any]) -> str:
    """Env steps a second against worlds, as SVG: a line for each suite and grouping."""
    lines = _lines(results.get("speeds", []))
    width, height, left, right, top, bottom = 860, 480, 80, 250, 40, 60
    points = [point for line in lines.values() for point in line]
    if not points:
        points = [(1, 1)]
    x_low, x_high = (bound(math.log2(x) for x, _ in points) for bound in (min, max))
    y_low, y_high = (bound(math.log10(y) for _, y in points) for bound in (min, max))
    x_high, y_low, y_high = max(x_high, x_low + 1), math.floor(y_low * 2) / 2, math.ceil(y_high * 2 + 0.1) / 2

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log2(x) - x_low) / (x_high - x_low)
        up = (math.log10(y) - y_low) / (y_high - y_low)
        return left + across * (width - left - right), height - bottom - up * (height - top - bottom)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22" font-size="14">Env steps a second, {escape(_drawn(results))}</text>',
        f'<text x="{(left + width - right) / 2}" y="{height - 16}" text-anchor="middle">worlds</text>',
    ]
    for x in sorted({x for x, _ in points}):
        across = place(x, 10**y_low)[0]
        parts.append(f'<path d="M{across:.1f} {top}V{height - bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{across:.1f}" y="{height - bottom + 18}" text-anchor="middle">{x:,}</text>')
    for y in _ticks(y_low, y_high):
        up = place(2**x_low, y)[1]
        parts.append(f'<path d="M{left} {up:.1f}H{width - right}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{up + 4:.1f}" text-anchor="end">{y:,.0f}</text>')
    for number, (name, line) in enumerate(lines.items()):
        colour, ends = COLOURS[number % len(COLOURS)], [place(*point) for point in sorted(line)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in ends)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in ends]
        down = top + 10 + 18 * number
        parts.append(f'<path d="M{width - right + 15} {down}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{width - right + 42}" y="{down + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lines(speeds: Rows) -> dict[str, list[tuple[int, float]]]:
    """Points of each line, with policy and replay; of several numbers of streams the most."""
    best: dict[tuple[str, str, int], tuple[int, float]] = {}
    for row in speeds:
        if row["actions"] == HEADLINE:
            key = row["suite"], row["grouping"], row["worlds"]
            best[key] = max(best.get(key, (0, 0.0)), (row["streams"], row["median"]))
    lines: dict[str, list[tuple[int, float]]] = {}
    for (suite, grouping, worlds), (_, value) in sorted(best.items()):
        lines.setdefault(f"{suite}, {grouping}", []).append((worlds, value))
    return lines


def _drawn(results: Mapping[str, Any]) -> str:
    about = results.get("about", {})
    return f"policy and replay in the loop ({about.get('gpu') or 'a CPU, in a small form'})"


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [tick for tick in ticks if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
