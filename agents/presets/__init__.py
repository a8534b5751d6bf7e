"""Presets: one word for each way to train. A new agent is a file and a call here."""

from . import first

__all__ = ["first"]
