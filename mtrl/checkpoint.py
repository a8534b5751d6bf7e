"""Checkpoints: everything that a run needs to go on, whole or not there at all.

A checkpoint is a folder `checkpoints/step-<env_step>` with `weights.safetensors`, `state.pt` and `manifest.json`; the
replay buffer lies beside it in append-only segments that consecutive checkpoints share. It is written under another
name and renamed when all of it is on the disk. Every file is checked against its SHA-256 before it is used, and nothing
in it can run: weights are safetensors, the rest is read with `weights_only=True`.
"""

import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from mtrl.config import CheckpointConfig
from mtrl.errors import UserError
from mtrl.logger.console import warn
from mtrl.run_folder import RunFolder, sync_folder, to_json, write_atomically, write_durably
from mtrl.types import State

FORMAT = 1
STEP_FOLDER = re.compile(r"step-(\d{12})")
SEGMENT_FILE = re.compile(r"segment-(\d{6})\.safetensors")
CHUNK = 1 << 22


@dataclass(frozen=True)
class Snapshot:
    """What is saved.

    Attributes:
        env_step: Environment steps over all tasks.
        weights: For safetensors.
        state: The rest: plain data and tensors only.
        lengths: Bytes that `metrics.jsonl` and `eval.jsonl` have now.
        rows: Replay rows added since the last checkpoint (see `ReplayBuffer.rows_since`), if replay is saved.
    """

    env_step: int
    weights: dict[str, torch.Tensor]
    state: State
    lengths: dict[str, int]
    rows: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found whole."""

    path: Path
    manifest: dict[str, Any]

    def weights(self) -> dict[str, torch.Tensor]:
        """Network parameters, on the CPU."""
        return self._loaded(self.path / "weights.safetensors", safetensors.torch.load)

    def state(self) -> State:
        """Everything else, on the CPU."""
        return self._loaded(
            self.path / "state.pt", lambda data: torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        )

    def segments(self, replay: Path) -> Iterator[dict[str, torch.Tensor]]:
        """Replay rows, oldest span first."""
        for segment in self.manifest["segments"]:
            yield self._loaded(replay / segment["file"], safetensors.torch.load)

    def _loaded(self, file: Path, load: Callable[[bytes], Any]) -> Any:
        try:
            return load(file.read_bytes())
        except Exception as error:  # whatever the readers raise at hostile data
            reason = f"{type(error).__name__}"
            raise UserError(
                f"{file} cannot be read ({reason}): delete {self.path} to go on from the one before"
            ) from error


class CheckpointStore:
    """Writes and finds the checkpoints of one run.

    Args:
        folder: The run folder.
        config: How many are kept and how much they may take.
        capacity: Steps that the replay holds; spans that lie further back are overwritten and no longer needed.
    """

    def __init__(self, folder: RunFolder, config: CheckpointConfig, capacity: int) -> None:
        self._folder, self._config, self._capacity = folder, config, capacity
        self._kept: list[str] = []
        self._segments: list[dict[str, Any]] = []
        self._checked_readable = False

    def newest(self, at_most: int | None = None) -> Checkpoint | None:
        """The newest whole checkpoint, from which writing goes on; None where none was ever written.

        Args:
            at_most: Environment steps that it may not be beyond; None: any.

        Raises:
            UserError: There are checkpoints, and all of them are damaged.
        """
        found = find_checkpoint(self._folder, with_replay=True, at_most=at_most)
        if found is not None:
            names = [path.name for path in step_folders(self._folder)]
            self._kept = [name for name in names if name <= found.path.name]
            self._segments = list(found.manifest["segments"])
        return found

    def begin_replay_anew(self) -> None:
        """The next checkpoint holds all of its replay itself."""
        self._segments = []

    def save(self, snapshot: Snapshot) -> bool:
        """Writes a checkpoint; on failure everything is as it was before, with a warning.

        Returns:
            Whether it was written.
        """
        name = f"step-{snapshot.env_step:012d}"
        files = {
            "weights.safetensors": safetensors.torch.save(_separate(snapshot.weights)),
            "state.pt": self._serialised(snapshot.state),
        }
        segment = self._new_segment(snapshot.rows)
        segments = self._segments_after(segment[0] if segment else None)
        files["manifest.json"] = _manifest(snapshot, segments, files)
        if not self._make_room(sum(map(len, files.values())) + (len(segment[1]) if segment else 0)):
            warn(
                f"checkpoint at step {snapshot.env_step} not written: checkpoints and replay would take more than "
                f"--checkpoint.max-gigabytes {self._config.max_gigabytes:g}; raise it or lower "
                "--replay.capacity-per-task"
            )
            return False
        try:
            self._write(name, files, segment)
        except OSError as error:
            warn(
                f"checkpoint at step {snapshot.env_step} not written ({error.strerror or error}): training goes on, "
                "the last checkpoint is whole, and the next interval tries again"
            )
            return False
        self._segments = segments
        self._kept = [kept for kept in self._kept if kept != name] + [name]
        self._remove_old()
        return True

    def _write(self, name: str, files: dict[str, bytes], segment: tuple[dict[str, Any], bytes] | None) -> None:
        temporary = self._folder.checkpoints / f".{name}.tmp"
        target = self._folder.checkpoints / name
        segment_path = self._folder.replay / segment[0]["file"] if segment else None
        try:
            self._folder.checkpoints.mkdir(exist_ok=True)
            self._folder.replay.mkdir(exist_ok=True)
            if segment and segment_path:
                write_atomically(segment_path, segment[1])
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for file, data in files.items():
                write_durably(temporary / file, data)
            sync_folder(temporary)
            if target.exists():  # a damaged one, or one that the run was set back beyond
                shutil.rmtree(target)
            os.rename(temporary, target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if segment_path:
                with suppress(OSError):
                    segment_path.unlink(missing_ok=True)
            raise
        with suppress(OSError):  # the checkpoint is whole already; `latest` is a convenience for people and scripts
            sync_folder(self._folder.checkpoints)
            write_atomically(self._folder.checkpoints / "latest", f"{name}\n".encode())

    def _serialised(self, state: State) -> bytes:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        if not self._checked_readable:  # once is enough: what a component puts into its state does not change
            try:
                torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
            except Exception as error:
                raise UserError(
                    "the state of an environment or agent holds more than tensors and plain data, so it could never be "
                    f"read back safely: {error}"
                ) from error
            self._checked_readable = True
        return buffer.getvalue()

    def _new_segment(self, rows: dict[str, torch.Tensor] | None) -> tuple[dict[str, Any], bytes] | None:
        if rows is None or int(rows["count"].sum()) == 0:
            return None
        there = [SEGMENT_FILE.fullmatch(path.name) for path in self._folder.replay.glob("segment-*")]
        number = 1 + max((int(name[1]) for name in there if name), default=0)
        data = safetensors.torch.save(rows)
        return {
            "file": f"segment-{number:06d}.safetensors",
            "sha256": hashlib.sha256(data).hexdigest(),
            "end": (rows["start"] + rows["count"]).tolist(),
        }, data

    def _segments_after(self, new: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The spans that the next checkpoint needs: those of which some row is not yet overwritten."""
        if new is None:
            return list(self._segments)
        needed = [
            segment
            for segment in self._segments
            if any(end > last - self._capacity for end, last in zip(segment["end"], new["end"], strict=True))
        ]
        return [*needed, new]

    def _make_room(self, size: int) -> bool:
        """Whether so many bytes fit under the bound, older checkpoints being given up for them if need be."""
        bound = self._config.max_gigabytes * 1e9
        if self._disk_use() + size > bound and len(self._kept) > 1:
            self._kept = self._kept[-1:]
            self._remove_old()
        return self._disk_use() + size <= bound

    def _disk_use(self) -> int:
        folders = (self._folder.checkpoints, self._folder.replay)
        return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())

    def _remove_old(self) -> None:
        """Deletes checkpoints that are no longer kept, and the segments that none of the kept ones needs."""
        self._kept = self._kept[-(self._config.keep + 1) :]
        with suppress(OSError):  # what cannot be deleted now is deleted next time
            for path in self._folder.checkpoints.iterdir():
                if path.is_dir() and path.name not in self._kept:
                    shutil.rmtree(path)
            needed = {segment["file"] for segment in self._segments}
            for name in self._kept:
                needed |= _listed_segments(self._folder.checkpoints / name)
            for path in self._folder.replay.iterdir():
                if path.name not in needed:
                    path.unlink()


