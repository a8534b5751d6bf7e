"""The command `mtrl`: its overview, its errors of one line with exit code 2, and Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mtrl import registry
from mtrl.cli import COMMANDS, main

TINY = ["--evaluation.final-goals", "1", "--workers", "1"]


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command says on standard error as it ends with code 2."""
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", printed.err), printed.err
    return printed.err


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in COMMANDS)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: mtrl {command}" in capsys.readouterr().out


def test_help_of_a_preset_gives_its_values_cost_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {}
    for agent in ("quick", "mtmhsac"):
        assert main(["train", "--agent", agent, "--help"]) == 0
        texts[agent] = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert f"preset '{agent}'" in texts[agent] and "Cost: " in texts[agent] and "Source: " in texts[agent]
    assert "(default: 0.99)" in texts["mtmhsac"] and "--algorithm.gamma" in texts["mtmhsac"]
    assert texts["quick"] != texts["mtmhsac"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"mtrl \d+\.\d+\.\d+\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("trian MT3", ["'trian'", "did you mean train"]),
        ("qqqq", ["'qqqq'", "train", "compare"]),
        ("train MT11", ["suite 'MT11'", "MT10", "mtrl list suites"]),
        ("train raech-v3", ["task 'raech-v3'", "reach-v3"]),
        ("train reach-v3,reach-v3", ["'reach-v3'", "listed twice"]),
        ("train MT3 --agent mtmhsca", ["agent 'mtmhsca'", "mtmhsac"]),
        ("train MT3 --agent=mtmhsca", ["agent 'mtmhsca'", "mtmhsac"]),
        ("train MT3 --agent", ["--agent needs a value"]),
        ("train MT3 --agent quick --seed abc", ["--seed", "a whole number", "'abc'"]),
        ("train MT3 --agent quick --gamma 0.9", ["'--gamma'", "--algorithm.gamma"]),
        ("train MT3 --agent zero --algorithm.gamma 0.9", ["'--algorithm.gamma'"]),
        ("train MT3 --slots-per-task 0", ["--slots-per-task 0", "at least 1"]),
        ("train MT3 --steps-per-task -5", ["--steps-per-task -5", "at least 0"]),
        ("train MT3 --seed -1", ["--seed -1", "at least 0"]),
        ("train MT3 --updates-per-step nan", ["--updates-per-step nan"]),
        ("train MT3 --replay.capacity-per-task 0", ["--replay.capacity-per-task 0", "at least 1"]),
        ("train MT3 --replay.capacity-per-task 50", ["--algorithm.batch-per-task 128", "--replay.capacity-per-task"]),
        ("train MT3 --slots-per-task 6 --replay.capacity-per-task 5", ["--replay.capacity-per-task 5", "6 slots"]),
        ("train MT3 --algorithm.gamma 1.5", ["--algorithm.gamma 1.5", "at most 1"]),
        ("train MT3 --algorithm.actor-learning-rate -1", ["--algorithm.actor-learning-rate -1", "at least 0"]),
        ("train MT3 --algorithm.critic.width 0", ["--algorithm.critic.width 0", "at least 1"]),
        ("train MT3 --algorithm.min-log-std 3", ["--algorithm.min-log-std 3", "--algorithm.max-log-std"]),
        ("train MT3 --algorithm.actor-combiner.name maen", ["combiner 'maen'", "mean"]),
        ("train MT3 --device tpu", ["'tpu'", "cpu"]),
        ("train MT3 --engine warpp", ["engine 'warpp'", "mtrl list engines"]),
        ("train MT3 --algorithm.actor.name multi_haed", ["network 'multi_haed'", "multi_head"]),
        ("train MT3 --tracking.trackers wandbb", ["tracker 'wandbb'", "wandb"]),
        ("resume", ["no run folder given"]),
        ("resume nowhere", ["nowhere", "config.json"]),
        ("eval", ["--agent zero --suite MT3"]),
        ("eval somewhere --agent zero", ["either a run folder or --agent"]),
        ("eval nowhere --suite MT3", ["--suite MT3 does not go with a run"]),
        ("eval nowhere", ["nowhere", "config.json"]),
        ("eval --agent quick", ["'quick' must be trained first"]),
        ("eval --agent zero --suite MT3 --count 0", ["0 goals"]),
        ("eval --agent zero --suite MT3 --goals all", ["--goals", "heldout", "'all'"]),
        ("eval --agent zero --suite MT3 --goals test", ["MT3", "test"]),
        ("video", ["no run folder given"]),
        ("video nowhere", ["nowhere", "config.json"]),
        ("compare nowhere", ["nowhere"]),
        ("compare .", ["train one first"]),
        ("list taks", ["'taks'", "did you mean tasks?"]),
        ("check", ["nothing to check"]),
        ("check raech-v3", ["'raech-v3'", "reach-v3"]),
        ("demo --shrot", ["'--shrot'", "did you mean --short?"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    line: str, parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = fails(capsys, *line.split())
    for part in parts:
        assert part in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "run.lock"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, "train", "MT3", "--device", "cuda")
    assert "'cuda' is not there" in message and "--device cpu" in message


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert str(file) in fails(capsys, "train", "reach-v3", "--agent", "zero", "--run-folder", str(file / "run"))


def test_one_command_after_the_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """train, train again, train otherwise, resume, eval and compare on one run folder."""
    monkeypatch.chdir(tmp_path)
    train = ["train", "reach-v3", "--agent", "zero", *TINY]
    assert main(train) == 0
    assert "A-eval (1 of 50 goals), 0 steps/task" in capsys.readouterr().out
    run = str(next(Path("runs").rglob("config.json")).parent)
    assert main(train) == 0
    assert "finished already" in capsys.readouterr().out
    message = fails(capsys, *train, "--goal-seed", "7", "--run-folder", run)
    assert "another configuration" in message and "goal_seed" in message and run in message
    assert main(["resume", run]) == 0
    assert main(["eval", run, "--count", "1", "--workers", "1"]) == 0
    table = capsys.readouterr().out
    assert "A-eval (1 of 50 goals), 0 steps/task\n" in table and "\nreach-v3 " in table
    assert main(["compare"]) == 0
    assert Path("runs/report.html").stat().st_size > 10_000


def test_list_shows_each_kind_with_a_line_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.broken_plugins, "mtrl.envs:theirs", "ImportError: no\nmodule")
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for line in ("suites:", "  MT10 ", "tasks:", "  reach-v3 ", "agents:", "  quick ", "networks:", "  multi_head "):
        assert f"\n{line}" in f"\n{text}"
    assert "trackers:\n" in text and "engines:\n" in text
    assert "broken plug-in mtrl.envs:theirs: ImportError: no module\n" in text
    assert main(["list", "agents"]) == 0
    assert "reach-v3" not in capsys.readouterr().out


def test_our_own_faults_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "train", ("test_cli_main:broken", "fails"))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def broken(words: list[str]) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("words", ["--help", "resume --help", "demo --help", "trian"])
def test_what_needs_no_torch_does_not_load_it(words: str) -> None:
    code = f"import sys; from mtrl.cli import main; main({words.split()!r}); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


def test_control_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["train", "reach-v3", "--agent", "quick", "--workers", "1", "--tracking.log-every", "60"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mtrl", *words],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "runs" / "MT1-reach-v3" / "quick" / "seed-0" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert " resume runs/MT1-reach-v3/quick/seed-0" in out
    assert "Traceback" not in err
    assert (metrics.parent / "checkpoints" / "latest").exists()
