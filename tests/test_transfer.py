"""Forward transfer: its formula, and the script from a trained agent to a table."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import transfer

import mtrl
from mtrl.algorithm import AGENTS
from mtrl.config import to_dict
from mtrl.errors import UserError
from mtrl.parts.words import choose_parts

ROOT = Path(__file__).parents[1]


def test_areas_and_transfer_are_as_written():
    assert transfer.area([(0.0, 0.0), (10.0, 1.0)]) == 0.5
    assert transfer.area([(0.0, 0.0), (10.0, 1.0), (40.0, 1.0)]) == pytest.approx((5.0 + 30.0) / 40.0)
    assert transfer.forward_transfer(0.8, 0.6) == pytest.approx(0.5)
    assert transfer.forward_transfer(0.6, 0.6) == 0.0 and transfer.forward_transfer(0.2, 0.6) == pytest.approx(-1.0)
    assert transfer.forward_transfer(1.0, 1.0) == 0.0


def test_options_say_what_is_taken_over():
    assert "--algorithm.actor.shared-from" not in transfer.words_of("scratch", "runs/a", 100)
    tuned, frozen = (transfer.words_of(mode, "runs/a", 100) for mode in ("tuned", "frozen"))
    assert tuned.count("runs/a") == frozen.count("runs/a") == 2
    assert "--algorithm.critic.freeze-shared" in frozen and "--algorithm.critic.freeze-shared" not in tuned


def test_a_table_needs_no_more_than_what_is_kept(tmp_path):
    for mode, rates in (("scratch", (0.0, 0.4)), ("frozen", (0.5, 0.5))):
        folder = tmp_path / "t" / f"a-{mode}" / "seed-0"
        folder.mkdir(parents=True)
        lines = [
            {"steps_per_task": 10 * (place + 1), "summary": {"success_any": rate}} for place, rate in enumerate(rates)
        ]
        (folder / "eval.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "DONE").write_text("{}")
    rows = transfer.table(tmp_path, "a", ["t", "missing"], [0, 1]).splitlines()
    assert rows[2:] == [
        "| t | from scratch | 1 | 0.40 | 0.10 |  |",
        "| t | shared layers frozen | 1 | 0.50 | 0.38 | 0.31 |",
    ]


def test_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="no run at"):
        transfer.read_source(tmp_path)


def test_settings_of_a_run_are_given_again():
    defaults = AGENTS.get("mtmhsac-small").defaults
    changed = choose_parts(defaults, {"network": "front_ends"})
    algorithm = dataclasses.replace(changed.algorithm, gamma=0.9, normalize_obs=not changed.algorithm.normalize_obs)
    config = to_dict(dataclasses.replace(changed, algorithm=algorithm, updates_per_step=2.0))
    words = transfer.settings_of(config)
    flag = "--algorithm.normalize-obs" if algorithm.normalize_obs else "--algorithm.no-normalize-obs"
    assert flag in words and words[words.index("--algorithm.gamma") + 1] == "0.9"
    assert words[words.index("--algorithm.actor.name") + 1] == "front_ends"
    assert words[words.index("--updates-per-step") + 1] == "2.0"
    assert transfer.settings_of(to_dict(defaults)) == ()


@pytest.mark.slow
def test_a_trained_agent_is_transferred(tmp_path):
    run = mtrl.train(
        "reach-v3,window-close-v3",
        "mtmhsac-small",
        network="front_ends",
        run_folder=str(tmp_path / "first"),
        steps_per_task=200,
        warmup_steps=50,
        evaluation={"every": 0, "final": False},
    )
    script = [sys.executable, str(ROOT / "experiments" / "transfer.py"), str(run.path), "--tasks", "drawer-close-v3"]
    places = [
        "--runs",
        str(tmp_path / "runs"),
        "--results",
        str(tmp_path / "kept"),
        "--output",
        str(tmp_path / "page.md"),
    ]
    done = subprocess.run([*script, "--steps", "6000", *places], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "page.md").read_text().count("| drawer-close-v3 |") == 3