def step_folders(folder: RunFolder) -> list[Path]:
    """Checkpoints of a run, whole or not, oldest first."""
    if not folder.checkpoints.is_dir():
        return []
    return sorted(path for path in folder.checkpoints.iterdir() if STEP_FOLDER.fullmatch(path.name))


def find_checkpoint(folder: RunFolder, *, with_replay: bool, at_most: int | None = None) -> Checkpoint | None:
    """The newest whole checkpoint of a run, with a warning for each newer one that is damaged.

    Args:
        folder: The run folder.
        with_replay: Whether its replay segments must be whole too; acting alone does not need them.
        at_most: Environment steps that it may not be beyond; None: any.

    Raises:
        UserError: There are checkpoints, and all of them are damaged.
    """
    reasons = []
    for path in reversed([one for one in step_folders(folder) if at_most is None or int(one.name[5:]) <= at_most]):
        try:
            checkpoint = _verified(path, folder.replay if with_replay else None)
        except _DamagedError as error:
            reasons.append(f"{path.name}: {error}")
            continue
        for reason in reasons:
            warn(f"checkpoint {reason}; falling back to {path.name}")
        return checkpoint
    if reasons:
        raise UserError(
            f"no checkpoint of {folder.path} is whole ({reasons[0]}): restore one from a copy, or delete the folder "
            "and train anew"
        )
    return None


