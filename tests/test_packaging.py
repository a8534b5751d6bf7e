"""What is installed: the list of packages, versions, the public names, and how light `import mtrl` is."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mtrl

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normalised(name): version for name, version in pairs}


def test_the_list_of_packages_is_what_the_folders_hold() -> None:
    found = set()
    for top, package in (("mtrl", "mtrl"), ("envs", "mtrl.envs"), ("agents", "mtrl.agents")):
        for file in (ROOT / top).rglob("*.py"):
            inner = file.parent.relative_to(ROOT / top).parts
            found.add(".".join((package, *inner)))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_every_package_folder_has_an_init_file() -> None:
    for top in ("mtrl", "envs", "agents"):
        for file in (ROOT / top).rglob("*.py"):
            assert (file.parent / "__init__.py").exists(), file


def test_every_data_file_is_packaged() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    for top in ("mtrl", "envs", "agents"):
        for file in (ROOT / top).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                assert any(file.match(pattern) for pattern in patterns), f"{file} is in no package-data pattern"


def test_there_is_one_version() -> None:
    assert mtrl.__version__ == PROJECT["project"]["version"] == importlib.metadata.version("mtrl-suite")


def test_constraints_pin_every_requirement_within_its_range() -> None:
    optional = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *(line for extra in optional.values() for line in extra)]
    for requirement in map(Requirement, lines):
        if requirement.name != "mtrl-suite":
            pinned = pins()[normalised(requirement.name)]
            assert requirement.specifier.contains(pinned), f"{requirement} does not allow the pinned {pinned}"


def test_constraints_hold_versions_alone() -> None:
    for name, version in pins().items():
        assert re.fullmatch(r"[a-z0-9-]+", name) and re.fullmatch(r"[0-9][0-9a-z.]*", version), (name, version)


def test_everything_that_is_imported_is_declared() -> None:
    declared = {normalised(Requirement(line).name) for line in PROJECT["project"]["dependencies"]}
    extras = PROJECT["project"]["optional-dependencies"]
    optional = {normalised(Requirement(line).name) for extra in set(extras) - {"dev"} for line in extras[extra]}
    owners = importlib.metadata.packages_distributions()
    for top in ("mtrl", "envs", "agents"):
        for file in (ROOT / top).rglob("*.py"):
            for line in re.findall(r"^\s*(?:from|import)\s+(\w+)", file.read_text(), flags=re.MULTILINE):
                if line in owners and line != "mtrl":
                    names = {normalised(name) for name in owners[line]}
                    assert names & (declared | optional), f"{file} imports {line}, of {names}, which is not declared"


def test_extras_are_whole() -> None:
    optional = PROJECT["project"]["optional-dependencies"]
    named = Requirement(optional["all"][0]).extras
    assert named == set(optional) - {"all", "dev", "bench"}  # what bench needs takes 740 MB, and runs no agent


def test_import_of_mtrl_is_light_and_chooses_a_renderer() -> None:
    code = (
        "import sys, os, mtrl\n"
        "heavy = {'torch', 'gymnasium', 'mujoco', 'wandb', 'tyro', 'numpy'} & set(sys.modules)\n"
        "print(sorted(heavy), os.environ.get('MUJOCO_GL'))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY")}
    environment.pop("WAYLAND_DISPLAY", None)
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("[] ")
    assert result.stdout.split()[-1] in (("egl", "None") if sys.platform == "linux" else ("None",))


def test_the_renderer_is_left_alone_where_egl_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mtrl.ctypes, "CDLL", refuse)
    mtrl._choose_renderer()
    assert "MUJOCO_GL" not in os.environ


@pytest.mark.parametrize("variables", [{"MUJOCO_GL": "osmesa"}, {"DISPLAY": ":0"}])
def test_the_users_choice_of_renderer_stands(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    mtrl._choose_renderer()
    assert os.environ.get("MUJOCO_GL") == variables.get("MUJOCO_GL")


def test_public_names_are_there_and_hide_no_module() -> None:
    modules = {path.stem for path in (ROOT / "mtrl").iterdir()}
    for name in mtrl._PUBLIC:
        assert name not in modules, f"importing mtrl.{name} would replace the public name"
        assert callable(getattr(mtrl, name))
        assert name in dir(mtrl)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = mtrl.trian


def test_type_checkers_see_the_same_public_names() -> None:
    tree = ast.parse((ROOT / "mtrl" / "__init__.py").read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    assert {alias.name: node.module for node in imports for alias in node.names} == mtrl._PUBLIC
    assert all(alias.name == alias.asname for node in imports for alias in node.names)


def test_envs_and_agents_cannot_be_imported_from_the_root() -> None:
    for name in ("envs", "agents"):
        result = subprocess.run([sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode != 0 and f"import this folder as mtrl.{name}" in result.stderr
