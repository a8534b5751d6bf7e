"""The on-policy loop: what is learned from when, going on exactly, and not waiting for the device."""

import dataclasses
import io

import pytest
import torch
from agent_toys import CPU
from no_sync import no_sync
from operations import record_operations
from runner_toys import tensors_differ, tiny_config, without_clock
from test_no_sync import EVERY, DeviceEnv
from test_ppo import agent_of, config, rolled_out

import mtrl
from mtrl.agents.ppo import PPO
from mtrl.algorithm import AGENTS, AgentPreset, Problem
from mtrl.checkpoint import find_checkpoint
from mtrl.config import RunConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.scale import ScaleConfig
from mtrl.runner.on_policy import Lessons, OnPolicyLoop

FULL = {
    "overlap": True,
    "value": CriticConfig().renamed("popart"),
    "scale": ScaleConfig().renamed("return_deviation"),
    "normalize_obs": True,
    "normalize_obs_steps": 30,
    "target_kl": 0.01,
    "final_learning_rate": 0.5,
    "focus_floor": 0.3,
}


def test_every_row_is_learned_from_once_an_epoch():
    lessons = Lessons(epochs=3, parts=4, seed=0, device=CPU)
    lessons.begin({"x": torch.arange(24.0).view(2, 12)})
    orders = []
    for _ in range(3):
        parts = torch.cat([lessons.next()["x"] for _ in range(4)], dim=1)
        assert torch.equal(parts.sort(dim=1).values, torch.arange(24.0).view(2, 12))
        orders.append(parts)
    assert lessons.made == lessons.total == 12
    assert not torch.equal(orders[0], orders[1]) and not torch.equal(orders[0][0], orders[0][1] - 12)


def loop_of(seed=0, warmup=0, **changes):
    env = DeviceEnv()
    settings = config(rollout_steps=8, minibatches=2, epochs=3, **changes)
    names = tuple(task.name for task in env.tasks)
    agent = PPO(settings, Problem(names, env.obs_mask, env.action_mask, CPU, seed))
    loop = OnPolicyLoop(agent, env, RunConfig(warmup_steps=warmup, steps_per_task=300, seed=seed))
    loop.start()
    return loop


def run(loop, steps):
    """Updates made before each of so many steps began."""
    made = []
    for _ in range(steps):
        loop.advance()
        made.append(loop.updates)
    return made


def test_updates_come_between_rollouts():
    assert run(loop_of(), 17) == [0] * 7 + [6] * 8 + [12, 12]


def test_overlapping_updates_are_spread_over_the_next_rollout():
    assert run(loop_of(overlap=True), 24) == [0] * 8 + [0, 1, 2, 3, 3, 4, 5, 6] + [6, 7, 8, 9, 9, 10, 11, 12]


def test_nothing_is_learned_during_warm_up():
    loop = loop_of(warmup=50)  # of 3 worlds a task: 17 steps, so the third rollout is the first to be learned from
    assert run(loop, 24)[-2:] == [0, 6]


@pytest.mark.parametrize("cut", [3, 8, 13, 20])
@pytest.mark.parametrize("changes", [{}, FULL], ids=["plain", "full"])
def test_the_loop_goes_on_exactly(cut, changes):
    whole, first, second = (loop_of(**changes) for _ in range(3))
    run(whole, 40)
    run(first, cut)
    file = io.BytesIO()
    torch.save({"state": first.get_state(), "weights": first.algorithm.weights()}, file)
    run(first, 5)  # what was saved is not touched by what comes after
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second.algorithm.load_weights(saved["weights"])
    second.set_state(saved["state"])
    run(second, 40 - cut)
    assert tensors_differ(whole.algorithm.weights(), second.algorithm.weights()) == ""
    assert tensors_differ(whole.get_state(), second.get_state()) == ""


def register_tiny_ppo():
    """A small PPO on the toy tasks, once in a process."""
    if "tiny-ppo" not in AGENTS:
        settings = config(rollout_steps=6, **{**FULL, "final_learning_rate": 1.0})
        small = dataclasses.replace(AGENTS.get("toy").defaults, agent="tiny-ppo", algorithm=settings)
        AGENTS.register("tiny-ppo", AgentPreset("tiny-ppo", small, PPO, "none", "tests"), "small PPO")


def test_a_run_that_was_cut_short_ends_as_if_it_had_not_been(tmp_path, capsys):
    tiny_config(tmp_path)  # registers the toys
    register_tiny_ppo()
    whole = mtrl.train("dot-suite", "tiny-ppo", run_folder=str(tmp_path / "whole"), steps_per_task=100)
    short = mtrl.train("dot-suite", "tiny-ppo", run_folder=str(tmp_path / "short"), steps_per_task=50)
    longer = short.resume(100)
    assert not capsys.readouterr().err
    one, other = (find_checkpoint(run.folder, with_replay=False).weights() for run in (whole, longer))
    assert tensors_differ(one, other) == ""
    lines = [[without_clock(line) for line in run.metrics()] for run in (whole, longer)]
    assert lines[0] == lines[1] and len(lines[0]) == 10
    action = longer.policy().act(torch.zeros(2, 6), torch.tensor([0, 1]), mode=True)
    assert torch.equal(action, whole.policy().act(torch.zeros(2, 6), torch.tensor([0, 1]), mode=True))


@pytest.mark.parametrize("changes", [{}, FULL, {"baseline": "linear"}], ids=["plain", "full", "linear"])
def test_training_does_not_wait_for_the_device(changes):
    loop = loop_of(**changes)
    run(loop, 2 * EVERY)
    with no_sync():
        run(loop, EVERY - 1)


@pytest.mark.parametrize("changes", [{}, FULL, {"value_clip": 0.2}], ids=["plain", "full", "clipped"])
def test_recorded_updates_equal_plain_ones(changes):
    agents = [agent_of(**changes) for _ in range(2)]
    agents[1].record(record_operations)
    for agent in agents:
        for seed in range(2):
            rollout, last, _ = rolled_out(agent, seed)
            lessons = Lessons(2, 3, 0, CPU)
            lessons.begin(agent.digest(rollout, last, 0.5))
            for _ in range(6):
                agent.update(lessons.next())
    assert agents[1]._recorded.recorded and not agents[1]._recorded.fault
    assert tensors_differ(agents[0].weights(), agents[1].weights()) == ""