def _manifest(snapshot: Snapshot, segments: list[dict[str, Any]], files: dict[str, bytes]) -> bytes:
    manifest = {
        "format": FORMAT,
        "env_step": snapshot.env_step,
        "lengths": snapshot.lengths,
        "replay": snapshot.rows is not None,
        "segments": segments,
        "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    return to_json({**manifest, "digest": _digest(manifest)}, indent=1)


class _DamagedError(Exception):
    """A checkpoint is not what was written."""


def _verified(path: Path, replay: Path | None) -> Checkpoint:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        digest = manifest.pop("digest")
        if manifest["format"] != FORMAT:
            raise _DamagedError(f"its format is {manifest['format']!r}, this version reads {FORMAT}")
        if digest != _digest(manifest):
            raise _DamagedError("manifest.json was changed")
        expected = [(path / name, manifest["sha256"][name]) for name in ("weights.safetensors", "state.pt")]
        if replay is not None:
            expected += [(replay / _segment_name(entry["file"]), entry["sha256"]) for entry in manifest["segments"]]
        for file, sha256 in expected:
            if _file_digest(file) != sha256:
                raise _DamagedError(f"{file.name} was cut short or changed")
    except OSError as error:
        raise _DamagedError(f"{Path(str(error.filename)).name}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _DamagedError(f"manifest.json is damaged ({type(error).__name__})") from error
    return Checkpoint(path, manifest)


def _listed_segments(path: Path) -> set[str]:
    """The replay files that a checkpoint needs; none where its manifest is damaged, since it cannot be used anyway."""
    try:
        return {segment["file"] for segment in json.loads((path / "manifest.json").read_bytes())["segments"]}
    except (ValueError, KeyError, TypeError):
        return set()


def _segment_name(name: str) -> str:
    if not SEGMENT_FILE.fullmatch(name):
        raise _DamagedError(f"it names a strange replay file {name!r}")
    return name


def _digest(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _separate(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous copies on the CPU that share no memory, which safetensors insists on."""
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
