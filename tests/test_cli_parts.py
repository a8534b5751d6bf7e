"""Parts chosen by a word: on the command line, in Python, in the names of runs, and in saved agents."""

import dataclasses
import json
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import runner_toys
import torch

import mtrl
import mtrl.api
from mtrl.algorithm import AGENTS
from mtrl.cli import main
from mtrl.config import RunConfig, from_dict, to_dict
from mtrl.errors import UserError
from mtrl.parts.words import WORDS, describe_agent, parts_of
from mtrl.registry import Registry
from mtrl.report import load_runs
from mtrl.report.comparisons import group_runs
from mtrl.runner.experiment import prepare


@pytest.fixture(autouse=True)
def parts_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers is gone afterwards, so that tests of all registered parts do not meet it."""
    runner_toys.register()
    for registry in WORDS.values():
        list(registry)
        for name in ("_entries", "_makers", "_descriptions"):
            monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.syspath_prepend(Path(__file__).parent)
    for module in ("user_parts", *(f"my_{word}" for word in WORDS)):
        monkeypatch.delitem(sys.modules, module, raising=False)


def asked(monkeypatch: pytest.MonkeyPatch, line: str) -> RunConfig:
    """The configuration that `mtrl train` hands on."""
    found: list[RunConfig] = []
    monkeypatch.setattr(mtrl.api, "train", found.append)
    assert main(["train", *line.split()]) == 0
    assert type(found[0]) is RunConfig
    return found[0]


def complaint(capsys: pytest.CaptureFixture[str], line: str) -> str:
    assert main(["train", *line.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and re.fullmatch(r"error: [^\n]+\n", printed.err), printed.err
    return printed.err


def name_of(config: RunConfig) -> str:
    return describe_agent(config, AGENTS.get(config.agent).defaults)


def test_a_word_goes_for_all_parts_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    config = asked(monkeypatch, "MT3 --network one_hot --combiner=scale_invariant --critic mse --scale none")
    algorithm = config.algorithm
    assert (algorithm.actor.name, algorithm.critic.name) == ("one_hot", "one_hot")
    assert (algorithm.actor_combiner.name, algorithm.critic_combiner.name) == ("scale_invariant", "scale_invariant")
    assert algorithm.actor.width == AGENTS.get("mtmhsac").defaults.algorithm.actor.width
    assert config == mtrl.api.make_config("MT3", "mtmhsac", network="one_hot", combiner="scale_invariant")


def test_a_part_brings_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--algorithm.actor.name user_parts:thin --algorithm.actor.neck 5 --algorithm.actor.width=7"
    actor = asked(monkeypatch, line).algorithm.actor
    assert (type(actor).__name__, actor.name, actor.neck, actor.width) == ("ThinConfig", "user_parts:thin", 5, 7)
    config = asked(monkeypatch, "--network user_parts:thin --algorithm.critic.neck 2")
    assert (config.algorithm.actor.neck, config.algorithm.critic.neck) == (3, 2)


def test_parts_within_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = "--algorithm.actor_combiner.inner.name scale_invariant"  # before the part that it is in, and underscored
    config = asked(monkeypatch, f"{inner} --combiner user_parts:around --algorithm.critic-combiner.share 0.25")
    actor, critic = config.algorithm.actor_combiner, config.algorithm.critic_combiner
    assert (actor.inner.name, critic.inner.name, critic.share) == ("scale_invariant", "mean", 0.25)
    assert name_of(config) == "mtmhsac+actor-combiner=around-scale_invariant+critic-combiner=around"
    both = mtrl.api.make_config("MT3", "quick", combiner="user_parts:around")
    assert name_of(both) == "quick+around"


def test_settings_of_a_preset_stay_where_its_own_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import user_parts

    tiny = AGENTS.get("tiny")
    thin = user_parts.ThinConfig("thin", neck=9)
    defaults = dataclasses.replace(
        tiny.defaults, algorithm=dataclasses.replace(tiny.defaults.algorithm, actor=thin, critic=thin)
    )
    monkeypatch.setitem(AGENTS._entries, "tiny", dataclasses.replace(tiny, defaults=defaults))
    config = asked(monkeypatch, "--agent tiny --network thin")
    assert config.algorithm.actor.neck == 9
    assert name_of(config) == "tiny"


def test_help_shows_the_words_and_the_options_of_the_chosen_parts(capsys: pytest.CaptureFixture[str]) -> None:
    texts, names = [], [name for registry in WORDS.values() for name in registry]
    for words in ([], ["--network", "user_parts:thin"]):
        assert main(["train", "--agent", "quick", *words, "--help"]) == 0
        texts.append(" ".join(capsys.readouterr().out.replace("│", " ").split()))
    plain, thin = texts
    for word in WORDS:
        assert f"--{word} STR" in plain and f"`mtrl list {word}s`" in plain
    for name in names:
        assert f" {name}," in plain or f" {name} (`" in plain
    assert "(default: multi_head)" in plain
    assert "neck" not in plain
    assert "--algorithm.actor.neck INT Units of the narrow layer. (default: 3)" in thin
    assert "(default: user_parts:thin)" in thin
    assert main(["train", "--agent", "zero", "--help"]) == 0
    assert "--network" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("--network mutli_head", ["network 'mutli_head'", "did you mean multi_head", "mtrl list networks"]),
        ("--network=mutli_head", ["network 'mutli_head'", "did you mean multi_head"]),
        ("--critic maen", ["critic 'maen'", "mtrl list critics"]),
        ("--combiner user_parts:arond", ["combiner 'arond'", "did you mean around"]),
        ("--algorithm.actor.name user_prats:thin", ["no module 'user_prats'"]),
        ("--combiner one_hot", ["'one_hot' is a network, not a combiner", "--network one_hot"]),
        ("--algorithm.critic.name mse", ["'mse' is a critic, not a network", "--critic mse"]),
        ("--network", ["--network needs a value: a text"]),
        ("--network --seed 3", ["--network needs a value"]),
        ("--algorithm.actor.name", ["--algorithm.actor.name needs a value"]),
        ("--netwrok one_hot", ["'--netwrok'", "did you mean --network?"]),
        (
            "--network one_hot --algorithm.critic.name multi_head",
            ["--network one_hot", "--algorithm.critic.name", "contr"],
        ),
        ("--agent zero --network one_hot", ["agent 'zero' has no network", "leave out --network one_hot"]),
        ("--agent toy --combiner mean", ["agent 'toy' has no combiner"]),
        ("--network user_parts:thin --algorithm.actor.nekc 3", ["did you mean --algorithm.actor.neck"]),
        ("--network user_parts:thin --algorithm.actor.neck x", ["--algorithm.actor.neck takes a whole number"]),
        ("--network user_parts:thin --algorithm.critic.neck 0", ["--algorithm.critic.neck 0 is impossible"]),
        ("--algorithm.actor.neck 3", ["unknown option '--algorithm.actor.neck'"]),
        ("--network one_hot --algorithm.actor.head-width 3", ["an option of", "multi_head", "--algorithm.actor.name"]),
        ("--agent zero --algorithm.actor.head-width 3", ["unknown option '--algorithm.actor.head-width'"]),
        ("--seed.name 3", ["unknown option '--seed.name'"]),
    ],
)
def test_one_line_names_the_culprit(
    line: str, parts: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = complaint(capsys, line)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "mutli_head"}, "did you mean multi_head"),
        ({"network": 3}, "network is 3: give the name"),
        ({"network": "one_hot", "algorithm": {"actor": "multi_head"}}, "contradict"),
        ({"network": "one_hot", "algorithm": {"critic": {"name": "multi_head"}}}, "contradict"),
        ({"algorithm": {"actor": {"name": "user_parts:thin", "nekc": 3}}}, "'nekc' is unknown to ThinConfig"),
        ({"algorithm": {"actor": "mean"}}, "'mean' is a combiner, not a network"),
    ],
)
def test_bad_words_in_python(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mtrl.api.make_config("MT3", "mtmhsac", **options)


def test_words_and_dicts_in_python() -> None:
    algorithm = {"actor": {"neck": 4}, "critic_combiner": {"name": "user_parts:around", "inner": "scale_invariant"}}
    config = mtrl.api.make_config("MT3", "mtmhsac", network="user_parts:thin", algorithm=algorithm)
    assert (config.algorithm.actor.neck, config.algorithm.critic.neck) == (4, 3)
    assert config.algorithm.critic_combiner.inner.name == "scale_invariant"
    again = from_dict(AGENTS.get("mtmhsac").defaults, json.loads(json.dumps(to_dict(config))))
    assert again == config


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "mtmhsac"),
        ({"network": "multi_head", "combiner": "mean"}, "mtmhsac"),
        ({"network": "one_hot"}, "mtmhsac+one_hot"),
        ({"network": "one_hot", "combiner": "scale_invariant"}, "mtmhsac+one_hot+scale_invariant"),
        ({"algorithm": {"actor": "one_hot"}}, "mtmhsac+actor=one_hot"),
        ({"algorithm": {"critic_combiner": "scale_invariant"}}, "mtmhsac+critic-combiner=scale_invariant"),
        ({"network": "user_parts:thin", "algorithm": {"gamma": 0.9}}, "mtmhsac+thin"),
    ],
)
def test_a_run_is_called_by_the_parts_that_its_preset_has_not(options: dict[str, Any], name: str) -> None:
    experiment = prepare(mtrl.api.make_config("MT3", "mtmhsac", **options))
    assert experiment.agent_name == name
    assert experiment.folder.path == Path("runs") / "MT3" / name / "seed-0"
    assert experiment.title == f"MT3 {name} seed 0"


def test_the_name_of_a_preset_may_have_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    preset = AGENTS.get("tiny")
    AGENTS.register("tiny-b+c-small", preset, "toy")
    try:
        experiment = prepare(mtrl.api.make_config("dot-suite", "tiny-b+c-small", network="one_hot"))
    finally:
        for entries in (AGENTS._entries, AGENTS._descriptions):
            del entries["tiny-b+c-small"]
    assert experiment.folder.path == Path("runs/dot-suite/tiny-b+c-small+one_hot/seed-0")


def train_tiny(**options: Any) -> mtrl.api.Run:
    return mtrl.api.train("dot-suite", "tiny", steps_per_task=40, **options)


def test_runs_of_other_parts_lie_and_are_shown_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain, other = train_tiny(), train_tiny(combiner="scale_invariant")
    faster = train_tiny(combiner="scale_invariant", algorithm={"gamma": 0.9}, run_folder="runs/faster")
    assert other.path == Path("runs/dot-suite/tiny+scale_invariant/seed-0") and plain.path != other.path
    record = json.loads(other.folder.config.read_text())
    assert (record["agent"], record["config"]["agent"]) == ("tiny+scale_invariant", "tiny")
    assert "network" not in record["config"]
    with pytest.raises(UserError, match=r"another configuration: algorithm.gamma"):
        train_tiny(combiner="scale_invariant", algorithm={"gamma": 0.9})
    warnings: list[str] = []
    suite = group_runs(load_runs(["runs"], warnings.append), warnings.append)[0]
    labels = [agent.label for agent in suite.agents]
    assert labels == ["tiny", "tiny+scale_invariant (gamma=0.9)", "tiny+scale_invariant (gamma=0.99)"]
    assert warnings == []
    assert faster.resume().finished


class Refused:
    """In the place of what would load objects."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise AssertionError("something was unpickled")


