"""Damaged, tampered and hostile checkpoints, and disks that fill up."""

import builtins
import errno
import hashlib
import json
import os
import pickle
import shutil
import zipfile

import pytest
import torch
from runner_toys import InlineVectorEnv, everything, tensors_differ, tiny_config

import mtrl.api
from mtrl.checkpoint import CheckpointStore, Snapshot, find_checkpoint, step_folders
from mtrl.config import CheckpointConfig, EvaluationConfig
from mtrl.errors import Interrupted, UserError
from mtrl.run_folder import RunFolder
from mtrl.runner import load_policy


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run stopped after 60 of 80 steps a task, with checkpoints at 40 and 60; and the same run in one piece."""
    mtrl.api.train(tiny_config(tmp_path / "whole"))
    original, count = InlineVectorEnv.step_wait, [0]

    def step_wait(self):
        count[0] += 1
        if count[0] == 20 + 26 + 10:  # training to 40, an evaluation, training to 60
            os.kill(os.getpid(), 2)
        return original(self)

    with monkeypatch.context() as patch:
        patch.setattr(InlineVectorEnv, "step_wait", step_wait)
        with pytest.raises(Interrupted):
            mtrl.api.train(tiny_config(tmp_path / "run"))
    assert [path.name for path in step_folders(RunFolder(tmp_path / "run"))] == [
        "step-000000000080",
        "step-000000000120",
    ]
    return tmp_path / "run"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES = [
    (part, damage)
    for part in ("weights.safetensors", "state.pt", "manifest.json")
    for damage in (truncate, flip, os.unlink, lambda path: path.write_bytes(b""))
]


@pytest.mark.parametrize(("part", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(stopped, capsys, part, damage):
    damage(stopped / "checkpoints" / "step-000000000120" / part)
    run = mtrl.api.resume(stopped)
    warnings = capsys.readouterr().err
    assert "step-000000000120" in warnings and "falling back to step-000000000080" in warnings
    assert part.split(".")[0] in warnings
    assert run.finished
    assert tensors_differ(everything(stopped), everything(stopped.parent / "whole")) == ""


@pytest.mark.parametrize("damage", [truncate, flip, os.unlink])
def test_a_damaged_replay_segment_is_noticed(stopped, capsys, damage):
    damage(max((stopped / "replay").iterdir()))
    mtrl.api.resume(stopped)
    assert "falling back to step-000000000080" in capsys.readouterr().err
    assert tensors_differ(everything(stopped), everything(stopped.parent / "whole")) == ""


def test_damaged_checkpoints_give_up_their_names(stopped):
    flip(stopped / "checkpoints" / "step-000000000120" / "state.pt")
    mtrl.api.resume(stopped)
    for path in step_folders(RunFolder(stopped)):
        assert json.loads((path / "manifest.json").read_text())["env_step"] == int(path.name[5:])
    assert find_checkpoint(RunFolder(stopped), with_replay=True).path.name == "step-000000000160"


@pytest.mark.parametrize("command", [mtrl.api.resume, load_policy])
def test_where_no_checkpoint_is_whole_there_is_one_clear_error(stopped, command):
    for path in step_folders(RunFolder(stopped)):
        truncate(path / "weights.safetensors")
    with pytest.raises(UserError, match=r"no checkpoint .* is whole .*weights.safetensors was cut short or changed"):
        command(stopped)
    assert (stopped / "metrics.jsonl").stat().st_size  # nothing was thrown away


class Bomb:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def reseal(path):
    """Makes the manifest agree with changed files, as somebody would who means harm."""
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["digest"]
    for name in manifest["sha256"]:
        manifest["sha256"][name] = hashlib.sha256((path / name).read_bytes()).hexdigest()
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps({**manifest, "digest": digest}))


@pytest.mark.parametrize("form", ["torch", "pickle", "weights"])
def test_a_hostile_checkpoint_is_never_executed(stopped, tmp_path, form):
    trap, path = tmp_path / "executed", stopped / "checkpoints" / "step-000000000120"
    if form == "torch":
        torch.save({"loop": Bomb(trap)}, path / "state.pt")
    else:
        name = "state.pt" if form == "pickle" else "weights.safetensors"
        (path / name).write_bytes(pickle.dumps(Bomb(trap)))
    reseal(path)
    with pytest.raises(UserError, match="cannot be read"):
        mtrl.api.resume(stopped)
    if form == "weights":
        with pytest.raises(UserError, match="cannot be read"):
            load_policy(stopped)
    assert not trap.exists()


def test_a_manifest_cannot_name_files_elsewhere(stopped, tmp_path, capsys):
    path = stopped / "checkpoints" / "step-000000000120"
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["segments"][0]["file"] = "../../secret"
    (path / "manifest.json").write_text(json.dumps(manifest))
    reseal(path)
    mtrl.api.resume(stopped)
    assert "strange replay file" in capsys.readouterr().err


def test_a_checkpoint_of_another_shape_is_an_error(stopped):
    path = stopped / "checkpoints" / "step-000000000120"
    torch.save({"loop": {}, "clock": {}, "evaluation_due": False}, path / "state.pt")
    reseal(path)
    with pytest.raises(UserError, match="does not fit this version"):
        mtrl.api.resume(stopped)


def test_states_are_zip_files_without_code(stopped):
    with zipfile.ZipFile(stopped / "checkpoints" / "step-000000000120" / "state.pt") as file:
        pickled = next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))
    assert b"mtrl" not in pickled


class FullDisk:
    """Lets so many writing calls of a process succeed and then none, until it is emptied."""

    def __init__(self, monkeypatch, allowed):
        self.left = allowed
        for place, name in ((os, "fsync"), (os, "replace"), (os, "rename"), (os, "pwrite")):
            monkeypatch.setattr(place, name, self.counted(getattr(place, name)))
        original = builtins.open
        writing = self.counted(original)
        monkeypatch.setattr(
            builtins,
            "open",
            lambda file, mode="r", *a, **k: (writing if "w" in mode else original)(file, mode, *a, **k),
        )

    def counted(self, call):
        def guarded(*arguments, **keywords):
            if self.left <= 0:
                raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))
            self.left -= 1
            return call(*arguments, **keywords)

        return guarded


def snapshot(step, rows=None):
    return Snapshot(step, {"w": torch.arange(4.0)}, {"step": step}, {"metrics": 0, "evaluations": 0}, rows)


def rows(start, count):
    return {
        "start": torch.tensor([start]),
        "count": torch.tensor([count]),
        "reward": torch.arange(start, start + count, dtype=torch.float32),
    }


def files_of(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("allowed", range(18))
def test_a_disk_that_fills_up_at_any_moment_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch, capsys, allowed):
    folder = RunFolder(tmp_path)
    store = CheckpointStore(folder, CheckpointConfig(keep=0), 100)
    assert store.save(snapshot(1, rows(0, 10)))
    before = files_of(tmp_path)
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, allowed)
        written = store.save(snapshot(2, rows(10, 10)))
        assert not disk.left or written
    found = find_checkpoint(folder, with_replay=True)
    assert found.state()["step"] == (2 if written else 1)
    if not written:
        assert files_of(tmp_path) == before  # no litter that would fill the disk further
        assert "No space left on device" in capsys.readouterr().err
    assert store.save(snapshot(3, rows(20, 10) if written else rows(10, 20)))
    again = find_checkpoint(folder, with_replay=True)
    assert torch.cat([part["reward"] for part in again.segments(folder.replay)]).tolist() == list(range(30))
    assert all(".tmp" not in name for name in files_of(tmp_path))


def test_the_cases_above_reach_both_ends(tmp_path, monkeypatch):
    results = set()
    for allowed in (0, 17):
        store = CheckpointStore(RunFolder(tmp_path), CheckpointConfig(), 100)
        with monkeypatch.context() as patch:
            FullDisk(patch, allowed)
            results.add(store.save(snapshot(1, rows(0, 10))))
    assert results == {True, False}


def test_a_run_survives_a_full_disk_and_loses_nothing(tmp_path, monkeypatch, capsys):
    mtrl.api.train(tiny_config(tmp_path / "whole"))
    original, count = InlineVectorEnv.step_wait, [0]
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, 10**9)

        def step_wait(self):
            count[0] += 1
            if count[0] in (15, 30):
                disk.left = 0 if count[0] == 15 else 10**9
            return original(self)

        patch.setattr(InlineVectorEnv, "step_wait", step_wait)
        run = mtrl.api.train(tiny_config(tmp_path / "run"))
    assert run.finished
    printed = capsys.readouterr().err
    assert "checkpoint at step 80 not written" in printed and "metrics.jsonl" in printed
    assert tensors_differ(everything(tmp_path / "run"), everything(tmp_path / "whole")) == ""


def test_a_run_whose_end_does_not_fit_stops_cleanly_and_can_be_ended_later(tmp_path, monkeypatch):
    mtrl.api.train(tiny_config(tmp_path / "whole"))
    original, count = InlineVectorEnv.step_wait, [0]
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, 10**9)

        def step_wait(self):
            count[0] += 1
            disk.left = 0 if count[0] > 50 else 10**9
            return original(self)

        patch.setattr(InlineVectorEnv, "step_wait", step_wait)
        with pytest.raises(UserError, match="make room on the disk"):
            mtrl.api.train(tiny_config(tmp_path / "run"))
    run = mtrl.api.Run(tmp_path / "run")
    assert not run.finished and run.policy() is not None
    run.resume()
    assert tensors_differ(everything(tmp_path / "run"), everything(tmp_path / "whole")) == ""


def disk_use(folder):
    return sum(
        file.stat().st_size
        for part in (folder.checkpoints, folder.replay)
        for file in part.rglob("*")
        if file.is_file()
    )


def test_disk_use_is_bounded(tmp_path, capsys):
    folder = RunFolder(tmp_path)
    store = CheckpointStore(folder, CheckpointConfig(keep=5, max_gigabytes=1e-5), 10**6)
    written = [store.save(snapshot(step, rows(100 * step, 100))) for step in range(40)]
    assert 5_000 < disk_use(folder) <= 10_000 + 100  # `latest` is not counted
    assert written[0] and not written[-1]
    assert "--checkpoint.max-gigabytes" in capsys.readouterr().err
    newest = written.index(False) - 1
    assert find_checkpoint(folder, with_replay=True).state()["step"] == newest > 5  # older ones were given up first


def test_old_checkpoints_and_overwritten_segments_go(tmp_path):
    folder = RunFolder(tmp_path)
    store = CheckpointStore(folder, CheckpointConfig(keep=1), capacity=25)
    for step in range(10):
        store.save(snapshot(step, rows(10 * step, 10)))
    assert [path.name for path in step_folders(folder)] == ["step-000000000008", "step-000000000009"]
    # 25 rows back from 100 are in three segments, from 90 in one more
    assert [path.name for path in sorted(folder.replay.iterdir())] == [
        f"segment-{n:06d}.safetensors" for n in range(7, 11)
    ]
    kept = find_checkpoint(folder, with_replay=True)
    assert torch.cat([part["reward"] for part in kept.segments(folder.replay)])[-25:].tolist() == list(range(75, 100))
    assert (folder.checkpoints / "latest").read_text().strip() == "step-000000000009"


def test_a_state_that_could_not_be_read_back_is_refused_at_once(tmp_path):
    store = CheckpointStore(RunFolder(tmp_path), CheckpointConfig(), 10)
    bad = Snapshot(1, {"w": torch.zeros(1)}, {"env": Bomb(tmp_path / "x")}, {}, None)
    with pytest.raises(UserError, match="more than tensors and plain data"):
        store.save(bad)


def test_a_copied_run_folder_goes_on_elsewhere(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "copy")
    run = mtrl.api.resume(tmp_path / "copy")
    assert run.finished and not (stopped / "DONE").exists()
    assert tensors_differ(everything(tmp_path / "copy"), everything(tmp_path / "whole")) == ""


def test_a_checkpoint_is_not_written_twice_for_one_step(tmp_path):
    config = tiny_config(tmp_path / "run", evaluation=EvaluationConfig(final=False))
    run = mtrl.api.train(config)
    before = {path: path.stat().st_mtime_ns for path in run.folder.checkpoints.rglob("*")}
    run.folder.done.unlink()
    run.resume()
    assert {path: path.stat().st_mtime_ns for path in run.folder.checkpoints.rglob("*")} == before
