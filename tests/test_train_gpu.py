"""The script that trains on a GPU, in a small form on a CPU."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "experiments" / "train_gpu.py"


def run(folder, *options, seed="0"):
    place = ["--device", "cpu", "--engine", "native", "--goals", "1", "--output", "page.md", "--seed", seed]
    words = [
        "--steps-per-task",
        "300",
        "--slots-per-task",
        "2",
        "--warmup-steps",
        "100",
        "--evaluation.final-goals",
        "1",
    ]
    command = [sys.executable, str(SCRIPT), "reach-v3", "--agent", "fast-small", *place, "--options", *words, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)


def test_one_command_trains_judges_and_writes_the_page(tmp_path):
    done = run(tmp_path, "--algorithm.batch-per-task", "8")
    assert done.returncode == 0, done.stderr
    (one,) = json.loads((tmp_path / "page.json").read_text())
    assert one["counts"]["steps_per_task"] == 300 and one["counts"]["updates"] > 50
    seconds = one["seconds"]
    parts = sum(seconds[name] for name in ("imports", "setup", "wall", "evaluation"))
    assert all(value > 0 for value in seconds.values())
    assert 0.7 * seconds["total"] < parts <= seconds["total"]
    assert set(one["success"]) == set(one["official"]) == {"reach-v3"}
    text = (tmp_path / "page.md").read_text()
    assert "on the native engine and" in text and "| reach-v3 |" in text and "Command: `python" in text

    wrong = run(tmp_path, "--algorithm.batch-per-task", "eight", seed="1")
    assert wrong.returncode == 2 and "batch-per-task" in wrong.stderr
    assert len(json.loads((tmp_path / "page.json").read_text())) == 1
