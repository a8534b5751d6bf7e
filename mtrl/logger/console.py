"""What a run says to the person at the terminal, without breaking a progress bar."""

import os
import shutil
import sys
from pathlib import Path

from tqdm import tqdm


def say(text: str) -> None:
    """One line of news."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def warn(text: str) -> None:
    """One line about something that went wrong and was survived."""
    tqdm.write(f"warning: {text}", file=sys.stderr)
    sys.stderr.flush()


def program_name(processes: int = 1) -> str:
    """How to call `mtrl` from here: by its name where the shell finds this one, otherwise by its path.

    Args:
        processes: That are to be started together.
    """
    if processes > 1:
        return f"torchrun --nproc-per-node {processes} -m mtrl"
    script = Path(sys.executable).parent / "mtrl"
    found = shutil.which("mtrl")
    if not script.exists() or (found and Path(found).resolve() == script.resolve()):
        return "mtrl"
    return os.path.relpath(script)
