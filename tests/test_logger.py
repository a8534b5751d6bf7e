"""Tracking: jsonl outlives a full disk, and no tracker can stop a run."""

import builtins
import errno
import json
import os
import socket
from typing import ClassVar

import pytest
from runner_toys import tiny_config

import mtrl.api
from mtrl.config import TrackingConfig
from mtrl.errors import UserError
from mtrl.logger import TRACKERS, Tracker
from mtrl.logger.jsonl import JsonlFile
from mtrl.logger.start import wants_wandb
from mtrl.logger.wandb import choose_mode


class BrokenTracker(Tracker):
    def __init__(self, where, info):
        self.where, self.logged = where, 0
        if where == "start":
            raise RuntimeError("no start")

    def log(self, env_step, metrics):
        self.logged += 1
        if self.where == "log" or (self.where == "late" and self.logged == 3):
            raise OSError("no log")
        if self.where == "exit":
            raise SystemExit(3)

    def close(self, exit_code):
        if self.where == "close":
            raise ValueError("no close")


class MemoryTracker(Tracker):
    rows: ClassVar[list] = []
    closed: ClassVar[list] = []

    def __init__(self, info):
        self.info = info

    def log(self, env_step, metrics):
        self.rows.append((env_step, metrics))

    def close(self, exit_code):
        self.closed.append(exit_code)


for place in ("start", "log", "late", "exit", "close"):
    TRACKERS.register(f"broken-{place}", lambda info, place=place: BrokenTracker(place, info), "fails")
TRACKERS.register("memory", MemoryTracker, "keeps all")


@pytest.mark.parametrize("place", ["start", "log", "late", "exit", "close"])
def test_a_failing_tracker_warns_once_and_the_run_goes_on(tmp_path, capsys, place):
    config = tiny_config(tmp_path / "run", tracking=TrackingConfig(log_every=10, trackers=(f"broken-{place}",)))
    run = mtrl.api.train(config)
    assert run.finished
    assert len(run.metrics()) == 8
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == 1
    assert f"broken-{place}" in warnings[0]


def test_a_tracker_gets_what_the_jsonl_files_hold(tmp_path):
    MemoryTracker.rows.clear()
    run = mtrl.api.train(tiny_config(tmp_path / "run", tracking=TrackingConfig(log_every=10, trackers=("memory",))))
    rows = MemoryTracker.rows
    lines = {line["env_step"]: line for line in run.metrics()}
    of_metrics = [(step, row) for step, row in rows if "train/success" in row]
    assert of_metrics[-1][1] == lines[of_metrics[-1][0]]
    final = run.evaluations()[-1]
    assert rows[-1][0] == final["env_step"] == 160
    assert rows[-1][1]["eval/success_any"] == final["summary"]["success_any"]
    assert rows[-1][1]["eval/return/dot-b-v0"] == final["summary"]["per_task"]["dot-b-v0"]["return"]
    assert MemoryTracker.closed[-1] == 0


def test_an_unknown_tracker_is_an_error_at_once(tmp_path):
    config = tiny_config(tmp_path / "run", tracking=TrackingConfig(trackers=("memroy",)))
    with pytest.raises(UserError, match="did you mean memory"):
        mtrl.api.train(config)


@pytest.mark.parametrize("missing", ["wandb", "torch.utils.tensorboard.writer"])
def test_a_tracker_that_is_not_installed_warns(tmp_path, capsys, monkeypatch, missing):
    original = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == missing:
            raise ImportError(f"No module named '{missing}'")
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", refuse)
    tracking = TrackingConfig(
        log_every=10, wandb="offline" if missing == "wandb" else "off", tensorboard=missing != "wandb"
    )
    run = mtrl.api.train(tiny_config(tmp_path / "run", tracking=tracking))
    assert run.finished
    assert capsys.readouterr().err.count("warning:") == 1


