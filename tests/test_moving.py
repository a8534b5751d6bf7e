"""A run goes on on another engine, or in other worlds: what is carried over, what begins anew, and what is said."""

import pytest
from runner_toys import tensors_differ, tiny_config, without_clock
from test_on_policy import register_tiny_ppo

import mtrl
from mtrl.checkpoint import find_checkpoint
from mtrl.errors import UserError
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.runner.on_policy import OnPolicyLoop

TINY = {
    "warmup_steps": 8,
    "device": "cpu",
    "workers": 1,
    "slots_per_task": 2,
    "algorithm": {"batch_per_task": 4, "actor": {"width": 8}, "critic": {"width": 8}},
    "replay": {"capacity_per_task": 200},
    "evaluation": {"every": 0, "final_goals": 1},
    "checkpoint": {"every": 10},
    "tracking": {"wandb": "off", "log_every": 10},
}


@pytest.fixture
def begun(tmp_path):
    """Runs of 40 steps a task in two worlds of each, equal ones."""
    tiny_config(tmp_path)
    register_tiny_ppo()

    def begin(agent, name):
        return mtrl.train(
            "dot-suite", agent, run_folder=str(tmp_path / name), steps_per_task=40, checkpoint={"every": 10}
        )

    return begin


def weights_of(run):
    return find_checkpoint(run.folder, with_replay=True).weights()


@pytest.mark.parametrize("agent", ["tiny", "tiny-ppo"])
def test_a_run_goes_on_in_more_worlds(begun, agent, capsys, monkeypatch):
    run = begun(agent, "run")
    before, seen = weights_of(run), {}
    kind = OnPolicyLoop if agent == "tiny-ppo" else OffPolicyLoop
    carry_over = kind.carry_over

    def watched(loop, state):
        carry_over(loop, state)
        weights = {name: value.clone() for name, value in loop.algorithm.weights().items()}
        seen.update(weights=weights, steps=loop.steps_per_task, env_step=loop.env_step)

    monkeypatch.setattr(kind, "carry_over", watched)
    capsys.readouterr()
    run.resume(80, worlds=10)
    said = capsys.readouterr().out
    assert "moved from InlineVectorEnv with 4 worlds on cpu to InlineVectorEnv with 10 worlds on cpu" in said
    assert ("the replay is filled again" in said) == (agent == "tiny")
    assert seen["steps"] == 40 and seen["env_step"] == 80
    assert tensors_differ(before, seen["weights"]) == ""
    assert run.config.slots_per_task == 5 and run.evaluations()[-1]["steps_per_task"] == 80
    assert [line["steps_per_task"] for line in run.metrics()] == list(range(10, 81, 10))
    assert tensors_differ(before, weights_of(run)) != ""


@pytest.mark.parametrize("agent", ["tiny", "tiny-ppo"])
def test_after_it_has_moved_it_goes_on_exactly(begun, agent):
    whole, cut = begun(agent, "whole"), begun(agent, "cut")
    whole.resume(100, worlds=10)
    cut.resume(70, worlds=10)
    cut.resume(100)
    assert tensors_differ(weights_of(whole), weights_of(cut)) == ""
    lines = [[without_clock(line) for line in run.metrics()] for run in (whole, cut)]
    assert lines[0] == lines[1]


def test_another_engine_with_as_many_worlds_keeps_the_replay(tmp_path, capsys):
    run = mtrl.train("reach-v3", "mtsac-small", run_folder=str(tmp_path / "run"), steps_per_task=40, **TINY)
    capsys.readouterr()
    run.resume(60, engine="official")
    said = capsys.readouterr().out
    assert "moved from SceneVectorEnv" in said and "normalisers, replay, counters are carried over" in said
    checkpoint = find_checkpoint(run.folder, with_replay=True)
    rows = list(checkpoint.segments(run.folder.replay))
    assert int(rows[-1]["start"] + rows[-1]["count"]) == 30  # of two worlds: 60 steps of the task
    assert int(rows[0]["start"]) == 0 and (rows[0]["end"][19] >= 0).all()  # where episodes were cut
    assert run.config.engine == "official"
    again = mtrl.resume(run.path, 64)
    assert again.evaluations()[-1]["steps_per_task"] == 64


def test_too_few_worlds_are_refused(begun):
    with pytest.raises(UserError, match="--worlds 1 is less than one for each task"):
        begun("tiny", "run").resume(80, worlds=1)


def test_without_a_change_nothing_moves(begun, capsys):
    run = begun("tiny", "run")
    capsys.readouterr()
    run.resume(60, worlds=4, device="cpu")
    assert "moved" not in capsys.readouterr().out


def test_trials_under_way_begin_anew_where_a_run_has_moved(tmp_path):
    small = {"batch_per_task": 8, "goals": 2, "context": 4, "actor": {"width": 8}, "critic": {"width": 8}}
    settings = {**TINY, "algorithm": small, "trial": {"episodes": 1, "judged": 1}, "updates_per_step": 0.01}
    settings["replay"] = {"capacity_per_task": 4000}
    length, cut = 500, 200
    folder = str(tmp_path / "run")
    run = mtrl.train("ML1:reach-v3", "pearl-small", run_folder=folder, steps_per_task=2 * cut, **settings)
    run.resume(2 * (cut + length), engine="official")
    index = find_checkpoint(run.folder, with_replay=True).state()["loop"]["index"]
    assert index["count"].sum() == 2
    held = index["length"] > 0
    held[-1] = False  # what belongs nowhere
    assert index["first"][held].tolist() == [cut] * 2 and index["length"][held].tolist() == [length] * 2
