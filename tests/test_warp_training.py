"""Training on the warp engine, in a small form on the CPU: the commands that a GPU takes, never waiting for it."""

import pytest
import torch
from no_sync import no_sync

import mtrl
from mtrl.api import make_config
from mtrl.checkpoint import find_checkpoint
from mtrl.cli import main
from mtrl.runner.experiment import prepare
from mtrl.runner.off_policy import OffPolicyLoop

SMALL = {
    "engine": "warp",
    "device": "cpu",
    "worlds": 4,
    "warmup_steps": 60,
    "updates_per_step": 0.2,
    "random_progress": True,
    "replay": {"capacity_per_task": 300},
    "algorithm": {"batch_per_task": 16, "n_step": 3},
    "evaluation": {"every": 0, "final": False},
    "checkpoint": {"every": 100_000},
    "tracking": {"wandb": "off", "log_every": 200},
}
TASKS = "reach-v3,push-v3"


def test_a_run_in_parts_equals_the_whole_one(tmp_path):
    whole = mtrl.train(TASKS, agent="quick", run_folder=str(tmp_path / "whole"), steps_per_task=700, **SMALL)
    parts = mtrl.train(TASKS, agent="quick", run_folder=str(tmp_path / "parts"), steps_per_task=314, **SMALL)
    parts = parts.resume(700)
    one, other = (find_checkpoint(run.folder, with_replay=True) for run in (whole, parts))
    assert all(torch.equal(value, other.weights()[name]) for name, value in one.weights().items())
    recent = one.state()["loop"]["statistics"]["recent"]
    assert recent == other.state()["loop"]["statistics"]["recent"] and any(recent.values())
    assert whole.metrics()[-1]["train/faults"] == 0


def test_learning_never_waits_for_the_device():
    """Acting, stepping, storing, drawing batches, updating and the statistics of episodes, between two reports."""
    config = make_config(TASKS, "quick", run_folder="unused", **SMALL | {"updates_per_step": 1.0})
    experiment = prepare(config)
    env = experiment.build_env(experiment.goal_sets()["train"], experiment.slots_per_task)
    loop = OffPolicyLoop(experiment.build_agent(), env, config)
    loop.start()
    for _ in range(2 * env.report_every):
        loop.advance()
    before = loop.updates
    with no_sync():
        for _ in range(env.report_every - 1):
            loop.advance()
    assert loop.updates - before == env.report_every - 1


def test_the_command_line_chooses_engine_worlds_and_grouping(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["train", "reach-v3", "--agent", "quick", "--engine", "warp", "--worlds", "3", "--device", "cpu"]
    words += ["--warp.grouping", "scene", "--warp.contacts", "60", "--steps-per-task", "40", "--warmup-steps", "20"]
    words += ["--tracking.wandb", "off", "--evaluation.final-goals", "1", "--run-folder", str(folder)]
    assert main(words) in (None, 0)
    assert (folder / "DONE").exists()
    out = capsys.readouterr().out
    assert "A-eval" in out


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (["--warp.grouping", "best"], "grouping"),
        (["--warp.streams", "0"], "--warp.streams 0 is too small"),
        (["--engine", "wrap"], "did you mean"),
    ],
)
def test_mistakes_on_the_command_line_are_named(words, culprit, tmp_path, capsys):
    try:
        code = main(["train", "reach-v3", *words, "--run-folder", str(tmp_path / "run")])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert culprit in " ".join(capsys.readouterr().err.split())
