"""Trains a toy run in one piece, and again while it is killed (-9) at random moments: FOLDER KILLS."""

import os
import random
import signal
import sys
from pathlib import Path

from runner_toys import tiny_config

import mtrl.api
from mtrl.config import CheckpointConfig, EvaluationConfig, ReplayConfig
from mtrl.runner.off_policy import OffPolicyLoop

STEPS = 240


def train(folder: Path) -> None:
    """The run; it writes a checkpoint every few milliseconds, so that kills hit every moment of that."""
    mtrl.api.train(
        tiny_config(
            folder,
            suite=os.environ.get("MTRL_TEST_SUITE", "dot-suite"),
            workers=1,
            steps_per_task=STEPS,
            replay=ReplayConfig(capacity_per_task=50),
            checkpoint=CheckpointConfig(every=8),
            evaluation=EvaluationConfig(every=80, goals=2),
        )
    )


def begin(folder: Path, kill_at: int | None = None, delay: float = 0.0) -> int:
    """Starts training in a child; this process itself never runs anything that a fork would harm.

    Args:
        folder: Where the run is.
        kill_at: The steps per task from which on its alarm is set, 0: as it begins, which may be before the run goes
            on. Nobody handles the alarm, so it ends the child as `kill -9` does. None: never.
        delay: Seconds from there to the alarm.

    Returns:
        The child.
    """
    child = os.fork()
    if child:
        return child
    code, advance = 1, OffPolicyLoop.advance

    def watched(loop: OffPolicyLoop) -> None:
        if loop.steps_per_task >= kill_at:
            OffPolicyLoop.advance = advance
            signal.setitimer(signal.ITIMER_REAL, delay)
        advance(loop)

    if kill_at:
        OffPolicyLoop.advance = watched
    elif kill_at == 0:
        signal.setitimer(signal.ITIMER_REAL, delay)
    try:
        train(folder)
        code = 0
    finally:
        os._exit(code)


def main(folder: Path, kills: int) -> None:
    """See above. Fails where a run ends with an error."""
    tiny_config(folder)  # so that every child has all modules already
    assert os.waitpid(begin(folder / "whole"), 0)[1] == 0
    # Moments come from where the run is, not from the time: a busy machine kills as early and late as an idle one.
    chance, places = random.Random(), set()
    for kill in range(kills):
        kill_at = int((STEPS - 30) * (kill + chance.uniform(0.25, 0.75)) / kills) if kill % 5 else 0
        child = begin(folder / "parts", kill_at, chance.uniform(1e-5, 0.02))
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status), f"the run was over with status {status} after {kill} kills"
        places |= {path.name for path in (folder / "parts" / "checkpoints").glob("step-*")}
    print(f"{kills} kills, seen at {len(places)} checkpoints")
    assert len(places) > kills // 3, "the kills were too early to mean anything"
    assert os.waitpid(begin(folder / "parts"), 0)[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
