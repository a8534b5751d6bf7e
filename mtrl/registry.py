"""Registries: how suites, tasks, agents, networks and trackers are found by name.

Built-in entries come from the modules named in `BUILT_IN`; installed third-party packages add theirs through the entry
point groups `mtrl.envs` and `mtrl.agents`, each an importable module that registers when it is imported. Both are
loaded at the first look-up, never at import.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from mtrl.errors import UserError, unknown

T = TypeVar("T")
BUILT_IN = ("mtrl.envs", "mtrl.agents", "mtrl.logger")
GROUPS = ("mtrl.envs", "mtrl.agents")


@dataclass
class Registry(Generic[T]):
    """Names to entries of one kind.

    Attributes:
        kind: What the entries are, in the singular, for error messages.
    """

    kind: str
    _entries: dict[str, T] = field(default_factory=dict)
    _descriptions: dict[str, str] = field(default_factory=dict)

    def register(self, name: str, entry: T, description: str) -> T:
        """Adds an entry.

        Raises:
            UserError: The name is taken, or empty, or there is no description.
        """
        if not name or not description:
            raise UserError(f"cannot register {self.kind} '{name}': give it a name and a description of one line")
        if name in self._entries:
            raise UserError(f"{self.kind} '{name}' is already registered: choose another name")
        self._entries[name] = entry
        self._descriptions[name] = description
        return entry

    def decorator(self, name: str, description: str) -> Callable[[T], T]:
        """The decorator form of `register`."""
        return lambda entry: self.register(name, entry, description)

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            UserError: There is none; the message gives the nearest names.
        """
        if name not in self._entries:
            load_plugins()
        if name not in self._entries:
            raise unknown(self.kind, name, self._entries)
        return self._entries[name]

    def __contains__(self, name: str) -> bool:
        load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(list(self._entries))

    def describe(self, name: str) -> str:
        """The entry's description, one line."""
        self.get(name)
        return self._descriptions[name]


_loaded: set[str] = set()
broken_plugins: dict[str, str] = {}
"""Entry points that failed to load, with the reason; `mtrl list` prints them."""


def load_plugins() -> None:
    """Imports the built-in modules and every installed entry point, once. A broken third-party one is set aside."""
    for module in BUILT_IN:
        if module not in _loaded:
            _loaded.add(module)
            importlib.import_module(module)
    for group in GROUPS:
        for point in entry_points(group=group):
            key = f"{group}:{point.name}"
            if key in _loaded:
                continue
            _loaded.add(key)
            try:
                point.load()
            except Exception as error:  # noqa: BLE001 - any fault of another package must not stop this one
                broken_plugins[key] = f"{type(error).__name__}: {error}"
