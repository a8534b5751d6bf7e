"""Films of an agent at work, one mp4 file a task.

Everything is rendered in the calling process, one environment after the other: several EGL renderers at once are known
to hang some drivers. A machine without OpenGL gives one clear error, and training goes on without films.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium
import imageio_ffmpeg
import numpy as np
import torch
from torch import nn

from mtrl.algorithm import Policy
from mtrl.errors import UserError, unknown
from mtrl.goals import GoalSet
from mtrl.runner.experiment import Experiment, load_policy, read_experiment
from mtrl.tasks import TASKS, TaskDefinition
from mtrl.vector.trials import TOLD, told_first, told_of

EVERY = 5
"""Steps from one frame to the next: 16 frames a second of Meta-World's 80 steps."""
DEFAULT_FRAMES_PER_SECOND = 30
SUCCESS_GREEN = (40, 170, 80)


@dataclass(frozen=True)
class Stage:
    """What a film plays on: the problem that the agent was built for.

    Attributes:
        tasks: The suite's tasks, in the order of their task ids.
        goal_set: Their goals.
        goal_visible: Whether observations show the goal.
        device: Where the agent lives.
        trial_episodes: Where the agent learns to learn: episodes of a trial, all of which are filmed; otherwise 0.
    """

    tasks: tuple[TaskDefinition, ...]
    goal_set: GoalSet
    goal_visible: bool = True
    device: torch.device | str = "cpu"
    trial_episodes: int = 0

    @classmethod
    def of(cls, experiment: Experiment, goals: GoalSet) -> Self:
        """That of a run."""
        trial, suite = experiment.config.trial, experiment.suite
        tasks = tuple(TASKS.get(name) for name in suite.train_tasks)
        episodes = trial.episodes + 1 if experiment.in_trials else 0
        return cls(tasks, goals, suite.goal_visible, experiment.device, episodes)


def film_run(
    run: Path | str,
    *,
    only: Sequence[str] = (),
    episodes: int = 1,
    first_goal: int = 0,
    every: int = EVERY,
    device: str = "cpu",
) -> list[Path]:
    """Films the agent of a run, with its newest checkpoint, into the run folder's `videos`.

    Args:
        run: The run folder.
        only: See `film`, as for the arguments that follow.
        episodes: Episodes in each file.
        first_goal: Index of the first goal among the training goals.
        every: Steps from one frame to the next.
        device: Where the agent acts.

    Returns:
        The files.

    Raises:
        UserError: There is no run or no checkpoint, or see `film`.
    """
    experiment = read_experiment(Path(run), device=device)
    stage = Stage.of(experiment, experiment.folder.read_goals("train", experiment.suite.train_tasks))
    policy, folder = load_policy(run, device=device), experiment.folder.videos
    return film(policy, stage, folder, only=only, episodes=episodes, first_goal=first_goal, every=every)


def film(
    policy: Policy,
    stage: Stage,
    folder: Path | str,
    *,
    only: Sequence[str] = (),
    episodes: int = 1,
    first_goal: int = 0,
    every: int = EVERY,
) -> list[Path]:
    """Films episodes of each task, with the most likely actions.

    A bar at the upper edge turns green with the first step at which the task's success holds.

    Args:
        policy: An agent, or a fixed policy.
        stage: Tasks and goals.
        folder: Where `TASK.mp4` is written; it is made if it is not there. A file that exists is replaced.
        only: Names of the tasks to film; none films all.
        episodes: Episodes in each file, on consecutive goals.
        first_goal: Index of the first goal.
        every: Steps from one frame to the next.

    Returns:
        The files, in the order of the tasks.

    Raises:
        UserError: A task is not in the suite or cannot be rendered here, or a number is impossible.
    """
    if episodes < 1 or every < 1 or first_goal < 0:
        raise UserError(f"cannot film {episodes} episodes from goal {first_goal}, every {every} steps: give 1 or more")
    names = [task.name for task in stage.tasks]
    for name in only:
        if name not in names:
            raise unknown("task", name, names)
    Path(folder).mkdir(parents=True, exist_ok=True)
    files = []
    for task_id, task in enumerate(stage.tasks):
        if not only or task.name in only:
            path = Path(folder) / f"{task.name.replace('/', '-')}.mp4"
            rows = stage.goal_set.rows[task_id]
            each = max(1, stage.trial_episodes)
            goals = [(first_goal + episode) % len(rows) for episode in range(episodes) for _ in range(each)]
            _film_task(policy, stage, task_id, goals, path, every)
            files.append(path)
    return files


