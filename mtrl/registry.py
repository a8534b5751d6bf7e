"""Registries: how suites, tasks, agents, networks and trackers are found by name.

Built-in entries come from the modules named in `BUILT_IN`; installed third-party packages add theirs through the entry
point groups `mtrl.envs` and `mtrl.agents`, each an importable module that registers when it is imported. Both are
loaded at the first look-up, never at import. What a module of the user's own registers is found as `MODULE:NAME`, on
the command line too: `my_tasks:point` imports `my_tasks` (from the working folder, if it is there), then finds `point`.
"""

import importlib
import importlib.util
import os
import sys
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
    _makers: dict[str, Callable[[], T]] = field(default_factory=dict)
    _descriptions: dict[str, str] = field(default_factory=dict)

    def register(self, name: str, entry: T, description: str) -> T:
        """Adds an entry.

        Raises:
            UserError: The name is taken or cannot be one, or there is no description.
        """
        self._claim(name, description)
        self._entries[name] = entry
        return entry

    def register_later(self, name: str, make: Callable[[], T], description: str) -> None:
        """Adds an entry that is made when it is first looked up; listing it costs nothing.

        Raises:
            UserError: As `register`.
        """
        self._claim(name, description)
        self._makers[name] = make

    def _claim(self, name: str, description: str) -> None:
        if not name or not description.strip():
            raise UserError(f"cannot register {self.kind} '{name}': give it a name and a description of one line")
        if any(character in ":, \t\n/\\" for character in name):
            raise UserError(f"cannot register {self.kind} '{name}': a name has no spaces, commas, colons and slashes")
        if name in self._descriptions:
            raise UserError(f"{self.kind} '{name}' is already registered: choose another name")
        self._descriptions[name] = description

    def decorator(self, name: str, description: str) -> Callable[[T], T]:
        """The decorator form of `register`."""
        return lambda entry: self.register(name, entry, description)

    def get(self, name: str) -> T:
        """The entry of that name.

        Args:
            name: A registered name, or `MODULE:NAME` for what a module of the user's registers.

        Raises:
            UserError: There is none (the message gives the nearest names), or it cannot be made.
        """
        name = self._known(name)
        if name not in self._entries:
            self._entries[name] = self._makers[name]()
        return self._entries[name]

    def _known(self, name: str) -> str:
        """The name without its module, which is imported."""
        short = import_named(name)
        if short not in self._descriptions:
            load_plugins()
        if short not in self._descriptions:
            error = unknown(self.kind, short, self._descriptions)
            raise error if short != name else UserError(f"{error}; what a module of yours registers is MODULE:{name}")
        return short

    def __contains__(self, name: str) -> bool:
        load_plugins()
        return import_named(name) in self._descriptions

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(list(self._descriptions))

    def describe(self, name: str) -> str:
        """The entry's description, one line."""
        return self._descriptions[self._known(name)]


def _is_main(module: str) -> bool:
    """Whether that module is the script that runs: a script may name itself, and must not be imported once more."""
    main = sys.modules.get("__main__")
    script, started = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if script is None:
        return False
    if started is not None:  # by python -m MODULE
        return started.name == module
    spec = importlib.util.find_spec(module) if "." not in module else None
    return spec is not None and spec.origin is not None and os.path.abspath(spec.origin) == os.path.abspath(script)


def import_named(name: str) -> str:
    """Imports the module of `MODULE:NAME`, if one is given; the name alone.

    Raises:
        UserError: The module cannot be imported.
    """
    module, _, short = name.rpartition(":")
    if not module or module in sys.modules:
        return short
    folder = os.getcwd()  # a console script does not look there by itself, as `python` does
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
    if _is_main(module):
        return short
    try:
        importlib.import_module(module)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise UserError(f"module '{module}' of '{name}' cannot be imported: {error}") from error
        raise UserError(
            f"there is no module '{module}' for '{name}': run this in the folder of {module}.py, or install it"
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"module '{module}' of '{name}' cannot be imported: {reason}") from error
    return short


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
