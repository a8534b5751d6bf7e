"""`mtrl eval` and `mtrl video`: what needs a trained agent, or a fixed policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from mtrl.cli.parse import parse
from mtrl.errors import UserError


@dataclass(frozen=True)
class VideoOptions:
    """What `mtrl video` takes."""

    run: Annotated[str, tyro.conf.Positional] = ""
    """Run folder, such as runs/MT10/mtmhsac/seed-0; the files are written to its folder videos."""
    tasks: tuple[str, ...] = ()
    """Tasks to film, with spaces between; none films all."""
    episodes: int = 1
    """Episodes in each file, on consecutive goals."""
    first_goal: int = 0
    """Index of the first goal among the training goals."""
    every: int = 5
    """Environment steps from one frame to the next."""
    device: str = "cpu"
    """Where the agent acts: `auto`, `cpu`, `cuda`, `cuda:1`."""


def video(arguments: Sequence[str]) -> None:
    """Films a run's agent."""
    description = "Film a run's agent, with the most likely actions: one mp4 a task."
    options = parse(VideoOptions(), arguments, "mtrl video", description)
    if options is None:
        return
    if not options.run:
        raise UserError("no run folder given: name one, as in `mtrl video runs/MT10/mtmhsac/seed-0`")
    from mtrl.video import film_run

    files = film_run(
        options.run,
        only=options.tasks,
        episodes=options.episodes,
        first_goal=options.first_goal,
        every=options.every,
        device=options.device,
    )
    print("\n".join(str(file) for file in files))
