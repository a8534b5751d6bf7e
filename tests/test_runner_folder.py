"""Run folders: what is written, when, and what is refused."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from runner_toys import TASK_NAMES, InlineVectorEnv, ToyAgent, sample_points, tiny_config

import mtrl.api
from mtrl.config import CheckpointConfig, EvaluationConfig, TrackingConfig
from mtrl.errors import UserError
from mtrl.run_folder import RunFolder, default_run_folder, read_jsonl, write_atomically
from mtrl.runner import load_policy


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return mtrl.api.train(tiny_config(folder))


def test_what_a_run_leaves(finished):
    names = {path.name for path in finished.path.iterdir()}
    assert names == {
        "config.json",
        "goals.json",
        "metrics.jsonl",
        "eval.jsonl",
        "checkpoints",
        "replay",
        "DONE",
        "run.lock",
    }
    document = json.loads(finished.folder.config.read_text())
    assert document["config"]["agent"] == document["agent"] == "toy"
    assert document["config"]["algorithm"] == {"learning_rate": 0.01, "batch_per_task": 4}
    assert document["suite"]["train_tasks"] == list(TASK_NAMES)
    assert document["versions"]["torch"] == torch.__version__
    assert document["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert document["hardware"]["cores"] >= 1
    assert document["parameters"] == {"actor": 2 * 3 * 6}
    done = json.loads(finished.folder.done.read_text())
    assert all(done[name] > 0 for name in ("setup_s", "wall_s", "cpu_s", "evaluation_s"))
    assert done["steps_per_task"] == 80 and done["env_step"] == 160 and done["updates"] == 15


def test_goals_are_those_of_the_goal_seed_and_disjoint(finished):
    goals = json.loads(finished.folder.goals.read_text())
    assert goals["goal_seed"] == 42
    expected = sample_points(10, 42)  # training goals, then held-out ones
    for task in TASK_NAMES:
        np.testing.assert_array_equal(goals["train"][task], expected[:5])
        np.testing.assert_array_equal(goals["heldout"][task], expected[5:])


def test_metrics_count_steps_and_updates(finished):
    lines = finished.metrics()
    assert [line["steps_per_task"] for line in lines] == list(range(10, 81, 10))
    assert [line["env_step"] for line in lines] == list(range(20, 161, 20))
    # 2 slots: step 10 is the first after a warm-up of 20; then half an update a vector step
    assert [line["updates"] for line in lines] == [0, 0, 2, 5, 7, 10, 12, 15]
    assert lines[0]["train/success"] is None  # no episode is over
    last = lines[-1]
    assert last["train/return"] == pytest.approx(np.mean([last[f"train/return/{task}"] for task in TASK_NAMES]))
    assert last["loss/actor"] == pytest.approx(np.mean([last[f"loss/actor/{task}"] for task in TASK_NAMES]))
    assert last["speed/env_steps_per_s"] > 0 and last["wall_s"] > lines[0]["wall_s"]


def test_evaluations_play_some_goals_midway_and_all_at_the_end(finished):
    midway, final = finished.evaluations()[:2]
    assert midway["label"] == "A-eval (2 of 5 goals), 40 steps/task" and not midway["final"]
    assert final["label"] == "A-eval, 80 steps/task" and final["final"]
    assert len(midway["episodes"]) == 4 and len(final["episodes"]) == 10


def test_a_loaded_policy_acts_like_the_trained_one(finished):
    final = next(line for line in finished.evaluations() if line["final"])
    result = finished.evaluate(slots_per_task=1)
    assert result.summary == final["summary"]


def test_evaluations_of_a_finished_run_are_added_once(finished):
    before = len(finished.evaluations())
    result = finished.evaluate(goals="heldout")
    finished.evaluate(goals="heldout")
    finished.evaluate(goals="heldout", count=2)  # not the protocol: not recorded
    lines = finished.evaluations()
    assert len(lines) == before + 1
    assert lines[-1]["protocol"] == "A-heldout" and lines[-1]["label"] == "A-heldout, 80 steps/task"
    assert lines[-1]["summary"]["return"] == result.mean_return


def test_a_finished_run_says_so_and_is_left_alone(finished, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.name != "run.lock"}
    assert mtrl.api.train(tiny_config(finished.path)) == finished
    assert finished.resume() == finished
    assert capsys.readouterr().out.count("finished already") == 2
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.name != "run.lock"} == before


def test_another_configuration_is_refused_by_name(finished):
    changed = tiny_config(finished.path, seed=3, evaluation=EvaluationConfig(every=20, goals=2))
    with pytest.raises(UserError) as error:
        mtrl.api.train(changed)
    message = str(error.value)
    assert "seed (there 0, asked 3)" in message and "evaluation.every (there 40, asked 20)" in message
    assert "--run-folder" in message and f"mtrl resume {finished.path}" in message and "\n" not in message
    assert "warmup" not in message


def test_what_does_not_touch_learning_may_change(finished):
    changed = tiny_config(finished.path, workers=3, checkpoint=CheckpointConfig(every=7))
    assert mtrl.api.train(changed).finished


def test_a_folder_with_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("dear reader")
    with pytest.raises(UserError, match=r"holds no run \(thesis.tex is there\)"):
        mtrl.api.train(tiny_config(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot use run folder"):
        mtrl.api.train(tiny_config(tmp_path / "file"))


@pytest.mark.parametrize("command", [mtrl.api.resume, mtrl.api.evaluate, load_policy])
def test_a_folder_without_a_run_is_refused(tmp_path, command):
    with pytest.raises(UserError, match="no run at"):
        command(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": 3}', '{"config": {"agent": "toy", "seed": "x"}}'])
def test_a_damaged_configuration_is_an_error(tmp_path, text):
    run = mtrl.api.train(tiny_config(tmp_path / "run", steps_per_task=10, warmup_steps=4))
    run.folder.config.write_text(text)
    with pytest.raises(UserError):
        run.resume()


def test_damaged_goals_are_an_error(tmp_path):
    run = mtrl.api.train(tiny_config(tmp_path / "run", steps_per_task=10, warmup_steps=4))
    for text in ("{", '{"train": {}}', '{"train": {"dot-a-v0": [], "dot-b-v0": []}}'):
        run.folder.goals.write_text(text)
        with pytest.raises(UserError, match=r"goals.json is damaged"):
            run.evaluate()


def hold(path, holding, release):
    with RunFolder(Path(path)).lock():
        holding.set()
        release.wait(60)


def test_two_live_processes_cannot_train_in_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    holding, release = context.Event(), context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), holding, release))
    other.start()
    assert holding.wait(60)
    with pytest.raises(UserError, match=f"in use by process {other.pid}"):
        mtrl.api.train(tiny_config(tmp_path))
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    assert mtrl.api.train(tiny_config(tmp_path, steps_per_task=10, warmup_steps=4)).finished  # the lock died with it


def test_configuration_and_goals_are_there_before_anything_runs(tmp_path, monkeypatch):
    seen = []

    def reset(self, **keywords):
        seen.append({path.name for path in (tmp_path / "run").iterdir()})
        raise UserError("stop")

    monkeypatch.setattr(InlineVectorEnv, "reset", reset)
    with pytest.raises(UserError, match="stop"):
        mtrl.api.train(tiny_config(tmp_path / "run"))
    assert {"config.json", "goals.json"} <= seen[0]
    monkeypatch.undo()
    (tmp_path / "run" / "goals.json").unlink()  # as a kill between the two would leave it
    assert mtrl.api.train(tiny_config(tmp_path / "run", steps_per_task=80)).finished


def test_a_diverging_agent_is_stopped_and_its_last_checkpoint_kept(tmp_path, monkeypatch):
    original, count = ToyAgent.update, [0]

    def update(self, batch):
        count[0] += 1
        metrics = original(self, batch)
        return metrics | ({"loss/actor": metrics["loss/actor"] * float("nan")} if count[0] > 8 else {})

    monkeypatch.setattr(ToyAgent, "update", update)
    with pytest.raises(UserError, match=r"diverged by step 60 of each task \(loss/actor/dot-b-v0 is nan\): lower"):
        mtrl.api.train(tiny_config(tmp_path / "run"))
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]["loss/actor"] is None
    assert (tmp_path / "run" / "checkpoints" / "latest").read_text() == "step-000000000080\n"


@pytest.mark.parametrize("agent", ["zero", "random", "repeat"])
def test_fixed_policies_are_runs_without_training(tmp_path, agent):
    tiny_config(tmp_path)
    run = mtrl.api.train("dot-suite", agent=agent, run_folder=str(tmp_path / agent))
    (line,) = run.evaluations()
    assert line["label"] == "A-eval, 0 steps/task" and line["final"] and len(line["episodes"]) == 10
    assert run.finished and not run.folder.checkpoints.exists()
    assert run.evaluate().summary == line["summary"]
    assert mtrl.api.evaluate(suite="dot-suite", agent=agent).summary == line["summary"]


def test_trained_agents_are_not_evaluated_without_a_run(tmp_path):
    tiny_config(tmp_path)
    with pytest.raises(UserError, match="must be trained first"):
        mtrl.api.evaluate(suite="dot-suite", agent="toy")


def test_options_of_the_python_interface(tmp_path):
    tiny_config(tmp_path)
    options = {"steps_per_task": 10, "warmup_steps": 4, "run_folder": str(tmp_path / "a"), "tracking": {"log_every": 5}}
    run = mtrl.api.train("dot-suite", agent="toy", algorithm={"learning_rate": 1}, **options)
    assert run.config.tracking.log_every == 5 and run.config.algorithm.learning_rate == 1
    assert len(run.metrics()) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_per_task": 5}, "did you mean steps_per_task"),
        ({"steps_per_task": "many"}, "'steps_per_task' is 'many': give int"),
        ({"steps_per_task": True}, "'steps_per_task' is True"),
        ({"algorithm": {"learning_rat": 5}}, "did you mean learning_rate"),
        ({"algorithm": 5}, "give a dict"),
        ({"tracking": {"wandb": "yes"}}, "one of 'auto', 'online', 'offline', 'off'"),
        ({"slots_per_task": 0}, "--slots-per-task 0 is impossible"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"device": "tpu"}, "unknown device"),
        ({"engine": "inlin"}, "did you mean inline"),
    ],
)
def test_wrong_options_have_one_clear_line(tmp_path, options, message):
    tiny_config(tmp_path)
    with pytest.raises(UserError, match=message) as error:
        mtrl.api.train("dot-suite", agent="toy", run_folder=str(tmp_path / "run"), **options)
    assert "\n" not in str(error.value)


def test_fewer_steps_than_there_were_are_refused(finished):
    with pytest.raises(UserError, match="less than the 80"):
        finished.resume(steps_per_task=40)


def test_test_tasks_need_a_suite_that_has_them(finished):
    with pytest.raises(UserError, match="no tasks that are kept from training"):
        finished.evaluate(goals="test")
    with pytest.raises(UserError, match="unknown goals"):
        finished.evaluate(goals="all")


@pytest.mark.parametrize(
    ("suite", "folder"),
    [
        ("MT3", "runs/MT3/zero/seed-2"),
        ("ML1:reach-v3", "runs/ML1-reach-v3/zero/seed-2"),
        ("a-v3,b-v3", "runs/a-v3+b-v3/zero/seed-2"),
    ],
)
def test_default_folders(suite, folder):
    assert default_run_folder(suite, "zero", 2) == Path(folder)


def test_long_lists_of_tasks_have_distinct_short_folders():
    one, other = (default_run_folder(",".join(["task-v3"] * 30 + [last]), "zero", 0) for last in ("a", "b"))
    assert one != other and len(one.parts[1]) <= 80


def test_an_atomic_write_leaves_the_old_content_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, lambda *a: (_ for _ in ()).throw(OSError(28, "full")))
            with pytest.raises(OSError):
                write_atomically(path, b"new")
        assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_plain_progress_lines_hold_what_people_look_for(tmp_path, capsys):
    mtrl.api.train(replace(tiny_config(tmp_path / "run"), tracking=TrackingConfig(log_every=40)))
    line = next(line for line in capsys.readouterr().out.splitlines() if "40/80 steps/task" in line)
    for part in ("steps/s", "updates/s", "ETA 0:00:", "success 0.", "return -"):
        assert part in line


def test_progress_is_a_bar_on_a_terminal(tmp_path):
    script = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path; from runner_toys import tiny_config; import mtrl.api\n"
        f"mtrl.api.train(tiny_config(Path({str(tmp_path / 'run')!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "dot-suite toy seed 0: 100%" in done.stdout and "updates/s" in done.stdout
