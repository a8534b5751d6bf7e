"""Every registered part: acting, observing and updating go on exactly from what was saved midway."""

import io

import pytest
import torch
from agent_toys import batch_of, problem, small, steps_of

from mtrl.agents.sac import SAC
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.critic import CRITICS, CriticConfig
from mtrl.parts.network import NETWORKS, NetworkConfig
from mtrl.parts.scale import SCALES, ScaleConfig

MASK = torch.tensor([[True] * 5, [True, True, True, False, False], [True] * 5])


class HeldReplay:
    """What is learned from, as far as agents ask."""

    def mean_reward(self):
        return torch.tensor([1.0, 2.0, 4.0])


def settings(kind, name):
    size = NetworkConfig(width=8, depth=2)
    if kind == "network":
        return {"actor": size.renamed(name), "critic": size.renamed(name)}
    if kind == "combiner":
        config = CombinerConfig().renamed(name)
        return {"actor": size, "critic": size, "actor_combiner": config, "critic_combiner": config}
    config = {"value": CriticConfig().renamed(name)} if kind == "critic" else {"scale": ScaleConfig().renamed(name)}
    return {"actor": size, "critic": size, "normalize_obs": kind == "scale", **config}


def live(agent, numbers):
    """Steps and updates; returns the last actions."""
    steps, action = steps_of(problem(obs_mask=MASK), 6), None
    for i in numbers:
        action = agent.act(steps[i].obs, steps[i].task_id, mode=False)
        agent.begin_updates(i, HeldReplay())
        agent.update(batch_of(agent.problem, per_task=4, seed=i))
        agent.observe(steps[i])
    return action


def saved(state):
    """As it comes back from the disk, where only plain data is read."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


EVERY = [
    (kind, name)
    for kind, registry in (("network", NETWORKS), ("critic", CRITICS), ("combiner", COMBINERS), ("scale", SCALES))
    for name in registry
]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=lambda value: str(value))
def test_every_part_goes_on_exactly(kind, name):
    config = small(**settings(kind, name), loss_limit=6.0, batch_per_task=4)
    whole, first = SAC(config, problem(obs_mask=MASK)), SAC(config, problem(obs_mask=MASK))
    second = SAC(config, problem(obs_mask=MASK, seed=9))
    expected = live(whole, range(6))
    live(first, range(3))
    weights, state = saved(first.weights()), saved(first.get_state())
    kept = first.get_state()
    live(first, range(3, 6))  # what was handed out does not change
    assert all(torch.equal(one, other) for one, other in zip(kept["generators"], state["generators"], strict=True))
    second.load_weights(weights)
    second.set_state(state)
    assert torch.equal(live(second, range(3, 6)), expected)
    for name, value in whole.weights().items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value, second.weights()[name]), name
        assert torch.equal(value, first.weights()[name]), name
