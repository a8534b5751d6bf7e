"""The files of docs/registering.md that add parts of agents: listed, in `--help`, trained with and on the dashboard."""

import re
from pathlib import Path

import pytest
import test_cli_parts
import test_tutorial

import mtrl
import mtrl.api
from mtrl.cli import main
from mtrl.parts.words import WORDS

parts_of_users = test_cli_parts.parts_of_users
PAGE = Path(__file__).parents[1] / "docs" / "registering.md"
ADDED = {"network": "bottleneck", "critic": "huber", "combiner": "worst", "scale": "fixed"}
OPTIONS = {"network": "neck", "critic": "limit", "combiner": "sharpness", "scale": "factor"}
CALLED = {word: f"my_{word}:{name}" for word, name in ADDED.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of somebody who has copied the files."""
    for language, content in test_tutorial.blocks(PAGE):
        name = re.match(r"# (my_\w+\.py)\n", content)
        if language == "python" and name:
            (tmp_path / name[1]).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_there_is_a_file_for_each_kind(folder: Path) -> None:
    assert {file.stem for file in folder.glob("my_*.py")} == {f"my_{word}" for word in WORDS}


@pytest.mark.parametrize("word", list(WORDS))
def test_it_is_listed_and_its_options_are_in_the_help(
    word: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", f"my_{word}:{word}s"]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^  {ADDED[word]} +\S", text, flags=re.MULTILINE)
    assert main(["train", f"--{word}", CALLED[word], "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert re.search(rf"--algorithm\.[a-z-]+\.{OPTIONS[word]} (INT|FLOAT) [A-Z0-9]", text)
    assert f"(default: {CALLED[word]})" in text and f" {ADDED[word]} (`mtrl list {word}s`" in text


def test_an_agent_of_them_is_trained_and_on_the_dashboard(folder: Path) -> None:
    plain = mtrl.api.train("dot-suite", "tiny", steps_per_task=40)
    run = mtrl.api.train("dot-suite", "tiny", steps_per_task=40, **CALLED)
    name = "tiny+bottleneck+huber+worst+fixed"
    assert run.path == plain.path.parent.parent / name / "seed-0"
    assert run.metrics()[-1]["updates"] > 0
    assert run.evaluate(count=1).success_any >= 0.0
    page = mtrl.compare("runs").read_text()
    assert name in page and "2 agents" not in page


def test_the_commands_are_those_that_the_page_shows() -> None:
    shown = next(
        content
        for language, content in test_tutorial.blocks(PAGE)
        if "my_scale:fixed" in content and language == "bash"
    )
    line = " ".join(f"--{word} {CALLED[word]}" for word in WORDS)
    assert f"mtrl train MT3 {line}\n" in shown


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("class Own(NetworkConfig):\n    neck: int = 3\n", "@dataclass"),
        ("@dataclass(frozen=True)\nclass Own:\n    neck: int = 3\n", "derived from NetworkConfig"),
        ("@dataclass(frozen=True, kw_only=True)\nclass Own(NetworkConfig):\n    neck: int\n", "Own.neck a default"),
    ],
)
def test_configs_that_cannot_work_are_refused(source: str, message: str) -> None:
    space: dict = {}
    exec("from dataclasses import dataclass\nfrom mtrl.parts.network import NetworkConfig\n" + source, space)
    with pytest.raises(mtrl.UserError, match=f"cannot register network 'own': .*{message}"):
        mtrl.register_network("own", description="one", config=space["Own"])
