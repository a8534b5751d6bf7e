"""Parts chosen by one word (`network`, `critic`, `combiner`, `scale`), and what an agent with other parts is called."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtrl.config import Choice, RunConfig, option
from mtrl.errors import UserError
from mtrl.registry import Registry

from .combiner import COMBINERS
from .critic import CRITICS
from .network import NETWORKS
from .part import Part, PartConfig
from .scale import SCALES

WORDS: dict[str, Registry[Part[Any]]] = {one.kind: one for one in (NETWORKS, CRITICS, COMBINERS, SCALES)}
"""Word to what it chooses. It goes for all parts of its kind: `combiner` for that of the actor and of the critics."""


def parts_of(algorithm: Any) -> dict[str, dict[str, PartConfig]]:
    """Parts that an algorithm's settings name: word, then field. Words that it has no part for are left out."""
    found: dict[str, dict[str, PartConfig]] = {}
    for field in dataclasses.fields(algorithm) if dataclasses.is_dataclass(algorithm) else ():
        part = getattr(algorithm, field.name)
        if isinstance(part, PartConfig):
            found.setdefault(part.kind.kind, {})[field.name] = part
    return {word: found[word] for word in WORDS if word in found}


def choose_parts(config: RunConfig, names: Mapping[str, str]) -> RunConfig:
    """A configuration with other parts, whose own settings are as they are registered.

    Args:
        config: Where they are put.
        names: Word to name, such as `network` to `moore`; or the dotted name of one part's name, such as
            `algorithm.actor.name`. What is no part is left for others to complain about.

    Raises:
        UserError: There is no such part, the agent has none of that kind, or two say different things.
    """
    single = {name: value for name, value in names.items() if name not in WORDS}
    for word in (word for word in names if word in WORDS):
        for field in _fields_of(config, word, names[word]):
            long = f"algorithm.{field}.name"
            if single.setdefault(long, names[word]) != names[word]:
                raise UserError(
                    f"{option(word)} {names[word]} and {option(long)} {single[long]} contradict each other: "
                    f"{option(word)} goes for {option(long)} too, so give one of them"
                )
    for long in sorted(single, key=lambda name: name.count(".")):  # which parts a part has is for its name to say
        config = _with_part(config, long.split(".")[:-1], single[long])
    return config


def _fields_of(config: RunConfig, word: str, name: str) -> list[str]:
    """Fields of the algorithm that a word goes for."""
    parts = parts_of(config.algorithm)
    if word in parts:
        return list(parts[word])
    others = f"; it has {' and '.join(map(option, parts))}" if parts else ""
    raise UserError(f"agent '{config.agent}' has no {word} to choose{others}: leave out {option(word)} {name}")


def _with_part(config: Any, path: list[str], name: str) -> Any:
    """The same dataclass with one part, some fields down, of another name."""
    if not path:
        return _renamed(config, name) if isinstance(config, Choice) else config
    inner = getattr(config, path[0], None)
    if not dataclasses.is_dataclass(inner):
        return config
    return dataclasses.replace(config, **{path[0]: _with_part(inner, path[1:], name)})


def _renamed(part: Choice, name: str) -> Choice:
    if part.name == name:
        return part
    try:
        return part.renamed(name)
    except UserError:
        word = part.kind.kind if isinstance(part, PartConfig) else ""
        others = [] if ":" in name else [other for other, registry in WORDS.items() if name in registry]
        if not others or others == [word]:
            raise
        raise UserError(f"'{name}' is a {others[0]}, not a {word}: give {option(others[0])} {name}") from None


def owners_of(config: RunConfig, name: str) -> list[str]:
    """Registered parts that have a setting which the part in that place has not.

    Args:
        config: A configuration.
        name: Dotted name of the setting, such as `algorithm.actor.experts`.
    """
    *path, setting = name.split(".")
    part: Any = config
    for field in path:
        part = getattr(part, field, None)
    if not isinstance(part, PartConfig):
        return []
    configs = {other: part.kind.get(other).config for other in part.kind}
    return [other for other, found in configs.items() if setting in {field.name for field in dataclasses.fields(found)}]


def describe_agent(config: RunConfig, preset: RunConfig) -> str:
    """What an agent is called: its preset, and the parts that the preset does not have, such as `mtmhsac+moore`.

    Where one of several parts of a kind is another, its field is named: `mtmhsac+actor=moore`. An algorithm whose
    settings have a `label` is called that.

    Args:
        config: Of the agent.
        preset: Defaults of its preset.
    """
    usual, words = parts_of(preset.algorithm), [getattr(config.algorithm, "label", "") or config.agent]
    for word, parts in parts_of(config.algorithm).items():
        names = {field: _in_words(part) for field, part in parts.items()}
        before = {field: _in_words(part) for field, part in usual.get(word, {}).items()}
        changed = {field: name for field, name in names.items() if name != before.get(field)}
        if changed and len(set(names.values())) == 1:
            words.append(next(iter(changed.values())))
        else:
            words += [f"{field.replace('_', '-')}={name}" for field, name in changed.items()]
    return "+".join(words)


def _in_words(part: Choice) -> str:
    """Its name without the module, and the names of parts within it that are not the registered ones."""
    words, usual = [part.name.rpartition(":")[2]], part.renamed(part.name)
    for field in dataclasses.fields(part):
        inner = getattr(part, field.name)
        if isinstance(inner, Choice) and _in_words(inner) != _in_words(getattr(usual, field.name)):
            words.append(_in_words(inner))
    return "-".join(words)
