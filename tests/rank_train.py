"""A run of two toy tasks for torchrun: `rank_train.py FOLDER AGENT STEPS [STEP]`; process 1 dies at STEP."""

import os
import sys
import time
from pathlib import Path

from runner_toys import tiny_config
from test_on_policy import register_tiny_ppo

import mtrl
from mtrl.errors import UserError
from mtrl.runner.loop import TrainingLoop
from mtrl.runner.session import Session


def die_at(step: int) -> None:
    """Ends process 1 as by kill -9 when it has learned from so many steps of each task; the other is slow to close."""
    crossed, close = TrainingLoop.crossed, Session._close

    def dying(loop, *arguments):
        if loop.ranks.rank == 1 and loop.steps_per_task >= step:
            os._exit(9)
        return crossed(loop, *arguments)

    def closing(session, exit_code):
        time.sleep(2)  # torchrun looks ten times a second, and ends who is left: not before he has said why
        close(session, exit_code)

    TrainingLoop.crossed = dying
    Session._close = closing


if __name__ == "__main__":
    folder, agent, steps, *dying = sys.argv[1:]
    tiny_config(Path(folder))
    register_tiny_ppo()
    if dying:
        die_at(int(dying[0]))
    try:
        mtrl.train("dot-suite", agent, run_folder=folder, steps_per_task=int(steps), device="cpu")
    except UserError as error:
        sys.exit(f"error: {error}")
