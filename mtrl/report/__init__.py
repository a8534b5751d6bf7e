"""The dashboard: `mtrl compare runs/` or `mtrl.compare("runs")` writes one self-contained page of all run folders."""

from collections.abc import Sequence
from pathlib import Path

from mtrl.errors import UserError
from mtrl.report.load import RunSummary, load_runs, print_warning
from mtrl.report.page import write_report

__all__ = ["RunSummary", "compare", "load_runs", "write_report"]


def compare(paths: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes the dashboard of all runs in some folders.

    Args:
        paths: Folders that hold runs at any depth.
        out: File to write; by default `report.html` in the first folder.

    Returns:
        The file that was written.

    Raises:
        UserError: A folder is missing, none holds a run, or the file cannot be written.
    """
    folders = [paths] if isinstance(paths, str | Path) else list(paths)
    if not folders:
        raise UserError("no folder to compare: give the one that runs were written to, such as runs/")
    lines: list[str] = []
    runs = load_runs(folders, lines.append)
    for line in lines:
        print_warning(line)
    if not runs:
        places = ", ".join(str(folder) for folder in folders)
        raise UserError(f"no runs in {places}: train one first, such as `mtrl train MT3 --agent quick`")
    path = Path(out) if out is not None else Path(folders[0]) / "report.html"
    return write_report(runs, path, notes=lines)
