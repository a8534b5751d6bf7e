"""Agents: one file an algorithm, `networks/` for what they share, `presets.py` for their names on the command line."""

if __name__ != "mtrl.agents":
    raise ImportError("import this folder as mtrl.agents (pip install -e . first)")

from . import combiners, networks, presets

__all__ = ["combiners", "networks", "presets"]
