"""What a run says to the person at the terminal, without breaking a progress bar."""

import sys

from tqdm import tqdm


def say(text: str) -> None:
    """One line of news."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def warn(text: str) -> None:
    """One line about something that went wrong and was survived."""
    tqdm.write(f"warning: {text}", file=sys.stderr)
    sys.stderr.flush()
