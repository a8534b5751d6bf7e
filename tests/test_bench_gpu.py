"""The pieces of experiments/bench_gpu.py, in a form small enough for any machine."""

import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("mujoco_warp")

import gpu_checks
import gpu_kernels
import gpu_measure
import warp
from gpu_cases import Case, PolicyLoop, expert_actions, play_experts, random_actions
from gpu_page import draw, page
from gpu_plan import GPU, QUICK
from gpu_work import Bench

from mtrl.scenes.warp import kernels

CPU = torch.device("cpu")
REACH = Case("MT1 reach", 2, goals=2)
TIMING = gpu_measure.Timing(windows=2, seconds=0.0, steps=1, warm=1)
EXPERIMENTS = Path(__file__).parent.parent / "experiments"


@pytest.fixture(scope="module")
def env():
    built = REACH.build(CPU)
    yield built
    built.close()


def policy(env, storage="replay"):
    return PolicyLoop(env, REACH.reset(env, random_progress=True), storage)


@pytest.mark.parametrize("storage", ["replay", "rollout"])
def test_a_policy_with_storage_is_timed(env, storage):
    loop = policy(env, storage)
    found = gpu_measure.speed(loop, env, TIMING)
    assert 0 < found["low"] <= found["median"] <= found["high"]
    assert found["ms"] == pytest.approx(1e3 * env.num_envs / found["median"])
    stored = loop._replay.steps if storage == "replay" else loop._rollout._filled
    assert stored == 1 + 2 + 2 * found["window_steps"], "warm-up, a look, and two windows"


def test_parts_add_up_to_the_whole(env):
    loop = policy(env)
    loop()
    kept = env._control, list(env._engine._advance)
    parts = gpu_measure.breakdown(env, loop, 2)
    whole = parts.pop("whole")
    assert {"controls", "policy", "storage", "judgement", "placing", "physics of reach-v3"} <= set(parts)
    assert sum(parts.values()) == pytest.approx(whole)
    assert (env._control, env._engine._advance) == kept, "everything is put back"


