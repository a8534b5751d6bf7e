"""Trains a toy run in one piece, and again while it is killed (-9) at random moments: FOLDER KILLS."""

import os
import random
import signal
import sys
import time
from pathlib import Path

from runner_toys import tiny_config

import mtrl.api
from mtrl.config import CheckpointConfig, EvaluationConfig, ReplayConfig
from mtrl.runner.off_policy import OffPolicyLoop


def train(folder: Path) -> None:
    """The run; it writes a checkpoint every few milliseconds, so that kills hit every moment of that."""
    mtrl.api.train(
        tiny_config(
            folder,
            suite=os.environ.get("MTRL_TEST_SUITE", "dot-suite"),
            workers=1,
            steps_per_task=240,
            replay=ReplayConfig(capacity_per_task=50),
            checkpoint=CheckpointConfig(every=8),
            evaluation=EvaluationConfig(every=80, goals=2),
        )
    )


def begin(folder: Path) -> tuple[int, int]:
    """Starts training in a child; this process itself never runs anything that a fork would harm.

    Returns:
        The child, and a pipe that gives a byte when the first training step begins, and ends with the child.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    code, advance = 1, OffPolicyLoop.advance

    def first_advance(loop: OffPolicyLoop) -> None:
        OffPolicyLoop.advance = advance
        os.write(writing, b"x")
        advance(loop)

    OffPolicyLoop.advance = first_advance
    try:
        train(folder)
        code = 0
    finally:
        os._exit(code)


def main(folder: Path, kills: int) -> None:
    """See above. Fails where a run ends with an error."""
    tiny_config(folder)  # so that every child has all modules already
    child, started = begin(folder / "whole")
    os.read(started, 1)
    began = time.perf_counter()
    assert os.waitpid(child, 0)[1] == 0
    lasts = time.perf_counter() - began
    chance, places = random.Random(), set()
    for kill in range(kills):
        child, started = begin(folder / "parts")
        if kill % 5:  # one in five may hit before training goes on
            os.read(started, 1)
        time.sleep(chance.uniform(0.0, 1.2 * lasts / kills))
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        os.close(started)
        assert os.WIFSIGNALED(status), f"the run was over with status {status} after {kill} kills"
        places |= {path.name for path in (folder / "parts" / "checkpoints").glob("step-*")}
    print(f"{kills} kills, seen at {len(places)} checkpoints; one piece lasts {lasts:.1f} s")
    assert len(places) > kills // 3, "the kills were too early to mean anything"
    assert os.waitpid(begin(folder / "parts")[0], 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
