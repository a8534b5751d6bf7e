"""Lets scripts run from a checkout that is not installed: import this before anything of mtrl.

An installation maps the folders envs/ and agents/ to mtrl.envs and mtrl.agents. Where there is none, as on a machine
without a package registry, the same is had by one more folder in which mtrl looks for its parts.
"""

import importlib.util
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()
"""When the script began."""
ROOT = Path(__file__).resolve().parent.parent

if importlib.util.find_spec("mtrl") is None:
    sys.path.insert(0, str(ROOT))
if importlib.util.find_spec("mtrl.envs") is None:
    import mtrl

    mtrl.__path__.append(str(ROOT))
