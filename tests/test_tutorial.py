"""The tutorial is executed as it stands; so is what it says about adding to mtrl itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of the code blocks, in order."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def environment(**more: str) -> dict[str, str]:
    """What a user's shell has after mtrl was installed: its commands on the path, and nothing of this checkout."""
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": commands, "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which somebody has followed the tutorial."""
    place = tmp_path_factory.mktemp("tutorial")
    printed = []
    for language, content in blocks(ROOT / "docs" / "tutorial.md"):
        assert language in ("python", "bash")
        if language == "python":
            name = re.match(r"# (\w+\.py)\n", content)
            assert name, "the first line of a Python block names its file"
            (place / name[1]).write_text(content)
        else:
            command = ["bash", "-euc", content]
            result = subprocess.run(command, cwd=place, env=environment(), capture_output=True, text=True, timeout=240)
            assert result.returncode == 0, f"{content}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
            printed.append(result.stdout)
    (place / "printed.txt").write_text("\n".join(printed))
    return place


def test_the_tutorial_runs_as_it_stands(folder):
    printed = (folder / "printed.txt").read_text()
    assert "warned, 0 failed" in printed and "point-2d" in printed


def test_its_agents_learn_and_the_floor_does_not(folder):
    import mtrl.api

    sys.path.insert(0, str(folder))
    try:
        success = {}
        for run in ("quick/seed-0", "zero/seed-0", "quick+embedded/seed-0", "quick+embedded/seed-1"):
            final = [line for line in mtrl.api.Run(folder / "runs" / "POINTS" / run).evaluations() if line["final"]]
            success[run] = final[-1]["summary"]["success_any"]
    finally:
        sys.path.remove(str(folder))
    for agent in ("quick/seed-0", "quick+embedded/seed-0"):
        assert success[agent] > success["zero/seed-0"]


def test_the_dashboard_shows_them(folder):
    page = (folder / "runs" / "report.html").read_text()
    for word in ("POINTS", "point-1d", "point-2d", "quick", "quick+embedded", "zero"):
        assert word in page


def test_a_network_and_a_task_join_mtrl_with_one_file_and_one_line_each(folder, tmp_path):
    """In a copy of the source, as it is when it is installed."""
    ignore = shutil.ignore_patterns("__pycache__")
    package = tmp_path / "mtrl"
    shutil.copytree(ROOT / "mtrl", package, ignore=ignore)
    shutil.copytree(ROOT / "envs", package / "envs", ignore=ignore)
    shutil.copytree(ROOT / "agents", package / "agents", ignore=ignore)
    for source, target in (("my_tasks.py", package / "envs"), ("my_networks.py", package / "agents" / "networks")):
        shutil.copy(folder / source, target)
        with (target / "__init__.py").open("a") as file:
            file.write(f"from . import {source.removesuffix('.py')}\n")
    command = [sys.executable, "-m", "mtrl", "list"]
    inside = environment(PYTHONPATH=str(tmp_path))
    listed = subprocess.run(command, cwd=tmp_path, env=inside, capture_output=True, text=True, timeout=120)
    assert listed.returncode == 0, listed.stderr
    for word in ("point-2d", "POINTS", "embedded ", "multi_head", "reach-v3"):
        assert word in listed.stdout


def test_the_example_with_a_model_and_a_pendulum_runs(tmp_path):
    script = """
import custom_task
network = {"width": 8, "depth": 1}
custom_task.main(steps_per_task=120, warmup_steps=60, evaluation={"every": 0},
                 algorithm={"batch_per_task": 4, "actor": network, "critic": network})
"""
    inside = environment(PYTHONPATH=str(ROOT / "experiments"))
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=tmp_path, env=inside, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.endswith("runs/ARM-AND-PENDULUM/report.html\n")
    assert (tmp_path / "runs" / "ARM-AND-PENDULUM" / "report.html").stat().st_size > 100_000


def test_the_calls_in_the_reference_are_right(tmp_path):
    """All Python blocks of docs/registering.md in one program, and what they registered looked up."""
    parts = [content for language, content in blocks(ROOT / "docs" / "registering.md") if language == "python"]
    looked_up = """
from mtrl.suites import resolve_suite
from mtrl.tasks import TASKS
from mtrl.algorithm import AGENTS
from mtrl.logger import TRACKERS
from mtrl.parts.words import WORDS
print(TASKS.get("swing-up").obs_dim, TASKS.get("arm-v0").obs_dim, *resolve_suite("MIX").train_tasks)
print(AGENTS.get("mine").defaults.algorithm.gamma, TRACKERS.get("printer").__name__)
for word, name in {"network": "bottleneck", "critic": "huber", "combiner": "worst", "scale": "fixed"}.items():
    print(WORDS[word].get(name).build.__name__)
"""
    (tmp_path / "calls.py").write_text("\n".join([*parts, looked_up]))
    (tmp_path / "arm.xml").write_text(
        "<mujoco><worldbody><body><joint name='j' type='hinge'/><geom size='.1'/><site name='tip'/></body></worldbody>"
        "<actuator><motor joint='j' ctrlrange='-1 1'/></actuator></mujoco>"
    )
    command = [sys.executable, "calls.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "3 4 arm-v0 swing-up reach-v3\n0.99 Printer\nBottleneck\nHuber\nWorst\nFixed\n"
