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


def begin(folder: Path) -> int:
    """Starts training in a child; this process itself never runs anything that a fork would harm."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(folder)
            code = 0
        finally:
            os._exit(code)
    return child


def main(folder: Path, kills: int) -> None:
    """See above. Fails where a run ends with an error."""
    began = time.perf_counter()
    assert os.waitpid(begin(folder / "whole"), 0)[1] == 0
    lasts = time.perf_counter() - began
    chance, hits = random.Random(), 0
    for _ in range(4 * kills):
        child = begin(folder / "parts")
        time.sleep(chance.uniform(0.0, 2.0 * lasts / kills) + 0.1 * chance.random())
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        hits += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or status == 0, f"a part ended with status {status}"
        if hits == kills or status == 0:
            break
    print(f"hit {hits} times; one piece lasts {lasts:.1f} s")
    assert hits >= kills // 2, f"only {hits} kills hit before the run was over"
    assert os.waitpid(begin(folder / "parts"), 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
