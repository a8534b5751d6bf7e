"""Networks in half precision: updates are those in float32 up to rounding, and weights stay float32."""

import pytest
import torch
from agent_toys import batch_of, problem, small
from test_ppo import agent_of, rolled_out

from mtrl.agents.sac import SAC
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import NETWORKS, NetworkConfig


def moved(agent, updates):
    """How far weights have moved by some updates, as one vector; and what the last update reported."""
    before = {name: value.clone() for name, value in agent.weights().items()}
    for update in updates:
        report = update(agent)
    after = agent.weights()
    assert all(value.dtype == before[name].dtype for name, value in after.items())
    learned = [name for name in before if name.startswith(("actor.", "critics.")) and before[name].is_floating_point()]
    return torch.cat([(after[name] - before[name]).flatten() for name in learned]), report


def assert_close(one, other, least=0.9):
    vectors, reports = zip(one, other, strict=True)
    assert torch.isfinite(vectors[1]).all() and not torch.equal(*vectors)
    assert torch.nn.functional.cosine_similarity(*vectors, dim=0) > least
    for name, value in reports[0].items():
        assert torch.allclose(value, reports[1][name], rtol=0.1, atol=0.1), name


@pytest.mark.parametrize("name", list(NETWORKS))
def test_soft_actor_critic_updates_alike(name):
    size, p = NetworkConfig(width=32, depth=2).renamed(name), problem(3)
    agents = [SAC(small(actor=size, critic=size, precision=precision), p) for precision in ("float32", "bfloat16")]
    # Adam's first step is the sign of the gradient, whatever its size: plain descent shows how far gradients differ.
    for agent in agents:
        for part in ("actor", "critic"):
            for group in agent._optimizers[part].param_groups:
                group["eps"] = 1e3
    assert_close(*(moved(agent, [lambda agent: agent.update(batch_of(p))]) for agent in agents))


@pytest.mark.parametrize("critic", ["popart", "c51"])
def test_ppo_updates_alike(critic):
    combiner = CombinerConfig().renamed("pcgrad")
    changes = {"value": CriticConfig().renamed(critic), "actor_combiner": combiner, "adam_epsilon": 1.0}
    found = []
    for precision in ("float32", "bfloat16"):
        agent = agent_of(precision=precision, **changes)
        rollout, last, _ = rolled_out(agent_of(**changes))
        found.append(moved(agent, [lambda agent, r=rollout, end=last: agent.update(agent.digest(r, end, 0.0))]))
    assert_close(*found)
