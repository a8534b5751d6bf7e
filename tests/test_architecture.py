"""The dependency rule `mtrl <- envs, agents`, and the form of the code, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST_FILE = 350
LONGEST_FUNCTION = 40
"""Lines of the body without its docstring."""
SOURCES = {path: path.relative_to(ROOT) for top in ("mtrl", "envs", "agents") for path in (ROOT / top).rglob("*.py")}
TREES = {relative: ast.parse(path.read_text()) for path, relative in SOURCES.items()}


def package_of(file: Path) -> list[str]:
    """The package that a file is in: `envs/metaworld/official.py` is in `mtrl.envs.metaworld`."""
    parts = list(file.parent.parts)
    return parts if parts[0] == "mtrl" else ["mtrl", *parts]


def imports_of(file: Path, tree: ast.AST) -> Iterator[str]:
    """All modules that a file imports, at its top or inside functions, relative ones resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package_of(file)[: len(package_of(file)) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def test_imports_are_read_rightly() -> None:
    tree = ast.parse("from .sac import SAC\nfrom ..envs import x\nimport mtrl.types\nfrom . import networks")
    found = set(imports_of(Path("agents/presets.py"), tree))
    assert {"mtrl.agents.sac", "mtrl.envs", "mtrl.envs.x", "mtrl.types", "mtrl.agents.networks"} <= found


def test_the_core_imports_no_environment_and_no_agent() -> None:
    for file, tree in TREES.items():
        if file.parts[0] == "mtrl":
            for module in imports_of(file, tree):
                assert not (module + ".").startswith(("mtrl.envs.", "mtrl.agents.")), f"{file} imports {module}"


def test_environments_and_agents_do_not_know_each_other() -> None:
    for file, tree in TREES.items():
        other = {"envs": "mtrl.agents.", "agents": "mtrl.envs."}.get(file.parts[0])
        for module in imports_of(file, tree):
            assert other is None or not (module + ".").startswith(other), f"{file} imports {module}"


def test_nothing_imports_the_tests_or_experiments() -> None:
    for file, tree in TREES.items():
        for module in imports_of(file, tree):
            assert module.split(".")[0] not in ("tests", "experiments", "envs", "agents"), f"{file} imports {module}"


def test_shape_annotations_stay_readable_at_run_time() -> None:
    for file, tree in TREES.items():
        assert "__future__.annotations" not in set(imports_of(file, tree)), file


@pytest.mark.parametrize("relative", sorted(map(str, TREES)))
def test_files_and_functions_are_short(relative: str) -> None:
    file = Path(relative)
    assert len((ROOT / file).read_text().splitlines()) <= LONGEST_FILE, f"{file} is long: one idea a file"
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= LONGEST_FUNCTION, f"{file}: {node.name} has {lines} lines: split it"


def test_no_work_is_left_in_comments() -> None:
    for path, relative in SOURCES.items():
        text = path.read_text()
        for mark in ("TODO", "FIXME", "XXX"):
            assert mark not in text, f"{relative} holds a {mark}"


def test_workers_need_no_torch() -> None:
    code = "import sys, mtrl.vector.worker, mtrl.registry, mtrl.tasks; import mtrl.envs; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
