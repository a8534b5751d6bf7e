"""Agents: one file an algorithm, folders for the parts that they are made of, `presets.py` for their names."""

if __name__ != "mtrl.agents":
    raise ImportError("import this folder as mtrl.agents (pip install -e . first)")

from . import combiners, critics, networks, presets, scales

__all__ = ["combiners", "critics", "networks", "presets", "scales"]
