"""The benchmark of agents, in a small form."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import torch
from agents_cases import REFERENCE, SUITES, candidates
from agents_measure import multiply_adds, peak_memory
from agents_page import page

from mtrl.parts.combiner import COMBINERS
from mtrl.parts.critic import CRITICS
from mtrl.parts.network import NETWORKS

SCRIPT = Path(__file__).parents[1] / "experiments" / "bench_agents.py"
CPU = torch.device("cpu")


def test_every_registered_part_is_measured_the_reference_first():
    for suite in SUITES:
        found = candidates(suite, short=True)
        assert (found[0].kind, found[0].name) == ("network", REFERENCE)
        names = {candidate.name for candidate in found} | {"mse", "mean"}
        assert names == {*NETWORKS, *CRITICS, *COMBINERS}
        assert len(found) == len(names) - 2


def test_published_sizes_are_those_of_the_suite():
    counts = {
        (suite, candidate.name): candidate.build(CPU).parameter_counts()["actor"]
        for suite in SUITES
        for candidate in candidates(suite, short=False)
        if candidate.name in ("multi_head", "soft_modules", "paco", "moore")
    }
    assert counts["MT10", "multi_head"] == 372_880
    assert counts["MT50", "multi_head"] == 517_200
    assert counts["MT10", "soft_modules"] == 691_022
    assert counts["MT50", "soft_modules"] == 1_606_140
    assert counts["MT50", "paco"] == 6_801_180
    assert counts["MT50", "moore"] == 2_181_500


def test_memory_counts_what_is_held_at_the_worst_moment():
    small = candidates("MT10", short=True)[0]
    large = dataclasses.replace(small, config=dataclasses.replace(small.config, batch_per_task=80))
    least = sum(small.build(CPU).parameter_counts().values()) * 4 * 4  # weights, gradients, both moments of Adam
    found = [peak_memory(candidate, "eager", CPU) for candidate in (small, large)]
    assert least < found[0] < 20 * least
    assert found[1] > 2 * found[0]


def test_work_is_that_of_all_products_of_matrices():
    reference = candidates("MT10", short=True)[0]
    width, depth = reference.config.actor.width, reference.config.actor.depth
    rows, hidden = 10 * reference.config.batch_per_task, (depth - 1) * width * width
    actor_first, critics_first = (39 + 10) * width, 2 * (39 + 10 + 4) * width
    actor, critics = actor_first + hidden + 8 * width, critics_first + 2 * hidden + 2 * width
    # forward for the next state, then forward, weights' and inputs' gradients; the critics also for the actor's actions
    each = 4 * actor - actor_first + 6 * critics - critics_first
    assert multiply_adds(reference, CPU) == rows * each


def test_one_command_gives_figures_and_page(tmp_path):
    output = tmp_path / "page.md"
    words = ["--short", "--only", "pcgrad", "c51", "--suites", "MT10", "--modes", "eager", "--seconds", "0.1"]
    command = [sys.executable, str(SCRIPT), *words, "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    results = json.loads(output.with_suffix(".json").read_text())
    assert [row["part"] for row in results["rows"]] == ["multi_head", "c51", "pcgrad"]
    assert results["rows"][0]["ratio"] == 1.0
    assert all(row["ms"] > 0 and row["rounds"] >= 3 for row in results["rows"])
    text = output.read_text()
    assert text.strip() == done.stdout.strip()
    assert "| pcgrad | " in text and "Short:" in text
    assert re.search(r"\| multi_head \| [\d,]+ \| 1\.00 \|", text)

    done = subprocess.run([*command[:3], "--only", "nothing"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --only nothing: there is no such part: choose from ")


def test_the_page_says_what_graphs_gain_and_where_they_failed():
    about = {"command": "x", "commit": "c", "cpu": "z", "cores": 2, "versions": {"python": "3", "torch": "2"}}
    row = {"suite": "MT10", "kind": "network", "part": "multi_head", "parameters": 5, "quartiles": [1.0, 1.0]}
    row |= {"ratio": 1.0, "mb": 1.0, "fault": ""}
    rows = [row | {"mode": "eager", "ms": 12.0}, row | {"mode": "graph", "ms": 2.0}]
    assert "| MT10 | multi_head | 6.0 |" in page({"about": about, "short": False, "rows": rows})
    rows[1]["fault"] = "capture failed"
    text = page({"about": about, "short": False, "rows": rows})
    assert "## CUDA graphs" not in text
    assert "not recorded: capture failed" in text
