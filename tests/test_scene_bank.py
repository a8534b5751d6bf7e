"""The reset bank, and what a user is told whose task on a scene cannot be used."""

import warnings

import numpy as np
import pytest
import scene_tasks
from scene_tasks import build, play

from mtrl.errors import UserError
from mtrl.scenes import bank
from mtrl.tasks import TASKS


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path))


@pytest.fixture
def roll():
    with scene_tasks.registered() as task:
        yield task


class TestBank:
    def starts(self):
        task = TASKS.get("reach-v3")
        return bank.load_snapshots([task.scene_task], [task.sample_goals(3, 0)])[0]

    def file(self, folder):
        return next(iter(folder.glob("reach-v3-*.npz")))

    def test_starts_are_kept_and_read_again(self, tmp_path, monkeypatch):
        first = self.starts()
        monkeypatch.setattr(bank, "make_snapshots", None)  # nothing is made a second time
        again = self.starts()
        for name, value in vars(first).items():
            np.testing.assert_array_equal(getattr(again, name), value)
        assert len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
    def test_a_damaged_file_is_made_anew_with_a_message(self, tmp_path, damage):
        first, path = self.starts(), self.file(tmp_path)
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 255
        path.write_bytes({"cut": content[:1000], "empty": b"", "other": b"text"}.get(damage, bytes(content)))
        with pytest.warns(UserWarning, match=r"reach-v3-.* are damaged and are made anew"):
            again = self.starts()
        np.testing.assert_array_equal(again.state, first.state)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.starts()

    def test_other_goals_have_another_file(self, tmp_path):
        self.starts()
        task = TASKS.get("reach-v3")
        bank.load_snapshots([task.scene_task], [task.sample_goals(3, 1)])
        assert len(list(tmp_path.glob("reach-v3-*.npz"))) == 2

    def test_a_folder_that_cannot_be_written_to_costs_time_alone(self, tmp_path, monkeypatch):
        blocked = tmp_path / "file"
        blocked.write_text("")
        monkeypatch.setenv("MTRL_CACHE", str(blocked))
        with pytest.warns(UserWarning, match="set MTRL_CACHE to another folder"):
            assert len(self.starts()) == 3


class TestMessages:
    def fails(self, match, **changes):
        scene_tasks.register("roll-bad", **changes)
        with pytest.raises(UserError, match=match):
            env = build(("roll-bad",), slots=2)
            env.reset()
            play(env, 1)

    @pytest.fixture(autouse=True)
    def clean(self, roll):
        yield

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"xml": "nowhere.xml"}, r"no MJCF file .*nowhere\.xml"),
            ({"xml": "<mujoco><bdy/></mujoco>"}, "the MJCF text cannot be read"),
            ({"views": scene_tasks.VIEWS | {"ball": scene_tasks.body_position("bal")}}, "no body 'bal'.*ball"),
            ({"reward": lambda situation, action: situation["ball"]}, r"`reward` gave shape \(2, 3\)"),
            ({"observe": lambda situation: situation["vx"]}, r"`observe` gave shape \(1,\)"),
            ({"success": lambda situation: situation["balll"]}, "neither a view nor a memory 'balll'"),
            ({"memory": {"distance": 2}}, "gave 1 numbers as 'distance', its rules take 2"),
            ({"start": lambda simulation, goals: simulation.set_joint("x", np.nan)}, "not finite"),
        ],
    )
    def test_a_task_that_cannot_be_used_is_explained(self, changes, match):
        self.fails(match, **changes)

    def test_tasks_without_a_scene_cannot_run_natively(self):
        from toy_envs import toy_task

        task = toy_task("plain")
        with pytest.raises(UserError, match="task 'plain' has no MuJoCo scene"):
            _ = task.scene_task
