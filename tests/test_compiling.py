"""Compiled updates equal plain ones within rounding, and are compiled once."""

import dataclasses
import shutil

import pytest
import torch
from agent_toys import batch_of, problem
from pair_probe import batch, pair_agent
from torch._dynamo.utils import counters

from mtrl.agents.sac import SAC
from mtrl.algorithm import AGENTS
from mtrl.compiling import compiled
from mtrl.parts.combiner import COMBINERS
from mtrl.parts.critic import CRITICS
from mtrl.parts.network import NETWORKS

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
EQUAL = 1e-4
"""Largest difference after three updates, for numbers of size 1."""
ALL = [
    {kind: name}
    for kind, registry in (("network", NETWORKS), ("critic", CRITICS), ("combiner", COMBINERS))
    for name in registry
]


def difference(one, other):
    return max(float(((one[name] - other[name]).abs() / (1.0 + one[name].abs())).max()) for name in one)


def compare(updates, **parts):
    torch._dynamo.reset()
    counters.clear()
    plain, fast = pair_agent(**parts), pair_agent(**parts)
    fast.compile()
    generator = torch.Generator().manual_seed(0)
    for number in range(updates):
        given = batch(generator)
        reports = plain.update(given), fast.update(given)
        if number < 3:
            assert difference(*reports) < EQUAL
            assert difference(plain.weights(), fast.weights()) < EQUAL
            graphs = counters["stats"]["unique_graphs"]
    assert counters["stats"]["unique_graphs"] == graphs  # none since the third update
    resumed = pair_agent(**parts)
    resumed.compile()
    resumed.load_weights(fast.weights())
    resumed.set_state(fast.get_state())
    given = batch(generator)
    assert difference(fast.update(given), resumed.update(given)) < EQUAL
    return graphs


def test_compiled_updates_equal_plain_ones_and_are_compiled_once():
    assert compare(10, network="multi_head", critic="popart", combiner="pcgrad") <= 8


@pytest.mark.slow
@pytest.mark.parametrize("parts", ALL, ids=lambda parts: "-".join(parts.values()))
def test_compiled_updates_equal_plain_ones_for_every_part(parts):
    assert compare(50, **parts) <= 10


def test_an_update_of_fast_compiled_equals_the_plain_one():
    defaults = AGENTS.get("fast").defaults.algorithm
    config = dataclasses.replace(defaults, batch_per_task=32, precision="float32")
    agents = [SAC(config, problem(3)) for _ in range(2)]
    agents[1].compile()
    for seed in range(2):
        given = batch_of(problem(3), 32, seed)
        reports = [agent.update(given) for agent in agents]
        assert difference(*reports) < EQUAL
    assert difference(*(agent.weights() for agent in agents)) < EQUAL


def test_what_is_compiled_counts_for_itself(monkeypatch):
    monkeypatch.setattr("mtrl.compiling.VARIANTS", 2)

    def double(x):
        return 2.0 * x

    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(2):
            fast = compiled(double, "doubling")
            for size in (3, 4):
                assert fast(torch.ones(size)).tolist() == [2.0] * size
    assert counters["stats"]["unique_graphs"] == 4
    assert not counters["recompile_limit"] and not counters["unimplemented"]
