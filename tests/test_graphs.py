"""Recorded updates equal plain ones bit by bit, for every part: what CUDA graphs need, shown on the CPU."""

import pytest
import torch
from operations import record_operations
from pair_probe import CPU, LAST, TASKS, batch, pair_agent

from mtrl.algorithm import Step
from mtrl.graphs import Recorded
from mtrl.parts.combiner import COMBINERS
from mtrl.parts.critic import CRITICS
from mtrl.parts.network import NETWORKS
from mtrl.parts.scale import SCALES, ScaleConfig


class Replay:
    def mean_reward(self):
        return torch.tensor([0.5, 2.0])


def step(number):
    """Both tasks in two worlds each, whose episodes are three steps long."""
    generator = torch.Generator().manual_seed(number)
    rows = 2 * TASKS
    ended = torch.full((rows,), number % 3 == 2)
    numbers = (torch.rand(rows, width, generator=generator) for width in (len(LAST), 1))
    return Step(*numbers, torch.rand(rows, generator=generator), ended, ended, torch.arange(TASKS).repeat_interleave(2))


def run(agent, first, last):
    generator, reports = torch.Generator().manual_seed(first), []
    for number in range(first, last):
        agent.observe(step(number))
        agent.begin_updates(number, Replay())
        reports.append(agent.update(batch(generator)))
    return reports


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name], rtol=0, atol=0, equal_nan=True, msg=lambda text, n=name: n + text
        )


def compare(updates=9, **choices):
    agents = [pair_agent(**choices, anneal_after=2, anneal_updates=20) for _ in range(2)]
    agents[1].record(record_operations)
    plain, recorded = (run(agent, 0, updates) for agent in agents)
    replayable = all(combiner.replayable for combiner in agents[1].combiners.values())
    assert (agents[1]._recorded is not None and not agents[1]._recorded.fault) == replayable
    for one, other in zip(plain, recorded, strict=True):
        assert_equal(one, other)
    assert_equal(agents[0].weights(), agents[1].weights())
    return agents


@pytest.mark.parametrize("name", list(NETWORKS))
def test_recorded_updates_equal_plain_ones_for_every_network(name):
    compare(network=name)


@pytest.mark.parametrize("name", list(CRITICS))
def test_recorded_updates_equal_plain_ones_for_every_critic(name):
    compare(critic=name)


@pytest.mark.parametrize("name", list(COMBINERS))
def test_recorded_updates_equal_plain_ones_for_every_combiner(name):
    compare(combiner=name)


@pytest.mark.parametrize("name", list(SCALES))
def test_recorded_updates_equal_plain_ones_for_every_scale(name):
    compare(scale=ScaleConfig().renamed(name))


def test_recordings_are_made_anew_after_resets_and_restarts():
    changes = {"critic": "popart", "reset_every": 6, "loss_limit": 1.5, "weight_decay": 0.1}
    plain, recorded = compare(20, **changes)
    assert plain._resets == 3
    assert recorded._recorded._calls == 2  # since the reset before update 18
    restarted = pair_agent(**changes, anneal_after=2, anneal_updates=20)
    run(restarted, 0, 5)
    restarted.record(record_operations)
    run(restarted, 0, 5)  # recorded with what is then replaced
    restarted.load_weights(plain.weights())
    restarted.set_state(plain.get_state())
    for one, other in zip(run(plain, 20, 30), run(restarted, 20, 30), strict=True):
        assert_equal(one, other)
    assert restarted._recorded.recorded


def test_what_a_recorded_call_gives_is_the_callers_to_keep():
    recorded = Recorded("doubling", lambda x: {"y": 2 * x["x"]}, [], record_operations)
    results = [recorded({"x": torch.full((2,), float(number))})["y"] for number in range(7)]
    assert recorded.recorded
    assert [result.tolist() for result in results] == [[2.0 * number] * 2 for number in range(7)]


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(capsys):
    def refuse(work, generators):
        work()
        raise RuntimeError("capture\n  failed")

    recorded = Recorded("doubling", lambda x: {"y": 2 * x["x"]}, [], refuse)
    results = [recorded({"x": torch.full((1,), float(number))})["y"].item() for number in range(6)]
    assert results == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert (recorded.fault, recorded.recorded) == ("capture failed", False)
    assert capsys.readouterr().err.count("doubling could not be recorded") == 1


def test_the_stand_in_for_graphs_shows_what_graphs_get_wrong():
    """A number of the host that changes stays as it was at the recording."""
    count = [0]

    def counting(inputs):
        count[0] += 1
        return {"y": inputs["x"] * count[0]}

    recorded = Recorded("counting", counting, [], record_operations)
    results = [recorded({"x": torch.ones(1)})["y"].item() for _ in range(7)]
    assert results == [1.0, 2.0, 3.0, 4.0, 4.0, 4.0, 4.0]


def test_only_cuda_is_recorded_where_no_recorder_is_given():
    agent = pair_agent()
    agent.record()
    assert agent.problem.device == CPU
    assert agent._recorded is None
