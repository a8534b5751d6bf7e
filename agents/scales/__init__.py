"""Scales: how rewards of different tasks are brought to one size, one file each. Add a file and a line here."""

from . import balance, none, return_deviation, return_range, reward_deviation

__all__ = ["balance", "none", "return_deviation", "return_range", "reward_deviation"]
