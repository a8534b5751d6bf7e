"""How many worlds are stepped (`--worlds`), and which engine steps them (`--engine`)."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from runner_toys import everything, tensors_differ, tiny_config

import mtrl.api
from mtrl.api import make_config
from mtrl.cli import main
from mtrl.config import RunConfig
from mtrl.errors import UserError
from mtrl.runner.experiment import prepare, slots_for
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.tasks import TaskDefinition
from mtrl.vector import build
from mtrl.vector.build import ENGINES, WORLDS_FOR_WARP

CUDA = torch.device("cuda")


@pytest.mark.parametrize(
    ("options", "slots"),
    [({}, 16), ({"slots_per_task": 3}, 3), ({"worlds": 3}, 1), ({"worlds": 12}, 4), ({"worlds": 14}, 4)],
)
def test_worlds_are_divided_among_the_tasks(options, slots):
    config = RunConfig(**{"slots_per_task": 16, **options})
    assert slots_for(config, 3, default=16) == slots


def test_worlds_that_agree_with_the_slots_are_no_contradiction():
    assert slots_for(RunConfig(worlds=12, slots_per_task=4), 3, default=1) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"worlds": 1}, "--worlds 1 is less than one for each task: give 2 or more"),
        ({"worlds": -4}, "--worlds -4 is less than one"),
        ({"worlds": 8, "slots_per_task": 3}, "--worlds 8 and --slots-per-task 3 .* give one of them"),
        ({"worlds": 102}, "--replay.capacity-per-task 50 is less than one step of 51 slots"),
        ({"worlds": 3_000_000}, "--slots-per-task 1500000 is impossible"),
    ],
)
def test_impossible_numbers_of_worlds_are_refused(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        prepare(tiny_config(tmp_path, **options))


def test_a_run_of_so_many_worlds_is_one_of_so_many_slots(tmp_path, capsys):
    changes = {"agent": "tiny", "steps_per_task": 40}
    mtrl.api.train(tiny_config(tmp_path / "slots", slots_per_task=3, **changes))
    assert "do not divide" not in capsys.readouterr().out
    run = mtrl.api.train(tiny_config(tmp_path / "worlds", worlds=7, **changes))
    assert "stepping 6 worlds, since 7 do not divide among 2 tasks" in capsys.readouterr().out
    assert run.metrics()[-1]["env_step"] == 84  # 14 steps of 6
    one, other = everything(tmp_path / "slots"), everything(tmp_path / "worlds")
    assert tensors_differ(one, other) == ""
    assert run.resume(steps_per_task=60).finished  # the folder holds `worlds`, and is read again


@pytest.mark.parametrize("engine", ["native", "warp", "official"])
def test_a_typo_in_an_engine_names_the_one_that_was_meant(engine, capsys):
    assert main(["train", "MT3", "--engine", engine + "l"]) == 2
    assert f"did you mean {engine}?" in capsys.readouterr().err


def task(name, *, scene):
    made = TaskDefinition(name, "", None, None, 1, 1, 1, "native" if scene else "gymnasium")
    return dataclasses.replace(made, scene=lambda: None) if scene else made


TASK_PAIR = [task("on-a-scene", scene=True), task("of-ones-own", scene=False)]


@pytest.mark.parametrize(
    ("engine", "device", "worlds", "chosen"),
    [
        ("auto", "cuda", WORLDS_FOR_WARP, ["warp", "gymnasium"]),
        ("auto", "cuda:1", 24_576, ["warp", "gymnasium"]),
        ("auto", "cuda", WORLDS_FOR_WARP - 1, ["native", "gymnasium"]),
        ("auto", "cpu", 24_576, ["native", "gymnasium"]),
        ("native", "cuda", 24_576, ["native", "native"]),
        ("warp", "cpu", 2, ["warp", "warp"]),
    ],
)
def test_auto_takes_the_warp_engine_for_many_worlds_on_cuda(monkeypatch, capsys, engine, device, worlds, chosen):
    monkeypatch.setattr(build, "missing_packages", list)
    assert build.choose_engines(TASK_PAIR, engine, torch.device(device), worlds) == chosen
    assert capsys.readouterr().out == ""


def test_without_the_extra_auto_says_what_would_be_faster_and_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(build, "missing_packages", lambda: ["warp-lang"])
    assert build.choose_engines(TASK_PAIR, "auto", CUDA, 8_192, hint=True) == ["native", "gymnasium"]
    (line,) = capsys.readouterr().out.splitlines()
    assert "8192 worlds" in line and "pip install 'mtrl-suite[gpu]'; going on without it" in line
    assert build.choose_engines(TASK_PAIR[1:], "auto", CUDA, 8_192) == ["gymnasium"]
    assert build.choose_engines(TASK_PAIR, "auto", CUDA, 10) == ["native", "gymnasium"]
    assert capsys.readouterr().out == ""


def test_the_warp_engine_is_imported_when_it_is_asked_for_alone():
    """And says, when it is built, what is missing (see its own tests)."""
    code = "import sys, mtrl.vector.build; print([m for m in sys.modules if m.startswith(('warp', 'mujoco_warp'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "warp" in list(ENGINES) and ENGINES.get("warp").__name__ == "WarpVectorEnv"


@pytest.mark.parametrize(
    ("engine", "asked", "slots"), [("auto", 0, 1), ("native", 0, 1), ("warp", 0, 50), ("warp", 3, 3), ("auto", 2, 2)]
)
def test_evaluations_have_a_slot_for_each_goal_where_that_costs_nothing(engine, asked, slots):
    config = make_config("reach-v3", "quick", engine=engine, device="cpu", evaluation={"slots_per_task": asked})
    assert prepare(config).evaluation_slots(50) == slots


def test_logs_and_evaluations_are_rarer_where_the_host_rarely_looks():
    class Loop(OffPolicyLoop):
        def __init__(self, report_every, slots):
            self.env = type("Env", (), {"report_every": report_every, "playing": (slots,)})
            self.slots_per_task, self.vector_steps, self.played = slots, 0, [0]

    def crossings(report_every, slots, every, reports):
        loop, found = Loop(report_every, slots), []
        for step in range(1, 5001):
            loop._count_step()
            if loop.crossed(every, reports):
                found.append(step)
        return found

    assert crossings(1, 100, 1_000, 32) == list(range(10, 5001, 10))
    assert crossings(32, 800, 1_000, 1) == list(range(32, 5001, 32))
    assert crossings(32, 800, 1_000, 32) == list(range(1024, 5001, 1024))
    assert crossings(32, 2, 1_000, 1) == list(range(500, 5001, 500))
    assert crossings(32, 800, 0, 1) == []
