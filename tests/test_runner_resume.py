"""Exact resume: a run in parts equals a run in one piece, bit for bit, however the parts were cut."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runner_toys import InlineVectorEnv, everything, tensors_differ, tiny_config

import mtrl.api
from mtrl.config import CheckpointConfig, TrackingConfig
from mtrl.errors import Interrupted
from mtrl.logger.console import program_name


def in_one_piece(tmp_path, **changes):
    mtrl.api.train(tiny_config(tmp_path / "whole", **changes))
    return everything(tmp_path / "whole")


def same(one, other):
    assert tensors_differ(one, other) == ""


@pytest.fixture
def signal_at(monkeypatch):
    """Sends this process a signal during so many steps of any environment."""
    count = [0, 0, signal.SIGINT]
    original = InlineVectorEnv.step_wait

    def step_wait(self):
        count[0] += 1
        if count[0] == count[1]:
            os.kill(os.getpid(), count[2])
        return original(self)

    def begin(step, number=signal.SIGINT):
        count[:] = [0, step, number]

    monkeypatch.setattr(InlineVectorEnv, "step_wait", step_wait)
    return begin


@pytest.mark.parametrize("agent", ["toy", "tiny"])
def test_a_run_extended_by_as_many_steps_equals_one_of_twice_the_length(tmp_path, agent):
    whole = in_one_piece(tmp_path, agent=agent)
    first = mtrl.api.train(tiny_config(tmp_path / "parts", agent=agent, steps_per_task=40))
    assert first.finished
    second = first.resume(steps_per_task=80)
    assert second.finished and second.config.steps_per_task == 80
    same(everything(tmp_path / "parts"), whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 9, 10, 15, 33])
def test_a_run_stopped_by_a_signal_equals_one_that_was_not(tmp_path, capsys, signal_at, step, number):
    whole = in_one_piece(tmp_path)
    signal_at(step, number)
    with pytest.raises(Interrupted):
        mtrl.api.train(tiny_config(tmp_path / "parts"))
    assert f"go on with: {program_name()} resume {tmp_path / 'parts'}" in capsys.readouterr().out
    assert not mtrl.api.Run(tmp_path / "parts").finished
    mtrl.api.resume(tmp_path / "parts")
    same(everything(tmp_path / "parts"), whole)


def test_a_signal_within_an_evaluation_ends_it_and_it_is_played_again(tmp_path, signal_at):
    whole = in_one_piece(tmp_path)
    signal_at(20 + 5)  # the evaluation comes after 20 vector steps, which are 40 steps of each task
    with pytest.raises(Interrupted):
        mtrl.api.train(tiny_config(tmp_path / "parts"))
    parts = mtrl.api.Run(tmp_path / "parts")
    assert parts.evaluations() == []
    assert parts.metrics()[-1]["steps_per_task"] == 40
    parts.resume()
    same(everything(tmp_path / "parts"), whole)


def test_a_signal_within_the_final_evaluation_loses_nothing(tmp_path, signal_at):
    whole = in_one_piece(tmp_path)
    signal_at(40 + 26 + 3)  # training, the evaluation in its middle (two goals one after the other), then the final one
    with pytest.raises(Interrupted):
        mtrl.api.train(tiny_config(tmp_path / "parts"))
    parts = mtrl.api.Run(tmp_path / "parts")
    assert [line["final"] for line in parts.evaluations()] == [False]
    parts.resume()
    same(everything(tmp_path / "parts"), whole)


def test_the_same_command_goes_on_with_an_unfinished_run(tmp_path, signal_at):
    whole = in_one_piece(tmp_path)
    signal_at(15)
    with pytest.raises(Interrupted):
        mtrl.api.train(tiny_config(tmp_path / "parts"))
    assert mtrl.api.train(tiny_config(tmp_path / "parts")).finished
    same(everything(tmp_path / "parts"), whole)


def test_environments_in_workers_resume_exactly(tmp_path):
    changes = {"suite": "wire-a-v0,wire-b-v0", "workers": 1}
    whole = in_one_piece(tmp_path, **changes)
    assert whole["replay"]["terminated"][:, 2:].any()  # a task with terminal states is among them
    # 30 steps a task end in the middle of episodes of 10 steps in 2 slots
    mtrl.api.train(tiny_config(tmp_path / "parts", steps_per_task=30, **changes)).resume(steps_per_task=80)
    same(everything(tmp_path / "parts"), whole)


def test_the_same_seed_gives_the_same_first_thousand_steps_and_updates_twice(tmp_path):
    quiet = {"tracking": TrackingConfig(log_every=500), "checkpoint": CheckpointConfig(every=1_000)}
    changes = {"agent": "tiny", "steps_per_task": 1_020, "slots_per_task": 1, "updates_per_step": 1.0, **quiet}
    runs = []
    for name in ("one", "two"):
        torch.manual_seed(hash(name) % 1000)  # what went on before in this process must not matter
        run = mtrl.api.train(tiny_config(tmp_path / name, **changes))
        assert run.metrics()[-1]["updates"] == 1_000
        runs.append(everything(run.path))
    same(*runs)


def test_another_seed_gives_another_run(tmp_path):
    one = in_one_piece(tmp_path)
    mtrl.api.train(tiny_config(tmp_path / "other", seed=1))
    other = everything(tmp_path / "other")
    assert tensors_differ(one["weights"], other["weights"])
    assert tensors_differ(one["replay"], other["replay"])


def test_a_run_without_saved_replay_goes_on_and_says_that_it_is_not_exact(tmp_path, capsys, signal_at):
    signal_at(25)
    checkpoint = CheckpointConfig(every=20, replay=False)
    with pytest.raises(Interrupted):
        mtrl.api.train(tiny_config(tmp_path / "run", checkpoint=checkpoint))
    before = mtrl.api.Run(tmp_path / "run").metrics()[-1]["updates"]
    run = mtrl.api.resume(tmp_path / "run")
    assert "not exact" in capsys.readouterr().err
    assert run.finished and run.metrics()[-1]["updates"] > before


def test_lines_after_the_checkpoint_are_written_once(tmp_path, monkeypatch, signal_at):
    signal_at(15)
    with pytest.raises(Interrupted):
        mtrl.api.train(tiny_config(tmp_path / "run"))
    for name in ("metrics.jsonl", "eval.jsonl"):  # as if it had gone on for a while and then been killed
        with open(tmp_path / "run" / name, "ab") as file:
            file.write(b'{"env_step": 999}\n{"env_')
    mtrl.api.resume(tmp_path / "run")
    run = mtrl.api.Run(tmp_path / "run")
    assert [line["steps_per_task"] for line in run.metrics()] == list(range(10, 81, 10))
    assert [line["steps_per_task"] for line in run.evaluations()] == [40, 80]


def killed(tmp_path, kills, **environment):
    """Has a run killed at random moments until it was hit so often, then lets it end."""
    script = Path(__file__).with_name("kill_target.py")
    command = [sys.executable, str(script), str(tmp_path), str(kills)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    same(everything(tmp_path / "parts"), everything(tmp_path / "whole"))


def test_kill_at_random_moments_loses_nothing(tmp_path):
    killed(tmp_path, 6)


@pytest.mark.slow
def test_kill_at_twenty_random_moments_with_workers_loses_nothing(tmp_path):
    killed(tmp_path, 20, MTRL_TEST_SUITE="wire-a-v0,wire-b-v0")
