"""The demonstration from end to end, cut to a minimum, and what `make` says without a usable Python."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtrl import demo
from mtrl.cli import main
from mtrl.logger import console

ROOT = Path(__file__).parent.parent


def test_the_demo_goes_all_the_way_and_can_be_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "SHORT_STEPS", 24)
    monkeypatch.setattr(demo, "SHORT_GOALS", 1)
    assert main(["demo", "--short", "--seed", "5"]) == 0
    text = capsys.readouterr().out
    folders = sorted(str(path.parent) for path in Path().rglob("DONE"))
    assert folders == [f"runs-short/MT3/{agent}/seed-5" for agent in ("quick", "random", "repeat", "zero")]
    for name in ("quick", *demo.FLOORS):
        assert re.search(rf"^{name} +\d\.\d\d( +\d\.\d\d){{3}}$", text, flags=re.MULTILINE), text
    assert f"Dashboard: {tmp_path / 'runs-short' / 'report.html'}" in text
    assert "What to try next" in text and "The demo took 0:" in text
    page = (tmp_path / "runs-short" / "report.html").read_text()
    assert all(name in page for name in ("quick", *demo.FLOORS))
    assert main(["demo", "--short", "--seed", "5"]) == 0
    assert capsys.readouterr().out.count("finished already") == 4
    monkeypatch.setattr(demo, "SHORT_STEPS", 48)
    assert main(["demo", "--short", "--seed", "5"]) == 2
    message = capsys.readouterr().err
    assert "another configuration" in message and "choose another --folder" in message


def test_the_full_demo_trains_the_preset_as_it_is() -> None:
    config = demo.demo_config("quick", Path("runs"), 3, short=False)
    assert config == demo.make_config("MT3", "quick", seed=3, run_folder="runs/MT3/quick/seed-3")
    assert config.evaluation.final and config.evaluation.final_goals == 0


def test_the_program_is_called_as_the_shell_can_find_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "bin" / "mtrl"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script.parent / "python"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert console.program_name() == "bin/mtrl"
    monkeypatch.setenv("PATH", str(script.parent))
    assert console.program_name() == "mtrl"
    assert console.program_name(4) == "torchrun --nproc-per-node 4 -m mtrl"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_names_the_remedy_where_python_is_too_old(tmp_path: Path) -> None:
    command = ["make", "demo", f"VENV={tmp_path / 'venv'}", "PYTHON=false"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode != 0
    assert "error: false is not Python 3.11 or newer: name one, as in PYTHON=python3.12" in result.stderr
    assert not (tmp_path / "venv").exists()
