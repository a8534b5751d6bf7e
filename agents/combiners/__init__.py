"""Combiners: how the losses of all tasks become one update, one file each. A new one is a file and a line here."""

from . import mean, scale_invariant

__all__ = ["mean", "scale_invariant"]
