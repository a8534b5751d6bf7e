"""Errors that are the user's to mend: one line that names the culprit and the remedy."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input from outside. The command line prints it as one line and exits with code 2."""


class WorkerDied(UserError):
    """A worker process of a vector environment ended and could not be restarted."""


class Interrupted(KeyboardInterrupt):
    """A signal stopped a run that can be gone on with. The command line exits with code 130."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not registered, with the nearest names.

    Args:
        kind: What was looked for, such as `"suite"`.
        name: The name that was given.
        known: All registered names.
    """
    names = sorted(known)
    folded = {candidate.lower(): candidate for candidate in names}
    close = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(names[:8])} ..."
    return UserError(f"unknown {kind} '{name}': {hint} (`mtrl list {kind}s` shows all)")