def test_all_stages_of_the_physics_are_timed_and_the_state_is_kept(env):
    REACH.reset(env)
    before = env._engine.get_state()
    found = gpu_measure.stages(env, 1)
    assert set(found) == set(gpu_measure.STAGES) and min(found.values()) >= 0
    assert found["solver"] > 0 and found["collision"] > 0 and found["integration"] > 0
    for one, other in zip(before, env._engine.get_state(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_launches_are_counted_as_recorded(env):
    row = gpu_measure.launches(env)[0]
    assert row["group"] == "reach-v3" and 300 < row["launches"] < 1500


def test_experts_play_the_goals_that_worlds_have(env):
    played = play_experts("MT1 reach", 2, keep=(3,), steps=8)
    assert played.actions.shape == (1, 2, 8, 4) and played.steps == (3,)
    REACH.reset(env, goals=2)
    seen, step = [], env.step
    env.step = lambda actions: seen.append(actions.clone())
    try:
        loop = expert_actions(env, REACH, played)
        for _ in range(12):
            loop()
    finally:
        env.step = step
    # Both worlds are of the first phase: actions one after the other, then the last again and again.
    for number, actions in enumerate(seen):
        for world in range(2):
            assert torch.equal(actions[world], torch.from_numpy(played.actions[0, world, min(number, 7)]))


def test_worlds_begin_in_different_phases():
    case, sent = replace(REACH, worlds=6), []

    class Recorder:
        num_envs, device = 6, CPU
        step = staticmethod(lambda actions: sent.append(actions.clone()))

    played = play_experts("MT1 reach", 2, keep=(3,), steps=8)
    loop = expert_actions(Recorder(), case, played)
    for _ in range(3):
        loop()
    assert torch.equal(sent[0][2:], torch.zeros(4, 4)), "those of later phases rest"
    assert torch.equal(sent[2][4:], torch.from_numpy(played.actions[0, :, 0])), "and begin then"


def test_one_step_agrees_with_the_native_engine_and_a_wrong_one_is_found():
    played = play_experts("MT1 reach", 2, keep=(3,), steps=8)
    own, native = gpu_checks.one_steps(REACH, played, CPU)
    assert own.shape == native.shape == (2, 2, 39)
    assert gpu_checks.compared("one step", REACH, own, native)["holds"]
    assert not gpu_checks.compared("one step", REACH, own + 1e-2, native)["holds"]


def test_geometry_is_compared_with_the_bank():
    found = gpu_checks.geometry(REACH, CPU)
    assert found["holds"] and found["says"].startswith("2 starts")


@pytest.mark.parametrize("name", ["broken_world", "too_little_room", "replayed"])
def test_faults_are_found(name):
    assert getattr(gpu_checks, name)(REACH, CPU)["holds"]


def test_a_recording_that_fails_is_named():
    assert gpu_checks.failed_recording(REACH, CPU)["holds"]


def test_memory_is_watched(env):
    REACH.reset(env)
    assert gpu_checks.recorded(env)["holds"]
    assert gpu_checks.constant_memory(env, random_actions(env), 2)["holds"]


def test_what_goes_wrong_is_kept_and_the_rest_goes_on(tmp_path):
    bench = Bench(CPU, QUICK, 3600.0, tmp_path / "page.md")

    def fail():
        raise ValueError("this way\nnot")

    bench.do("first", fail)
    bench.do("second", lambda: bench.note("checks", gpu_checks.check("one", True, "fine")))
    bench.seconds = 0.0
    bench.do("third", fail)
    kept = json.loads((tmp_path / "page.json").read_text())
    assert kept["errors"] == ["first: ValueError: this way not"]
    assert kept["checks"][0]["holds"] and kept["skipped"] == ["third"]
    text = (tmp_path / "page.md").read_text()
    assert "- first: ValueError" in text and "| one | yes | fine |" in text


def results(device="cuda"):
    speeds = [
        {
            **{"suite": suite, "worlds": worlds, "grouping": grouping, "models": 7, "streams": streams},
            **{"actions": "policy and replay", "median": 30.0 * worlds, "low": 1.0, "high": 2.0, "ms": 3.0},
        }
        for suite in ("MT10", "MT50")
        for worlds in (64, 8150)
        for grouping in ("layout", "scene")
        for streams in (1, 7)
    ]
    parts = {"physics of a": 6.0, "physics of b": 2.0, "policy": 1.0, "whole": 10.0}
    what = {"suite": "MT10", "worlds": 8150, "grouping": "layout"}
    return {
        "about": {"device": device, "command": "c", "gpu": "A <GPU>"},
        "speeds": speeds,
        "parts": [{**what, "ms": parts}],
        "stages": [{**what, "ms": {"collision": 3.0, "solver": 1.0}}],
    }


def test_the_page_says_what_was_measured_and_what_bounds_it():
    text = page(results(), "benchmark-gpu")
    assert "| MT50 | 150,000 | 400,000 | **244,500** |" in text
    assert "of which physics 80%; the largest parts are physics of a 60%, physics of b 20%, policy 10%." in text
    assert "collision 75%, solver 25%" in text
    assert "No figure of a GPU" not in text


def test_the_page_of_a_cpu_gives_no_figure_for_the_targets():
    text = page(results("cpu"), "benchmark-gpu")
    assert "No figure of a GPU has been measured yet" in text and "| MT50 | 150,000 | 400,000 | not measured |" in text


def test_a_page_can_be_made_of_nothing():
    assert page({}, "benchmark-gpu").startswith("# The warp engine on a GPU")
    assert draw({}).startswith("<svg")


def test_the_plot_has_a_line_for_each_suite_and_grouping():
    text = draw(results())
    names = [f"{suite}, {grouping}" for suite in ("MT10", "MT50") for grouping in ("layout", "scene")]
    assert all(name in text for name in names) and text.count("<circle") == 8
    assert "A &lt;GPU&gt;" in text


def test_what_matters_most_comes_first():
    cases = GPU.curve
    assert [(case.suite, case.worlds, case.grouping) for case in cases[:2]] == [
        ("MT50", 8192, "topology"),
        ("MT50", 8192, "scene"),
    ]
    assert len(set(cases)) == len(cases) and {case.worlds for case in cases} == {64, 512, 2048, 8192, 24_576}


def test_a_checkout_needs_no_installation(tmp_path):
    code = "import checkout, mtrl.envs.suites, mtrl.agents; print(mtrl.__file__)"
    # Folders named like this are searched, but what they say of installed checkouts is not read.
    path = os.pathsep.join([str(EXPERIMENTS), sysconfig.get_path("purelib")])
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).parent == EXPERIMENTS.parent / "mtrl"


def test_the_kernels_of_a_gpu_are_listed_without_one():
    launch = warp.launch
    found = gpu_kernels.wanted([replace(REACH, goals=1)])
    names = {module.name for module, _ in found}
    assert "mtrl.scenes.warp.kernels" in names and any("ccd_kernel" in name for name in names)
    assert {threads for _, threads in found} > {256}, "as many threads as a GPU gets, some kernels others"
    assert all(module.get_module_hash(threads) == known for (module, threads), known in found.items())
    assert warp.launch is launch and gpu_kernels.WarpProgram.record.__name__ == "record"


def test_models_of_one_scene_are_listed_once():
    cases = [replace(REACH, grouping=grouping, worlds=worlds) for grouping in ("scene", "layout") for worlds in (2, 9)]
    assert [(case.grouping, case.worlds) for case in gpu_kernels.distinct(cases)] == [
        ("scene", 2),
        ("layout", 2),
        ("layout", 9),
    ]
    planned = gpu_kernels.distinct(GPU.cases)
    assert {case.suite for case in planned} == {"MT10", "MT50", *GPU.singles}


def test_our_kernels_compile_for_a_gpu(tmp_path):
    [binary] = warp.compile_aot_module(kernels, arch=90, module_dir=tmp_path, use_ptx=False)
    assert binary.stat().st_size > 0
