"""Scales of rewards and of observations, against plain loops over single worlds."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from agent_toys import CPU, batch_of, problem, setting, small, steps_of
from no_sync import no_sync

from mtrl.agents.sac import SAC
from mtrl.agents.statistics import FURTHEST, LEAST_DEVIATION, Moments, ObsNormalizer
from mtrl.errors import UserError
from mtrl.parts.scale import SCALES, ScaleConfig

COLD = torch.full((3,), -30.0)
"""Log temperatures of next to nothing."""


def scale_of(name, gamma=0.9, target_entropy=None, **changes):
    config = dataclasses.replace(ScaleConfig().renamed(name), **changes)
    return config.build(setting(3, gamma, target_entropy), config)


def show(scale, steps):
    for step in steps:
        scale.observe(step.reward, step.terminated, step.ended, step.task_id)
    return scale


def test_moments_are_those_of_all_rows_together():
    moments = Moments(2, (3,), CPU)
    chunks = [torch.randn(2, 4, 3) * 3 + 1000, torch.randn(2, 1, 3) - 5, torch.randn(2, 7, 3)]
    assert moments.variance().tolist() == [[0.0] * 3] * 2
    for chunk in chunks:
        moments.add(chunk)
    rows = torch.cat(chunks, dim=1).double()
    assert torch.allclose(moments.mean, rows.mean(dim=1), rtol=1e-12)
    assert torch.allclose(moments.variance(), rows.var(dim=1, correction=0), rtol=1e-10)
    assert moments.count == 12


@pytest.mark.parametrize("name", list(SCALES))
def test_scales_observe_without_waiting_and_are_ones_at_first(name):
    steps = steps_of(problem(), 12)
    scale = scale_of(name, target_entropy=torch.full((3,), -2.0))
    assert scale.factors(torch.zeros(3)).tolist() == [1.0] * 3
    show(scale, steps[:1])  # room for the worlds is made here
    with no_sync():
        show(scale, steps[1:])
        factors = scale.factors(COLD)
    assert factors.shape == (3,)
    assert factors.dtype == torch.float32
    assert (factors > 0).all()


@pytest.mark.parametrize("name", list(SCALES))
def test_scales_go_on_exactly_even_before_they_saw_a_world(name):
    steps = steps_of(problem(), 40)
    whole, first, second = scale_of(name), scale_of(name), scale_of(name)
    show(whole, steps)
    show(first, steps[:17])
    first.refit(torch.tensor([1.0, 2.0, 4.0]))
    whole.refit(torch.tensor([1.0, 2.0, 4.0]))
    state = first.get_state()
    show(first, steps[17:])  # what was handed out does not change
    second.set_state(state)
    show(second, steps[17:])
    assert torch.equal(second.factors(torch.zeros(3)), whole.factors(torch.zeros(3)))
    for name, value in whole.get_state().items():
        assert torch.equal(second.get_state()[name], value), name


def test_reward_deviation_follows_its_definition():
    scale, steps = scale_of("reward_deviation", rate=0.05), steps_of(problem(), 30, slots=1)
    show(scale, steps)
    for task in range(3):
        mean, variance = 0.0, 1.0
        for step in steps:
            reward = step.reward[task].item()
            mean += 0.05 * (reward - mean)
            variance += 0.05 * ((reward - mean) ** 2 - variance)
        assert scale.factors(COLD)[task].item() == pytest.approx(1 / math.sqrt(variance), rel=1e-5)


def test_reward_deviation_moves_as_far_for_many_worlds_as_for_as_many_rewards():
    one, many = scale_of("reward_deviation", rate=0.1), scale_of("reward_deviation", rate=0.1)
    ids, no = torch.arange(3), torch.zeros(12, dtype=torch.bool)
    for _ in range(4):
        one.observe(torch.full((3,), 2.0), no[:3], no[:3], ids)
    many.observe(torch.full((12,), 2.0), no, no, ids.repeat_interleave(4))
    assert torch.allclose(one.mean, many.mean)


def world_returns(steps, gamma):
    """Running returns `[step][world]`, each world by itself, from nothing after each end of an episode."""
    found = []
    running = [0.0] * len(steps[0].reward)
    for step in steps:
        running = [gamma * g + r for g, r in zip(running, step.reward.tolist(), strict=True)]
        found.append(list(running))
        running = [0.0 if end else g for g, end in zip(running, step.ended.tolist(), strict=True)]
    return np.array(found)


def test_return_deviation_follows_the_returns_of_single_worlds():
    scale, steps = scale_of("return_deviation", gamma=0.9, v_max=3.0), steps_of(problem(), 60, slots=3)
    show(scale, steps)
    returns = world_returns(steps, 0.9)
    for task in range(3):
        own = returns[:, 3 * task : 3 * task + 3]
        size = max(own.std(), np.abs(own).max() / 3.0)
        assert scale.factors(COLD)[task].item() == pytest.approx(1 / size, rel=1e-5)


def test_worlds_of_a_task_are_not_mixed_into_one_return():
    """One world pays 1, the other -1: their returns are 10 and -10, and those of a mixture would stay near 1."""
    scale, no = scale_of("return_deviation", v_max=1e6), torch.zeros(6, dtype=torch.bool)
    reward = torch.tensor([1.0, -1.0]).repeat(3)
    for _ in range(2_000):
        scale.observe(reward, no, no, torch.arange(3).repeat_interleave(2))
    assert (1 / scale.factors(COLD)).tolist() == pytest.approx([10.0] * 3, rel=0.01)


def test_the_return_of_an_episode_does_not_go_on_into_the_next():
    scale, ended = scale_of("return_deviation", v_max=1e-3), torch.ones(3, dtype=torch.bool)
    for _ in range(50):
        scale.observe(torch.ones(3), ~ended, ended, torch.arange(3))
    assert scale.largest.tolist() == [1.0] * 3


def episode_returns(steps, world, gamma):
    """Discounted returns from every step of every finished episode of one world, in plain loops."""
    found, rewards = [], []
    for step in steps:
        rewards.append(step.reward[world].item())
        if step.ended[world]:
            rest = 0.0 if step.terminated[world] else np.mean(rewards) / (1 - gamma)
            for reward in reversed(rewards):
                rest = reward + gamma * rest
                found.append(rest)
            rewards = []
    return found


def test_return_range_takes_the_extremes_over_whole_episodes():
    steps = steps_of(problem(), 80, slots=2, horizon=9)
    entropy = torch.tensor([-2.0, -1.0, -0.5])
    scale = show(scale_of("return_range", gamma=0.8, target_entropy=entropy, v_max=7.0), steps)
    log_temperature = torch.tensor([-1.0, 0.0, 1.0])
    for task in range(3):
        returns = [g for world in (2 * task, 2 * task + 1) for g in episode_returns(steps, world, 0.8)]
        largest = max(abs(max(returns)), abs(min(returns)))
        share = math.exp(log_temperature[task]) * 5.0 * entropy[task].item() / 2
        expected = 7.0 / (largest - share)
        assert scale.factors(log_temperature)[task].item() == pytest.approx(expected, rel=1e-5)


def test_return_range_keeps_returns_below_its_bound_and_factors_positive():
    for entropy in (-4.0, 4.0):
        scale = scale_of("return_range", gamma=0.9, target_entropy=torch.full((3,), entropy))
        steps = steps_of(problem(), 60)
        show(scale, steps)
        for temperature in (-30.0, 0.0, 5.0):
            factors = scale.factors(torch.full((3,), temperature))
            assert (factors > 0).all()
            for world in range(6):
                returns = np.abs(episode_returns(steps, world, 0.9)) * factors[world // 2].item()
                assert returns.max() <= 10.0 * (1 + 1e-5)


def test_return_range_of_episodes_longer_than_it_looks_back():
    """Returns that are settled count before the episode is over, and are right to a thousandth."""
    scale, no = scale_of("return_range", gamma=0.5), torch.zeros(3, dtype=torch.bool)
    assert scale.returns.shape[1] == 10
    for step in range(200):
        scale.observe(torch.full((3,), 4.0 if step < 50 else 1.0), no, no, torch.arange(3))
    assert scale.largest.tolist() == pytest.approx([8.0] * 3, rel=2e-3)


def test_return_range_needs_a_discount():
    with pytest.raises(UserError, match=r"lower --algorithm\.gamma"):
        scale_of("return_range", gamma=1.0)
    scale = show(scale_of("return_range", gamma=0.0), steps_of(problem(), 30))
    assert torch.isfinite(scale.factors(COLD)).all()


def test_balance_lifts_every_task_to_the_best_paid_one():
    scale = scale_of("balance")
    show(scale, steps_of(problem(), 5))
    assert scale.factors(COLD).tolist() == [1.0] * 3
    scale.refit(torch.tensor([4.0, 0.5, -3.0]))
    assert scale.factors(COLD).tolist() == pytest.approx([1.0, 8.0, 400.0])
    scale.refit(torch.tensor([-4.0, -0.5, -3.0]))
    assert scale.factors(COLD).tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("reward_deviation", "rate", 0.0), ("return_deviation", "v_max", 0.0), ("return_range", "v_max", -1.0)],
)
def test_impossible_settings_are_refused(name, field, value):
    config = dataclasses.replace(ScaleConfig().renamed(name), **{field: value})
    with pytest.raises(UserError, match=rf"--algorithm\.scale\.{field.replace('_', '-')} {value} is impossible"):
        small(scale=config).check()


def test_targets_and_reports_are_of_scaled_rewards():
    p = problem()
    agent, batch = SAC(small(scale=ScaleConfig().renamed("balance")), p), batch_of(p)
    agent.scale.refit(torch.tensor([4.0, 2.0, 1.0]))
    ended = dataclasses.replace(batch, terminated=torch.ones(24))
    scaled = batch.reward.unflatten(0, (3, 8)) * torch.tensor([1.0, 2.0, 4.0])[:, None]
    with torch.no_grad():
        assert torch.allclose(agent.targets(agent._grouped(ended)), scaled)
    assert agent.update(batch)["reward_scale"].tolist() == [1.0, 2.0, 4.0]
    assert "reward_scale" not in SAC(small(), p).update(batch)


def test_a_scale_is_fitted_when_learning_begins():
    class Replay:
        def mean_reward(self):
            return torch.tensor([1.0, 2.0, 4.0])

    p = problem()
    agent = SAC(small(scale=ScaleConfig().renamed("balance")), p)
    assert agent.begin_updates(5, Replay()) == 0
    assert agent.scale.factors(COLD).tolist() == [4.0, 2.0, 1.0]


def padded():
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1, 3:] = False
    return problem(obs_mask=mask)


def test_observations_are_normalised_for_each_task_and_padding_is_not():
    p, steps = padded(), steps_of(padded(), 50)
    normalizer = ObsNormalizer(p.obs_mask)
    for step in steps:
        normalizer.observe(step.obs * 3 + step.task_id[:, None])
    rows = torch.stack([step.obs * 3 + step.task_id[:, None] for step in steps]).unflatten(1, (3, 2))
    x = torch.randn(2, 4, 5)
    x[0, :, 3:] = 0.25
    found = normalizer(x, torch.tensor([1, 2]))
    for group, task in enumerate((1, 2)):
        own = rows[:, task].flatten(0, 1).double().numpy()
        real = p.obs_mask[task].numpy()
        expected = (x[group].double().numpy() - own.mean(0))[:, real] / own.std(0)[real]
        assert found[group].numpy()[:, real] == pytest.approx(expected, abs=1e-5)
    assert (found[0, :, 3:] == 0.25).all()


def test_numbers_that_hardly_vary_are_not_blown_up():
    normalizer = ObsNormalizer(torch.ones(1, 2, dtype=torch.bool))
    x = torch.tensor([[[0.5, 3.0]]])
    assert torch.equal(normalizer(x, torch.tensor([0])), x)
    for _ in range(10):
        normalizer.observe(torch.tensor([[0.5, 3.0]]))
    moved = normalizer(x + torch.tensor([LEAST_DEVIATION, 1e6]), torch.tensor([0]))
    assert moved.flatten().tolist() == pytest.approx([1.0, FURTHEST], rel=1e-4)


def test_acting_and_updating_see_normalised_observations_alike():
    p = padded()
    agent, plain = SAC(small(normalize_obs=True), p), SAC(small(), p)
    for step in steps_of(p, 30):
        agent.observe(dataclasses.replace(step, obs=step.obs * 4 + 2 * p.obs_mask[step.task_id]))
    task_id, obs = torch.arange(3).repeat_interleave(4), torch.randn(12, 5)
    normal = agent._normalizer(obs.unflatten(0, (3, 4)), torch.arange(3)).flatten(0, 1)
    assert torch.equal(agent.act(obs, task_id, mode=True), plain.act(normal, task_id, mode=True))
    batch = batch_of(p)
    grouped = agent._grouped(batch)
    for name in ("obs", "next_obs"):
        given = getattr(batch, name).unflatten(0, (3, 8))
        assert torch.equal(getattr(grouped, name), agent._normalizer(given, torch.arange(3)))


def test_a_saved_agent_normalises_as_the_one_that_was_trained():
    p = padded()
    agent, other = SAC(small(normalize_obs=True), p), SAC(small(normalize_obs=True), problem(seed=5))
    for step in steps_of(p, 30):
        agent.observe(step)
    other._normalizer.get_buffer("_mask").copy_(p.obs_mask)
    other.load_weights({name: value.clone() for name, value in agent.weights().items()})
    obs, task_id = torch.randn(3, 5), torch.arange(3)
    assert torch.equal(agent.act(obs, task_id, mode=True), other.act(obs, task_id, mode=True))
    assert not any(name.startswith("obs") for name in SAC(small(), p).weights())
