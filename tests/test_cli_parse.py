"""Command lines to configs: what is taken, and the one line that is said about what is not."""

import dataclasses
import functools
import inspect
from typing import Any

import pytest

from mtrl.algorithm import AGENTS
from mtrl.cli.parse import options_of, parse
from mtrl.config import RunConfig
from mtrl.errors import UserError


@dataclasses.dataclass(frozen=True)
class Network:
    """A network."""

    width: int = 400
    """Units of a layer."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """Hyperparameters."""

    network: Network = dataclasses.field(default_factory=Network)
    """The network."""
    gamma: float = 0.99
    """Discount."""
    layers: tuple[int, ...] = (1, 2)
    """Sizes."""
    clip: float | None = None
    """Bound."""


DEFAULT = RunConfig(seed=7, algorithm=Algorithm())


def read(line: str) -> RunConfig:
    config = parse(DEFAULT, line.split(), "mtrl train", "Train.")
    assert config is not None
    return config


def complaint(line: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(DEFAULT, line.split(), "mtrl train", "Train.")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_values_are_taken_and_the_rest_keeps_the_preset() -> None:
    config = read("MT10 --algorithm.gamma 0.9 --algorithm.network.width=8 --algorithm.layers 3 4 5 --tracking.video")
    assert (config.suite, config.seed) == ("MT10", 7)
    assert config.algorithm == Algorithm(Network(8), 0.9, (3, 4, 5))
    assert config.tracking.video
    assert not read("--evaluation.no-final").evaluation.final
    assert read("--slots_per_task 3 MT3").slots_per_task == 3


def test_every_option_is_known_by_the_name_that_is_typed() -> None:
    flags = {option.flag for option in options_of(DEFAULT)}
    assert {"--seed", "--algorithm.network.width", "--tracking.no-video", "--replay.capacity-per-task"} <= flags
    assert "--suite" not in flags


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--seed abc", ["--seed", "a whole number", "'abc'"]),
        ("--steps-per-task=1.5", ["--steps-per-task", "'1.5'"]),
        ("--steps_per_task 1e6", ["--steps-per-task", "'1e6'"]),
        ("--algorithm.gamma high", ["--algorithm.gamma", "a number", "'high'"]),
        ("--algorithm.clip x", ["--algorithm.clip", "a number or None", "'x'"]),
        ("--algorithm.layers 3 four", ["--algorithm.layers", "'3 four'"]),
        ("--tracking.wandb maybe", ["--tracking.wandb", "auto, online, offline, off", "'maybe'"]),
        ("--seed", ["--seed", "needs a value"]),
        ("--seed --device cpu", ["--seed", "needs a value"]),
        ("--sed 3", ["'--sed'", "did you mean --seed?"]),
        ("--gamma 0.9", ["'--gamma'", "did you mean --algorithm.gamma?"]),
        ("--algorithm.gama 0.9", ["'--algorithm.gama'", "--algorithm.gamma"]),
        ("--no-final", ["'--no-final'", "--evaluation.no-final"]),
        ("--qqqqqqqq", ["'--qqqqqqqq'", "mtrl train --help"]),
        ("MT3 MT10", ["'MT10'", "mtrl train --help"]),
    ],
)
def test_one_line_names_the_culprit_and_the_remedy(line: str, parts: list[str]) -> None:
    message = complaint(line)
    for part in parts:
        assert part in message


def test_help_documents_every_option_with_the_values_of_the_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(DEFAULT, ["--help"], "mtrl train", "Train an agent.") is None
    text = capsys.readouterr().out
    for option in options_of(DEFAULT):
        assert option.flag in text
    assert "default: 7" in text and "Train an agent." in text and "Discount." in text


source_of = functools.cache(inspect.getsource)


def undocumented(config: Any) -> list[str]:
    """Fields, nested ones included, that are not followed by a docstring, which is their help, here or in a base."""
    sources = [source_of(base) for base in type(config).__mro__ if dataclasses.is_dataclass(base)]
    missing = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            missing += undocumented(value)
            continue
        after = [source.partition(f"    {field.name}:")[2].partition("\n")[2].lstrip() for source in sources]
        if not any(text.startswith('"""') for text in after):
            missing.append(f"{type(config).__name__}.{field.name}")
    return missing


def test_every_option_of_every_preset_has_a_line_of_help() -> None:
    assert {name: undocumented(AGENTS.get(name).defaults) for name in AGENTS} == {name: [] for name in AGENTS}
