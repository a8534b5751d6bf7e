"""The script that trains agents that learn to learn and judges them on new goals, with controls."""

import json
from dataclasses import replace

import adaptation
import learning
import pytest

SUITE, AGENT = "ML1:point-robot-v0", "maml-small"
SETTINGS = {"steps-per-task": 1200, "slots-per-task": 4, "algorithm.outer-episodes": 2, "evaluation.slots-per-task": 25}
WORDS = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]


def test_every_finished_run_is_judged_once_on_new_goals_and_with_controls(tmp_path, capsys):
    runs, results = tmp_path / "runs", tmp_path / "results"
    (job,) = adaptation.jobs_of([SUITE], [AGENT], [0], runs, WORDS)
    assert job.folder == runs / "ML1-point-robot-v0" / AGENT / "seed-0"
    assert list(adaptation.rows(results, [SUITE], [AGENT], [0])) == []
    assert learning.run_all([job], 1, 600.0, results) == []
    adaptation.judge(job, results)
    assert capsys.readouterr().out.count("A-heldout after 10 episodes") == 3
    adaptation.judge(job, results)
    assert capsys.readouterr().out == ""
    kept = job.kept(results)
    assert kept == results / "ML1-point-robot-v0" / AGENT / "seed-0"
    records = [json.loads(line) for line in (kept / "eval.jsonl").read_text().splitlines()]
    own = next(one for one in records if one["goal_set"] == "heldout" and one["context"] == "own")
    train, heldout = adaptation.rows(results, [SUITE], [AGENT], [0, 1])
    curve = [row["success_end"] for row in own["summary"]["adaptation"]]
    assert len(curve) == 13 and heldout.startswith(
        f"| {SUITE} | `{AGENT}` | 0 | heldout | {curve[0]:.2f} | {curve[9]:.2f} | {own['summary']['success_end']:.2f} |"
    )
    assert heldout.count("|") == train.count("|") == adaptation.PAGE.split("|---")[0].splitlines()[-1].count("|")
    assert "|  |  |" in train  # no controls there
    given = "--steps-per-task 1200 --algorithm.outer-episodes 2 --slots-per-task 4 --evaluation.slots-per-task 25"
    assert list(adaptation.commands(results, [SUITE], [AGENT], [0, 1])) == [
        f"python experiments/adaptation.py {SUITE} --agents {AGENT} --seeds 0 --options {given}"
    ]


def test_the_page_of_what_is_kept_runs_nothing(tmp_path, monkeypatch):
    page, given = tmp_path / "page.md", ["ML1:reach-v3", "--agents", "maml-small", "--seeds", "0", "1", "--kept"]
    monkeypatch.setattr("sys.argv", ["adaptation.py", *given, "--output", str(page)])
    monkeypatch.setattr(adaptation, "judge", lambda *given: pytest.fail("plays"))
    with pytest.raises(SystemExit) as stop:
        adaptation.main()
    text = page.read_text()
    assert stop.value.code == 0 and text.count("| ML1:reach-v3 | `maml-small` | 1 |") == 2
    assert "    python experiments/adaptation.py ML1:reach-v3 --agents maml-small --seeds 0 1\n" in text


def test_new_tasks_are_met_where_a_suite_has_some(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(adaptation.api, "evaluate", lambda folder, **given: asked.append(given) or Found())
    monkeypatch.setattr(adaptation, "played", lambda folder: {("test", "own"): {}})
    monkeypatch.setattr(learning.Job, "keep", lambda job, results: None)
    (job,) = adaptation.jobs_of(["ML10"], [AGENT], [0], tmp_path, ())
    adaptation.judge(replace(job, folder=tmp_path), tmp_path)
    met = [(given["goals"], given["context"]) for given in asked]
    assert ("test", "own") not in met and {("test", "other"), ("heldout", "own")} < set(met) and len(met) == 5


class Found:
    """As much of a result as is printed."""

    protocol, success_end = "A", 0.0
