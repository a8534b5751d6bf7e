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


def program_name() -> str:
    """How to call `mtrl` from here: by its name where the shell finds this one, otherwise by its path."""
    script = Path(sys.executable).parent / "mtrl"
    found = shutil.which("mtrl")
    if not script.exists() or (found and Path(found).resolve() == script.resolve()):
        return "mtrl"
    return os.path.relpath(script)
