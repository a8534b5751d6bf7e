"""Rollouts and advantages, against numbers worked out by hand and a plain loop in double precision."""

import pytest
import torch

from mtrl.errors import UserError
from mtrl.rollouts import RolloutBuffer, gae

CPU = torch.device("cpu")


def columns(*rows):
    return torch.tensor(rows).T


def test_one_world_by_hand():
    # The second step terminates, the fourth is truncated, the fifth goes on.
    reward = columns([1.0, 2.0, 3.0, 4.0, 5.0])
    value = columns([10.0, 20.0, 30.0, 40.0, 50.0])
    next_value = columns([20.0, 999.0, 40.0, 8.0, 60.0])
    terminated = columns([False, True, False, False, False])
    ended = columns([False, True, False, True, False])
    advantage, target = gae(reward, value, next_value, terminated, ended, gamma=0.5, lam=0.5)
    # errors: 1 + 10 - 10 = 1; 2 - 20 = -18; 3 + 20 - 30 = -7; 4 + 4 - 40 = -32; 5 + 30 - 50 = -15
    assert advantage.flatten().tolist() == [1 - 0.25 * 18, -18.0, -7 - 0.25 * 32, -32.0, -15.0]
    assert torch.equal(target, advantage + value)


def test_both_ends_at_once_is_a_termination():
    advantage, _ = gae(*(columns([x]) for x in (1.0, 2.0, 100.0, True, True)), gamma=0.9, lam=0.9)
    assert advantage.item() == -1.0


def brute_force(reward, value, next_value, terminated, ended, gamma, lam):
    """The sum of discounted errors, from its definition."""
    steps, worlds = reward.shape
    result = torch.zeros(steps, worlds, dtype=torch.float64)
    for world in range(worlds):
        for begin in range(steps):
            weight = 1.0
            for step in range(begin, steps):
                bootstrap = 0.0 if terminated[step, world] else gamma * next_value[step, world].item()
                result[begin, world] += weight * (reward[step, world].item() + bootstrap - value[step, world].item())
                weight *= gamma * lam
                if ended[step, world]:
                    break
    return result


@pytest.mark.parametrize("lam", [0.0, 0.6, 0.95, 1.0])
def test_many_worlds_against_a_plain_loop(lam):
    torch.manual_seed(0)
    reward, value, next_value = torch.randn(3, 40, 17).unbind()
    terminated, truncated = (torch.rand(2, 40, 17) < 0.1).unbind()
    assert (terminated & truncated).any()
    arguments = (reward, value, next_value, terminated, terminated | truncated)
    exact = brute_force(*arguments, 0.97, lam)
    advantage, target = gae(*arguments, gamma=0.97, lam=lam)
    assert torch.allclose(advantage.double(), exact, atol=2e-5)
    assert torch.allclose(target.double(), exact + value.double(), atol=2e-5)
    doubled = gae(*(x.double() if x.dtype.is_floating_point else x for x in arguments), gamma=0.97, lam=lam)
    assert torch.allclose(doubled[0], exact, rtol=1e-13, atol=1e-13)


def test_lambda_one_is_the_discounted_return_less_the_value():
    reward, value = torch.randn(2, 6, 3)
    ended = torch.zeros(6, 3, dtype=torch.bool)
    last = torch.randn(3)
    advantage, _ = gae(reward, value, torch.cat([value[1:], last[None]]), ended, ended, gamma=0.9, lam=1.0)
    returned = sum(0.9**step * reward[step] for step in range(6)) + 0.9**6 * last
    assert torch.allclose(advantage[0], returned - value[0], atol=1e-5)


def filled(buffer, steps, horizon, start=0):
    """Observations are `step`, last observations `step + 0.25`; values are a tenth of observations."""
    worlds = torch.arange(3)
    for step in range(start, start + steps):
        obs = torch.full((3, 2), float(step))
        ended = (step + 1) % (horizon + worlds) == 0
        buffer.add(obs, obs[:, :1], obs[:, 0], -obs[:, 0], ended & (worlds == 1), ended, obs + 0.25)


def test_a_rollout_knows_the_values_of_what_its_steps_led_to():
    buffer = RolloutBuffer(20, 3, 2, 1, CPU, shortest_episode=5)
    for start in (0, 20):
        filled(buffer, 20, 5, start)
        assert buffer.full
        following = buffer.next_values(
            buffer.obs[..., 0] / 10, torch.full((3,), (start + 20) / 10), buffer.final_obs[..., 0] / 10
        )
        for step in range(20):
            for world in range(3):
                now = start + step
                after = now + 0.25 if (now + 1) % (5 + world) == 0 else now + 1
                assert following[step, world].item() == pytest.approx(after / 10)
                assert buffer.ended[step, world] == (after == now + 0.25)
        assert not buffer.terminated[:, 0].any() and buffer.terminated[:, 1].any()
        buffer.clear()
        assert not buffer.full


def test_where_too_many_episodes_end_the_value_before_stands_in():
    buffer = RolloutBuffer(32, 3, 2, 1, CPU, shortest_episode=500)
    filled(buffer, 32, 4)
    following = buffer.next_values(buffer.obs[..., 0] / 10, torch.zeros(3), buffer.final_obs[..., 0] / 10)[:, 0]
    ends = following[buffer.ended[:, 0]]
    assert ends.tolist() == pytest.approx([0.3, 0.7, 1.1, 1.5, 1.9, 2.3, 2.725, 3.125])


def test_some_steps_become_one():
    buffer = RolloutBuffer(20, 3, 2, 1, CPU, shortest_episode=4)
    filled(buffer, 20, 5)
    few = buffer.every(4)
    for name in ("obs", "action", "log_prob", "age"):
        assert torch.equal(getattr(few, name), getattr(buffer, name)[[0, 4, 8, 12, 16]])
    for row in range(5):
        steps = slice(4 * row, 4 * row + 4)
        assert torch.allclose(few.reward[row], buffer.reward[steps].mean(dim=0))
        assert torch.equal(few.ended[row], buffer.ended[steps].any(dim=0))
        assert torch.equal(few.terminated[row], buffer.terminated[steps].any(dim=0))
    # Episodes of world 0 end with steps 4, 9, 14 and 19; nothing ends in the first row, so the next one follows.
    following = few.next_values(few.obs[..., 0] / 10, torch.full((3,), 2.0), few.final_obs[..., 0] / 10)[:, 0]
    assert following.tolist() == pytest.approx([0.4, 0.425, 0.925, 1.425, 1.925])
    few.obs.zero_()
    assert few.full and buffer.full and buffer.obs[1:].ne(0.0).all()


def test_a_complete_rollout_takes_no_more():
    buffer = RolloutBuffer(4, 3, 2, 1, CPU, shortest_episode=500)
    filled(buffer, 4, 9)
    with pytest.raises(UserError, match="clear"):
        filled(buffer, 1, 9)
