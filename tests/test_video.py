"""Films: what is played, what is drawn, and what is said where nothing can be drawn."""

from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from mtrl.api import make_config, train
from mtrl.cli import main
from mtrl.errors import UserError
from mtrl.goals import GoalSet
from mtrl.tasks import TASKS, TaskDefinition
from mtrl.video import SUCCESS_GREEN, Stage, film

HEIGHT, WIDTH = 49, 64  # an odd height, which H.264 refuses
SHADE = {"dark": 40, "light": 200}


class Painting(gymnasium.Env[np.ndarray, np.ndarray]):
    """Draws a grey image; solved at the third step for as long as that step lasts; ten steps long."""

    metadata = {"render_fps": 20}  # noqa: RUF012

    def __init__(self, obs_dim: int, shade: int, image: Any = "rgb") -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs_dim,))
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,))
        self.shade, self.image, self.closed = shade, image, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.steps, self.goal = 0, options["goal"]
        return np.full(self.observation_space.shape, self.goal[0]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert action.shape == (2,)
        self.steps += 1
        obs = np.full(self.observation_space.shape, self.goal[0])
        return obs, 0.0, False, self.steps == 10, {"success": self.steps == 3}

    def render(self) -> Any:
        if isinstance(self.image, Exception):
            raise self.image
        return np.full((HEIGHT, WIDTH, 3), self.shade, np.uint8) if isinstance(self.image, str) else self.image

    def close(self) -> None:
        self.closed = True


class Watcher:
    """A policy that writes down what it is shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[float], int, bool]] = []
        self.begun = 0

    def act(self, obs: torch.Tensor, task_id: torch.Tensor, *, mode: bool) -> torch.Tensor:
        self.seen.append((obs[0].tolist(), int(task_id[0]), mode))
        return torch.zeros(1, 3)

    def begin_episodes(self, mask: torch.Tensor) -> None:
        self.begun += int(mask.sum())


def stage_of(**images: Any) -> tuple[Stage, dict[str, Painting]]:
    """Two tasks, `dark` with one number to see and `light` with three; goals are 1, 2 and 11, 12."""
    envs = {
        "dark": Painting(1, SHADE["dark"], images.get("dark", "rgb")),
        "light": Painting(3, SHADE["light"], images.get("light", "rgb")),
    }
    tasks = tuple(
        TaskDefinition(
            name, name, lambda _visible, env=env: env, _no_goals, env.observation_space.shape[0], 2, 10, "toy"
        )
        for name, env in envs.items()
    )
    goals = GoalSet("train", (np.array([[1.0], [2.0]]), np.array([[11.0], [12.0]])))
    return Stage(tasks, goals), envs


def _no_goals(count: int, seed: int) -> np.ndarray:
    raise AssertionError("a film plays the goals of its stage")


def test_each_task_gets_a_film_of_its_own(tmp_path: Path) -> None:
    stage, envs = stage_of()
    files = film(Watcher(), stage, tmp_path / "videos", every=5)
    assert [file.name for file in files] == ["dark.mp4", "light.mp4"]
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["dark.mp4", "light.mp4"]
    for file in files:
        frames = imageio.imread(file)
        assert frames.shape == (3, HEIGHT - 1, WIDTH, 3)  # steps 0, 5 and 10
        assert abs(float(frames[:, 20:].mean()) - SHADE[file.stem]) < 8
        assert imageio.immeta(file)["fps"] == pytest.approx(4)  # 20 steps a second, every fifth
    assert all(env.closed for env in envs.values())


def test_the_bar_turns_green_with_the_first_success_and_stays_so(tmp_path: Path) -> None:
    stage, _ = stage_of()
    (file,) = film(Watcher(), stage, tmp_path, only=["dark"], every=1)
    bar = imageio.imread(file)[:, 0, WIDTH // 2].astype(int)
    green = [int(np.abs(pixel - SUCCESS_GREEN).max()) < 60 and pixel[1] > 100 for pixel in bar]
    assert green == [False] * 3 + [True] * 8


def test_the_policy_sees_padded_observations_its_task_and_the_goals_in_turn(tmp_path: Path) -> None:
    stage, _ = stage_of()
    policy = Watcher()
    film(policy, stage, tmp_path, only=["dark"], episodes=3, first_goal=1)
    assert policy.begun == 3
    assert [seen for seen, _, _ in policy.seen] == [[goal, 0.0, 0.0] for goal in (2.0, 1.0, 2.0) for _ in range(10)]
    assert {(task_id, mode) for _, task_id, mode in policy.seen} == {(0, True)}
    film(policy := Watcher(), stage, tmp_path, only=["light"])
    assert policy.seen[0] == ([11.0, 11.0, 11.0], 1, True)


@pytest.mark.parametrize(
    ("image", "part"),
    [
        (AttributeError("'NoneType' object has no attribute 'eglQueryString'"), "MUJOCO_GL=egl"),
        (RuntimeError(""), "cannot be drawn (RuntimeError)"),
        (UserError("task 'dark' has no camera: add one"), "task 'dark' has no camera: add one"),
        (None, "render_mode='rgb_array'"),
        (np.zeros((8, 8), np.uint8), "render_mode='rgb_array'"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line_and_leaves_nothing(image: Any, part: str, tmp_path: Path) -> None:
    stage, envs = stage_of(dark=image)
    with pytest.raises(UserError) as caught:
        film(Watcher(), stage, tmp_path)
    assert part in str(caught.value) and "'dark'" in str(caught.value) and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert envs["dark"].closed


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    stage, _ = stage_of()
    with pytest.raises(UserError, match="unknown task 'drak': did you mean dark"):
        film(Watcher(), stage, tmp_path, only=["drak"])
    with pytest.raises(UserError, match="0 episodes"):
        film(Watcher(), stage, tmp_path, episodes=0)


def test_the_agent_of_a_run_can_be_filmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = TASKS.get("reach-v3").make(True)
    try:
        env.reset(seed=0)
        image = env.render()
    except UserError as error:
        pytest.skip(str(error))
    finally:
        env.close()
    assert isinstance(image, np.ndarray) and image.std() > 10
    run = tmp_path / "run"
    config = make_config("reach-v3", "zero", run_folder=str(run), workers=1, evaluation={"final": False})
    train(config)
    capsys.readouterr()
    assert main(["video", str(run), "--tasks", "reach-v3", "--every", "250"]) == 0
    assert capsys.readouterr().out == f"{run / 'videos' / 'reach-v3.mp4'}\n"
    frames = imageio.imread(run / "videos" / "reach-v3.mp4")
    assert frames.shape[0] == 3 and frames.std() > 10
