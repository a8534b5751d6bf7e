"""Scheduled resets: when they come, what is fresh after them, and runs that go on across them."""

import pytest
import torch
from agent_toys import batch_of, problem, small, steps_of

from mtrl.agents.sac import SAC
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.scale import ScaleConfig


class HeldReplay:
    """What is learned from, as far as a reset asks."""

    def mean_reward(self):
        return torch.tensor([1.0, 2.0, 4.0])


def resetting(**changes):
    return small(reset_every=100, reset_updates=7, initial_temperature=0.5, scale=ScaleConfig("balance"), **changes)


def test_resets_come_when_due_and_are_followed_by_updates():
    agent = SAC(resetting(), problem())
    assert [agent.begin_updates(steps, HeldReplay()) for steps in (0, 99, 100, 100, 199, 230)] == [0, 0, 7, 0, 0, 7]
    late = SAC(resetting(), problem())
    assert [late.begin_updates(steps, HeldReplay()) for steps in (350, 351)] == [7, 0]
    never = SAC(small(), problem())
    assert {never.begin_updates(steps, HeldReplay()) for steps in (0, 10_000)} == {0}


@pytest.mark.parametrize("combiner", ["uncertainty", "famo", "gradnorm"])
def test_after_a_reset_all_that_is_learned_is_fresh_and_statistics_are_kept(combiner):
    p = problem()
    config = resetting(critic_combiner=CombinerConfig(combiner), value=CriticConfig("popart"), normalize_obs=True)
    agent, fresh = SAC(config, p), SAC(config, p)
    for step in steps_of(p, 5):
        agent.observe(step)
    for i in range(4):
        agent.update(batch_of(p, seed=i))
    before = {name: value.clone() for name, value in agent.weights().items()}
    assert agent.begin_updates(100, HeldReplay()) == 7
    assert agent.scale.factors(torch.zeros(3)).tolist() == [4.0, 2.0, 1.0]
    assert torch.allclose(agent.log_temperature, torch.tensor(0.5).log())
    for name in ("actor", "critic", "temperature"):
        assert not agent._optimizers[name].state
    for part, own in agent.combiners.items():
        for name, value in own.state_dict().items():
            assert torch.equal(value, fresh.combiners[part].state_dict()[name]), (part, name)
    after = agent.weights()
    for name, value in after.items():
        part = name.split(".")[0]
        if part in ("obs", "critic"):
            assert torch.equal(value, before[name]), name
        elif part == "target_critics":
            assert torch.equal(value, after[name.replace("target_critics", "critics", 1)]), name
        elif name.endswith(("0.weight", "heads.weight")):
            assert not torch.equal(value, before[name]), name
            assert not torch.equal(value, fresh.weights()[name]), name  # nor the weights that the run began with
            assert value.std() == pytest.approx(fresh.weights()[name].std().item(), rel=0.3), name


@pytest.mark.parametrize("cut", [2, 4, 6])
def test_a_run_goes_on_exactly_across_a_reset(cut):
    p = problem()
    config = resetting(critic_combiner=CombinerConfig("famo"), value=CriticConfig("popart"), normalize_obs=True)
    steps = steps_of(p, 8)

    def advance(agent, numbers):
        for i in numbers:
            extra = agent.begin_updates(25 * i, HeldReplay())
            for k in range(1 + min(extra, 1)):
                agent.update(batch_of(p, seed=10 * i + k))
            agent.observe(steps[i])

    whole, first, second = SAC(config, p), SAC(config, p), SAC(config, problem(seed=3))
    second.problem = p  # so that its resets draw what the others draw
    advance(whole, range(8))
    advance(first, range(cut))
    weights, state = {name: value.clone() for name, value in first.weights().items()}, first.get_state()
    advance(first, range(cut, 8))
    second.load_weights(weights)
    second.set_state(state)
    advance(second, range(cut, 8))
    for name, value in whole.weights().items():
        assert torch.equal(value, second.weights()[name]), name
        assert torch.equal(value, first.weights()[name]), name
