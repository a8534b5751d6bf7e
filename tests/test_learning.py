"""The script that trains many agents: what is finished is not run again, and what the dashboard reads is kept."""

import json
from pathlib import Path

import learning
import method_pages
import published
import pytest
import results_page
from synthetic_runs import Spec, write_run

from mtrl.algorithm import AGENTS
from mtrl.errors import UserError
from mtrl.report import compare

TINY = (
    "--steps-per-task 40 --warmup-steps 16 --slots-per-task 4 --replay.capacity-per-task 100 --evaluation.every 0 "
    "--evaluation.final-goals 1 --tracking.wandb off --algorithm.batch-per-task 4 --algorithm.actor.width 8 "
    "--algorithm.critic.width 8"
)


def test_every_small_form_is_found():
    names = learning.small_forms()
    assert names[0] == "quick" and {"moore-small", "pcgrad-small", "brc-small"} < set(names)


def test_runs_are_kept_and_not_repeated(tmp_path, capsys):
    runs, results = tmp_path / "runs", tmp_path / "results"
    good = learning.Job("reach-v3", "mtsac-small", 0, tuple(TINY.split()), runs / "good")
    bad = learning.Job("reach-v3", "mtsac-small", 1, ("--gama", "1"), runs / "bad")
    assert learning.run_all([good, bad], 2, 600.0, results) == [bad]
    assert "done, success" in capsys.readouterr().out
    kept = results / "reach-v3" / "mtsac-small" / "seed-0"
    assert {path.name for path in kept.iterdir()} == {*learning.KEPT, "config.json", "metrics.jsonl"}
    assert str(tmp_path) not in (kept / "config.json").read_text()
    assert "did you mean" in bad.log.read_text()
    compare(results, tmp_path / "report.html")
    assert "mtsac-small" in (tmp_path / "report.html").read_text()
    page = results_page.page(results)
    row = next(line for line in page.splitlines() if line.startswith("| `mtsac-small` | 0 |"))
    done = json.loads((kept / "DONE").read_text())
    assert f"| {done['summary']['success_any']:.3f} |" in row and f"| {done['updates']:,} |" in row
    assert "Made by `mtrl train reach-v3 --agent AGENT --seed SEED --workers 1 --steps-per-task 40" in page
    assert "### A-eval, 40 steps/task" in page and "1 training goals a task" in page
    assert learning.run_all([good], 2, 600.0, results) == []
    assert capsys.readouterr().out == ""


def test_every_page_of_a_method_has_its_figures():
    pages = {path.stem for path in (Path(__file__).parents[1] / "docs" / "methods").glob("*.md")}
    assert set(method_pages.PAGES) == pages
    assert all(name in AGENTS for _, presets in method_pages.PAGES.values() for name in presets)


def test_without_results_there_is_no_page(tmp_path):
    with pytest.raises(UserError, match="no finished runs"):
        results_page.page(tmp_path)


def test_agents_are_compared_after_equal_work(tmp_path):
    for agent, pace in (("quick", 1.0), ("slow", 2.0), ("uncounted", 0.0)):
        path = write_run(tmp_path, Spec(agent=agent)) / "eval.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:  # success is the share of the training that is done
            line["cpu_s"] = pace * line["steps_per_task"] / 1000
            for place, episode in enumerate(line["episodes"]):
                episode["success_any"] = int(place % 8 < 8 * line["steps_per_task"] / 2_000_000)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, after = results_page.page(tmp_path).split("After equal work, 33 CPU minutes")
    rows = dict(line.split(" | ")[::2] for line in after.splitlines() if line.startswith("| `"))
    assert rows.keys() == {"| `quick`", "| `slow`"}
    assert rows["| `quick`"] == "1.00 |" and float(rows["| `slow`"][:4]) == 0.53  # 16 of 30


def test_published_figures_carry_a_letter_that_is_explained():
    for anchors in published.ANCHORS.values():
        assert {anchor.letter for anchor in anchors} <= set(published.PROTOCOLS)
        assert all(anchor.source and anchor.success and anchor.steps for anchor in anchors)