def test_saved_agents_hold_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings come from JSON and weights from safetensors: nothing is unpickled, also with parts of a user's own."""
    run = train_tiny(network="user_parts:thin", algorithm={"actor": {"neck": 4}}, run_folder=str(tmp_path / "run"))
    trained = run.policy()
    for registry in WORDS.values():
        for entries in (registry._entries, registry._descriptions):
            for name in ("thin", "around"):
                entries.pop(name, None)
    monkeypatch.delitem(sys.modules, "user_parts")  # as in a new process: found by its name alone
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, Refused)
    policy = run.policy()
    assert type(policy.actor).__name__ == "Thin" and policy.actor is not trained.actor
    assert policy.actor.first.weight.shape[-1] == 4
    obs, tasks = torch.rand(5, 6), torch.tensor([0, 1, 1, 0, 1])
    assert torch.equal(policy.act(obs, tasks, mode=True), trained.act(obs, tasks, mode=True))


@pytest.mark.parametrize("word", list(WORDS))
def test_list_shows_parts(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    registry: Registry[Any] = WORDS[word]
    assert main(["list", f"{word}s"]) == 0
    text = capsys.readouterr().out
    for name in registry:
        assert re.search(rf"^  {re.escape(name)} +\S", text, flags=re.MULTILINE)


@pytest.mark.parametrize("word", list(WORDS))
def test_every_registered_part_can_be_named_saved_and_set(word: str) -> None:
    from test_cli_parse import undocumented

    for name in WORDS[word]:
        config = mtrl.api.make_config("MT3", "mtmhsac", **{word: name})
        assert {part.name for part in parts_of(config.algorithm)[word].values()} == {name}
        config.algorithm.check()
        assert undocumented(config.algorithm) == []
        values = json.loads(json.dumps(to_dict(config), allow_nan=False))
        assert from_dict(AGENTS.get("mtmhsac").defaults, values) == config
        usual = name_of(mtrl.api.make_config("MT3", "mtmhsac"))
        assert name_of(config) in (usual, f"{usual}+{name}")
