"""Shared layers of networks: frozen, and taken over from another run."""

import pytest
import torch
from agent_toys import batch_of, problem
from runner_toys import TASK_NAMES, tiny_config
from test_networks_sharing import config_of, network_of

import mtrl.api
from mtrl.agents.networks.build import build_network
from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.errors import UserError
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.network import (
    AdapterConfig,
    NetworkShape,
)
from mtrl.runner import load_policy


@pytest.mark.parametrize("combiner", ["mean", "pcgrad"])
@pytest.mark.parametrize("adapters", [0, 2])
def test_frozen_layers_stay_and_the_rest_learns(combiner, adapters):
    network = config_of("front_ends", freeze_shared=True, adapters=AdapterConfig(adapters))
    choice = CombinerConfig().renamed(combiner)
    p = problem()
    agent = SAC(
        SACConfig(network, network, batch_per_task=8, weight_decay=0.1, actor_combiner=choice, critic_combiner=choice),
        p,
    )
    before = {name: value.clone() for name, value in agent.weights().items()}
    for seed in range(2):
        agent.update(batch_of(p, seed=seed))
    frozen = {name for name in before if ".shared." in name and "adapter" not in name}
    assert len(frozen) == 3 * 4
    for name, value in agent.weights().items():
        moved = not torch.equal(value, before[name])
        assert moved == (name not in frozen and name.split(".")[0] != "critic"), name
    counts = agent.parameter_counts()
    learned = sum(p.numel() for p in agent.actor.parameters() if p.requires_grad)
    assert counts["actor"] == learned < sum(p.numel() for p in agent.actor.parameters())


def test_a_network_without_anything_of_tasks_own_cannot_be_frozen():
    with pytest.raises(UserError, match=r"--algorithm\.actor\.freeze-shared leaves nothing to learn"):
        network_of("one_hot", freeze_shared=True)
    network_of("one_hot", freeze_shared=True, adapters=AdapterConfig(rank=1))


def sac_of(name, batch=4, **changes):
    network = config_of(name, width=8, depth=1, **changes)
    return SACConfig(network, network, batch_per_task=batch)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run with front ends on two toy tasks that differ in observation and action."""
    folder = tmp_path_factory.mktemp("runs") / "source"
    mtrl.api.train(tiny_config(folder, "tiny", steps_per_task=40, algorithm=sac_of("front_ends")))
    return folder


def test_shared_layers_of_a_run_go_to_another_suite_and_stay(source, tmp_path):
    algorithm = sac_of("front_ends", shared_from=str(source), freeze_shared=True)
    run = mtrl.api.train(
        tiny_config(tmp_path / "run", "tiny", suite=TASK_NAMES[0], steps_per_task=40, algorithm=algorithm)
    )
    theirs, ours = load_policy(source).weights(), load_policy(run.path).weights()
    shared = [name for name in ours if ".shared." in name]
    assert len(shared) == 3 * 2
    for name in shared:
        own = name.replace("target_critics", "critics")
        assert torch.equal(ours[name], theirs[own]), name
    assert ours["actor.heads.weight"].shape != theirs["actor.heads.weight"].shape
    source.rename(tmp_path / "moved")
    try:
        load_policy(run.path)
    finally:
        (tmp_path / "moved").rename(source)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("front_ends", {"front_width": 64}, r"'shared\.0\.weight' is \(1, 128, 8\) there and \(1, 64, 8\) here; more"),
        ("front_ends", {"width": 16}, r"'shared\.0\.weight' is .* here; give both networks the same sizes"),
        ("front_ends", {"depth": 2}, r"parameter 'shared\.2\.bias' is not there: give both"),
        ("multi_head", {}, r"parameter 'encoders\.layers\.0\.bias' is only there: give both"),
    ],
)
def test_layers_that_do_not_fit_are_named(source, name, changes, message):
    config = config_of(name, **{"width": 8, "depth": 1, "shared_from": str(source), **changes})
    with pytest.raises(UserError, match=rf"--algorithm\.actor\.shared-from .*{message}"):
        build_network(NetworkShape(3, 9, 6, 1, 1.0), config, torch.Generator())


def test_a_source_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"shared-from .*: there is no run"):
        network_of("front_ends", shared_from=str(tmp_path))
