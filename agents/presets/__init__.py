"""Presets: one word for each way to train. A new agent is a file and a call here."""

from .. import combiners, critics, networks, scales  # noqa: F401 - presets are put together from what these register
from . import combining, fast, floors, meta, on_policy, others, quick, recipes, sharing

for _method in (*sharing.METHODS, *combining.METHODS, *recipes.METHODS):
    _method.register()

__all__ = ["combining", "fast", "floors", "meta", "on_policy", "others", "quick", "recipes", "sharing"]