def _film_task(policy: Policy, stage: Stage, task_id: int, goals: Sequence[int], path: Path, every: int) -> None:
    """Writes the file of one task, as a whole or not at all."""
    task = stage.tasks[task_id]
    temporary = path.with_name(f".{path.stem}.part.mp4")
    env = task.make(stage.goal_visible)
    try:
        frames = _frames(policy, env, stage, task_id, goals, every)
        rate = env.metadata.get("render_fps") or DEFAULT_FRAMES_PER_SECOND * every
        _write(temporary, frames, rate / every)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        with contextlib.suppress(Exception):  # a renderer that could not be made cannot always be closed
            env.close()


def _frames(
    policy: Policy, env: gymnasium.Env[Any, Any], stage: Stage, task_id: int, goals: Sequence[int], every: int
) -> Iterator[np.ndarray]:
    """Plays the episodes and yields their images, uint8 `[height, width, 3]` with even sides."""
    task = stage.tasks[task_id]
    width = max(other.obs_dim for other in stage.tasks)
    ids, begun = torch.tensor([task_id], device=stage.device), torch.ones(1, dtype=torch.bool, device=stage.device)
    beside = max(other.action_dim for other in stage.tasks) - task.action_dim
    told = torch.zeros(1, task.action_dim + beside + TOLD, device=stage.device)
    note = getattr(policy, "adapts", None)
    for episode, goal in enumerate(goals):
        obs, _ = env.reset(seed=episode, options={"goal": stage.goal_set.rows[task_id][goal]})
        if episode % max(1, stage.trial_episodes) == 0:
            policy.begin_episodes(begun)
            told = told_first(torch.zeros_like(told), begun)
        if stage.trial_episodes and note is not None:
            note(begun & (episode % stage.trial_episodes < stage.trial_episodes - 1))
        solved, ended, step = False, False, 0
        yield _image(env, task.name, solved)
        while not ended:
            padded = torch.zeros(1, width, device=stage.device)
            padded[0, : task.obs_dim] = torch.as_tensor(np.asarray(obs), dtype=torch.float32)
            seen = torch.cat([padded, told], dim=1) if stage.trial_episodes else padded
            action = policy.act(seen, ids, mode=True)[:, : task.action_dim]
            obs, reward, terminated, truncated, info = env.step(action[0].cpu().numpy())
            step, solved, ended = step + 1, solved or bool(info.get("success", 0)), terminated or truncated
            paid, over = torch.tensor([float(reward)]).to(action), torch.tensor([ended]).to(begun)
            told = told_of(nn.functional.pad(action, (0, beside)), paid, over)
            if step % every == 0 or ended:
                yield _image(env, task.name, solved)


def _image(env: gymnasium.Env[Any, Any], name: str, solved: bool) -> np.ndarray:
    """One image with the bar.

    Raises:
        UserError: The environment gives none, for instance because there is no OpenGL.
    """
    try:
        image = env.render()
    except UserError:
        raise
    except Exception as error:  # every GL library fails in its own way, AttributeError and its own types included
        reason = str(error).strip().splitlines()
        raise UserError(
            f"task '{name}' cannot be drawn ({type(error).__name__}{': ' + reason[0] if reason else ''}): where OpenGL "
            f"is missing, install Mesa's EGL (Debian: libegl1 libgl1-mesa-dri) and set MUJOCO_GL=egl"
        ) from error
    if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(f"task '{name}' gave no image to film: make its environment with render_mode='rgb_array'")
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2  # H.264 takes even sides alone
    image = np.array(image[:height, :width], dtype=np.uint8)
    image[: max(2, height // 60)] = SUCCESS_GREEN if solved else 0
    return image


def _write(path: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """Encodes images as H.264.

    Raises:
        UserError: There is no ffmpeg, or it failed.
    """
    first = next(frames)
    size = (first.shape[1], first.shape[0])
    try:
        writer = imageio_ffmpeg.write_frames(
            str(path),
            size,
            fps=rate,  # pyright: ignore[reportArgumentType] - fractions are fine
            macro_block_size=2,
            ffmpeg_log_level="error",
        )
        writer.send(None)
        writer.send(np.ascontiguousarray(first))
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot encode {path.name}: {error}; ffmpeg comes with the package imageio-ffmpeg") from error
