"""Losses that weigh more where tasks still fail: the weights, and that both algorithms follow them."""

import pytest
import torch
from agent_toys import batch_of, problem, small
from test_no_sync import loop_of as off_policy_loop
from test_on_policy import loop_of as on_policy_loop
from test_ppo import agent_of, rolled_out

from mtrl.agents.focus import Focus
from mtrl.agents.sac import SAC, _Update
from mtrl.errors import UserError

NAN = float("nan")
CPU = torch.device("cpu")


def test_weights_fall_with_success_to_a_floor():
    focus = Focus(0.2, 4, CPU)
    assert focus(torch.arange(4.0)).tolist() == [0.0, 1.0, 2.0, 3.0]
    focus.follow(torch.tensor([1.0, 0.5, 0.0, NAN]))
    raw = torch.tensor([0.2, 0.6, 1.0, 1.0])
    assert torch.allclose(focus(torch.ones(4)), raw / raw.mean())
    assert torch.equal(focus.report()["focus"], focus(torch.ones(4)))


def test_without_a_floor_nothing_is_weighed():
    focus, losses = Focus(1.0, 2, CPU), torch.ones(2)
    focus.follow(torch.tensor([1.0, 0.0]))
    assert focus(losses) is losses and focus.report() == {}


def test_soft_actor_critic_weighs_both_losses():
    p = problem(3)
    agent, plain = (SAC(small(focus_floor=floor), p) for floor in (0.1, 1.0))
    agent.follow_success(torch.tensor([1.0, 0.0, 0.0]))
    weights = torch.tensor([0.1, 1.0, 1.0]) / 0.7
    batch = batch_of(p)
    for name in ("critic_objective", "actor_objective"):
        agent._generator.manual_seed(3), plain._generator.manual_seed(3)
        found, right = (getattr(one, name)(_Update(one._grouped(batch))).losses(None) for one in (agent, plain))
        assert torch.allclose(found, weights * right, atol=1e-6)
    assert torch.allclose(agent.update(batch)["focus"], weights)
    other = SAC(small(focus_floor=0.1), p)
    other.load_weights(agent.weights())
    other.set_state(agent.get_state())
    assert torch.equal(other._focus.get_buffer("weight"), agent._focus.get_buffer("weight"))


def test_ppo_weighs_both_losses():
    agents = [agent_of(focus_floor=floor) for floor in (0.5, 1.0)]
    agents[0].follow_success(torch.tensor([0.0, 1.0]))
    rows = [agent.digest(*rolled_out(agent)[:2], 0.0) for agent in agents]
    for name in ("critic_objective", "actor_objective"):
        found, right = (getattr(one, name)(row, {}).losses(None) for one, row in zip(agents, rows, strict=True))
        assert torch.allclose(found, torch.tensor([1.0, 0.5]) / 0.75 * right, atol=1e-6)


@pytest.mark.parametrize("kind", ["on", "off"])
def test_loops_tell_agents_how_their_tasks_do(kind, monkeypatch):
    from test_no_sync import DeviceEnv

    loop = on_policy_loop(focus_floor=0.25) if kind == "on" else off_policy_loop(DeviceEnv(), focus_floor=0.25)
    monkeypatch.setattr(loop.statistics, "success", lambda: torch.tensor([1.0, 0.0]))
    for _ in range(63):
        loop.advance()
    assert loop.algorithm._focus(torch.ones(2)).tolist() == [1.0, 1.0]
    loop.advance()
    assert torch.allclose(loop.algorithm._focus(torch.ones(2)), torch.tensor([0.4, 1.6]))


def test_success_is_that_of_recent_episodes():
    loop = on_policy_loop()
    assert loop.statistics.success().isnan().all()
    for _ in range(40):
        loop.advance()
    loop.statistics.metrics()  # looks at what ended
    assert loop.statistics.success().tolist() == [1.0, 1.0]


def test_a_floor_out_of_bounds_is_refused():
    with pytest.raises(UserError, match="focus-floor"):
        small(focus_floor=0.0).check()
