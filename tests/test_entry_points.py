"""Installed packages are found through their entry points; a broken one is named and set aside."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "plugin_example"


def mtrl(*words: str, packages: Path, folder: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mtrl", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=folder)


def install_by_hand(source: Path, packages: Path) -> None:
    """What an installer leaves behind: the package's files, and a dist-info with its entry points."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    package = project["name"].replace("-", "_")
    shutil.copytree(source / package, packages / package)
    info = packages / f"{package}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{n} = {v}" for n, v in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def packages(tmp_path):
    install_by_hand(EXAMPLE, tmp_path / "packages")
    return tmp_path / "packages"


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="pip needs setuptools here to build")
def test_the_example_package_installs_with_pip(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "source")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", tmp_path / "packages", tmp_path / "source"]
    subprocess.run(command, check=True, timeout=120)
    listed = mtrl("list", "tasks", packages=tmp_path / "packages", folder=tmp_path)
    assert "plugged-v0" in listed.stdout, listed.stderr


def test_what_a_package_adds_is_listed_and_works(packages, tmp_path):
    listed = mtrl("list", packages=packages, folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    for line in ("plugged-v0", "Push a point to the goal on a line.", "PLUGGED2", "plugged_linear", "reach-v3"):
        assert line in listed.stdout
    for name in ("plugged_expectile", "plugged_power"):
        assert f"  {name} " in listed.stdout
    assert "broken" not in listed.stdout
    words = ["train", "--critic", "plugged_expectile", "--combiner", "plugged_power", "--help"]
    helped = mtrl(*words, packages=packages, folder=tmp_path)
    assert "--algorithm.value.expectile" in helped.stdout and "--algorithm.critic-combiner.power" in helped.stdout
    checked = mtrl("check", "plugged-v0", packages=packages, folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 failed" in checked.stdout


def test_a_broken_package_is_named_and_set_aside(packages, tmp_path):
    (packages / "mtrl_plugin_example" / "networks.py").write_text("import a_module_that_is_not_there\n")
    listed = mtrl("list", packages=packages, folder=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "plugged-v0" in listed.stdout and "mtmhsac" in listed.stdout
    named = [line for line in listed.stdout.splitlines() if line.startswith("broken plug-in")]
    assert len(named) == 1 and "mtrl.agents:example" in named[0] and "a_module_that_is_not_there" in named[0]


def test_a_package_whose_task_takes_a_built_in_name_is_set_aside(packages, tmp_path):
    tasks = packages / "mtrl_plugin_example" / "tasks.py"
    tasks.write_text(tasks.read_text().replace('"plugged-v0"', '"reach-v3"'))
    listed = mtrl("list", "tasks", packages=packages, folder=tmp_path)
    assert "mtrl.envs:example" in listed.stdout and "'reach-v3' is already registered" in listed.stdout
    assert "Move the gripper to the goal." in listed.stdout and listed.returncode == 0