def test_tensorboard_files_hold_the_metrics(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = mtrl.api.train(tiny_config(tmp_path / "run", tracking=TrackingConfig(log_every=10, tensorboard=True)))
    events = reader.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("loss/actor")]
    lines = [(line["env_step"], line["loss/actor"]) for line in run.metrics() if "loss/actor" in line]
    assert len(points) == 6
    assert [step for step, _ in points] == [step for step, _ in lines]
    assert [value for _, value in points] == pytest.approx([value for _, value in lines])


def block_network(monkeypatch):
    """No internet socket can be opened any more; local ones between processes can."""
    original = socket.socket.connect

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            raise AssertionError(f"network access to {address}")
        return original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: (_ for _ in ()).throw(AssertionError("name look-up")))


def no_login(monkeypatch, home):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("HOME", str(home))


def test_wandb_runs_offline_without_an_account(tmp_path, capsys, monkeypatch):
    no_login(monkeypatch, tmp_path)
    block_network(monkeypatch)
    tracking = TrackingConfig(log_every=10, wandb="auto", wandb_project="toys", wandb_tags=("one",))
    run = mtrl.api.train(tiny_config(tmp_path / "run", tracking=tracking))
    printed = capsys.readouterr()
    assert "wandb: offline (no key and no login for api.wandb.ai)" in printed.out
    assert "warning" not in printed.err
    assert list((run.path / "wandb").glob("offline-run-*/*.wandb"))


def test_training_and_evaluation_need_no_network(tmp_path, monkeypatch):
    no_login(monkeypatch, tmp_path)
    block_network(monkeypatch)
    run = mtrl.api.train(tiny_config(tmp_path / "run"))
    assert run.evaluate(goals="heldout").episodes
    with pytest.raises(AssertionError, match="network access"):
        socket.socket().connect(("127.0.0.1", 9))


def test_wandb_is_started_unless_it_is_off_or_disabled(monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    assert [wants_wandb(setting) for setting in ("auto", "online", "offline", "off")] == [True, True, True, False]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert [wants_wandb(setting) for setting in ("auto", "online", "offline", "off")] == [False, True, True, False]


def test_wandb_is_online_only_where_a_key_or_login_exists(tmp_path, monkeypatch):
    no_login(monkeypatch, tmp_path)
    assert choose_mode("auto")[0] == "offline"
    assert choose_mode("online")[0] == "online"
    (tmp_path / "netrc").write_text("machine api.wandb.ai\n  login user\n  password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    assert choose_mode("auto") == ("online", "a login for api.wandb.ai is stored")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert choose_mode("auto")[0] == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert choose_mode("auto") == ("online", "WANDB_API_KEY is set")
    assert choose_mode("offline")[0] == "offline"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert choose_mode("auto")[0] == "offline"


def test_jsonl_lines_survive_a_full_disk(tmp_path, capsys, monkeypatch):
    file = JsonlFile(tmp_path / "m.jsonl", 0)
    file.append({"a": 1})
    original, room = os.pwrite, [3]

    def write_little(descriptor, data, offset):
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = original(descriptor, data[: room[0]], offset)
        room[0] -= written
        return written

    monkeypatch.setattr(os, "pwrite", write_little)
    file.append({"b": 2})
    file.append({"c": 3})
    assert (tmp_path / "m.jsonl").read_text() == '{"a": 1}\n'  # and no half line
    assert file.waiting
    assert capsys.readouterr().err.count("warning:") == 1
    monkeypatch.setattr(os, "pwrite", original)
    file.append({"d": 4})
    assert not file.waiting
    assert [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()] == [
        {"a": 1},
        {"b": 2},
        {"c": 3},
        {"d": 4},
    ]


def test_jsonl_is_cut_back_and_goes_on(tmp_path, capsys):
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\n{"b": 2}\n{"c"')
    file = JsonlFile(path, 9)
    file.append({"b": float("nan")})
    assert file.sync() == 21
    assert path.read_text() == '{"a": 1}\n{"b": null}\n'
    JsonlFile(path, 1000).close()
    assert "lost its last 979 bytes" in capsys.readouterr().err
