"""Proximal policy optimisation against plain loops in double precision, closed forms and torch's own distributions."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from agent_toys import CPU, problem

from mtrl.agents import baseline
from mtrl.agents.advantages import by_task, normalized, over_time, with_linear_baseline
from mtrl.agents.gaussian import Gaussian
from mtrl.agents.ppo import PACE, PPO
from mtrl.agents.ppo_config import PPOConfig
from mtrl.algorithm import Step
from mtrl.errors import UserError
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.critic import CriticConfig
from mtrl.parts.network import NetworkConfig
from mtrl.parts.scale import ScaleConfig
from mtrl.rollouts import RolloutBuffer

STEPS, SLOTS, TASKS = 12, 3, 2


def config(**changes):
    network = NetworkConfig("multi_head", width=16, depth=1, activation="tanh")
    settings = PPOConfig(actor=network, critic=network, rollout_steps=STEPS, minibatches=3, epochs=2)
    return dataclasses.replace(settings, **changes)


def agent_of(tasks=TASKS, **changes):
    masks = {"action_mask": torch.tensor([[True, True], [True, False]])} if tasks == TASKS else {}
    return PPO(config(**changes), problem(tasks, 4, 2, **masks))


def rolled_out(agent, seed=0, reward=lambda obs, action: obs[:, 0] + action[:, 0]):
    """A rollout of random observations, with a termination, truncations, and both at once."""
    tasks = agent.problem.num_tasks
    worlds, generator = tasks * SLOTS, torch.Generator().manual_seed(seed)
    task_id = torch.arange(tasks).repeat_interleave(SLOTS)
    rollout = RolloutBuffer(STEPS, worlds, 4, 2, CPU, shortest_episode=3)
    finals = torch.zeros(STEPS, worlds, 4)
    for step in range(STEPS):
        obs = torch.randn(worlds, 4, generator=generator)
        explored = agent.explore(obs, task_id)
        terminated = torch.rand(worlds, generator=generator) < 0.15
        ended = terminated | (torch.rand(worlds, generator=generator) < 0.15)
        finals[step] = torch.randn(worlds, 4, generator=generator)
        paid = reward(obs, explored.action)
        rollout.add(obs, explored.drawn, explored.log_prob, paid, terminated, ended, finals[step])
        agent.observe(Step(obs, explored.action, paid, terminated, ended, task_id))
    return rollout, torch.randn(worlds, 4, generator=generator), finals


def plain_value(agent, obs, task):
    with torch.no_grad():
        outputs = agent.critics(agent._normal(obs.view(1, 1, -1), torch.tensor([task])), torch.tensor([task]))
        return float(agent.critic.values(outputs, torch.tensor([task])).mean())


def plain_advantages(agent, rollout, last_obs, finals, gamma, lam, factors=(1.0, 1.0)):
    """From the definition, world by world."""
    advantage = np.zeros((STEPS, TASKS * SLOTS))
    value = np.zeros_like(advantage)
    for world in range(TASKS * SLOTS):
        task, later = world // SLOTS, 0.0
        for step in reversed(range(STEPS)):
            value[step, world] = plain_value(agent, rollout.obs[step, world], task)
            ended = bool(rollout.ended[step, world])
            after = finals[step, world] if ended else (rollout.obs[step + 1] if step + 1 < STEPS else last_obs)[world]
            follows = 0.0 if rollout.terminated[step, world] else plain_value(agent, after, task)
            error = factors[task] * float(rollout.reward[step, world]) + gamma * follows - value[step, world]
            later = error + (0.0 if ended else gamma * lam * later)
            advantage[step, world] = later
    return advantage, advantage + value


def grouped(rows):
    return by_task(torch.tensor(rows, dtype=torch.float32), TASKS)


def test_rows_of_tasks_and_steps_of_worlds_are_the_same():
    rows = torch.arange(5 * 6 * 2).view(5, 6, 2)
    tasks = by_task(rows, 3)
    assert tasks.shape == (3, 10, 2)
    assert tasks[1].flatten().tolist() == rows[:, 2:4].flatten().tolist()
    assert torch.equal(over_time(tasks, 5), rows)
    alone = by_task(rows, 6)
    kept = alone.clone()
    rows.zero_()  # as the next rollout is written
    assert torch.equal(alone, kept)


@pytest.mark.parametrize("critic", ["mse", "popart"])
def test_advantages_and_targets_of_a_rollout(critic):
    agent = agent_of(value=CriticConfig().renamed(critic), gamma=0.9, gae_lambda=0.8, advantages="none")
    rollout, last, finals = rolled_out(agent)
    advantage, returns = plain_advantages(agent, rollout, last, finals, 0.9, 0.8)
    rows = agent.digest(rollout, last, 0.0)
    assert torch.allclose(rows["advantage"], grouped(advantage), atol=1e-5)
    target, ids = rows["target"], torch.arange(TASKS)
    if critic == "popart":
        target = target * agent.critic.deviation()[:, None] + agent.critic.mean[:, None]
    assert torch.allclose(target, grouped(returns), atol=1e-5)
    with torch.no_grad():  # values are what they were before the statistics moved
        after = agent.critic.values(agent.critics(rows["obs"], ids), ids).mean(dim=0)
    assert torch.allclose(after, grouped(returns - advantage), atol=1e-5)
    assert torch.equal(rows["action"], by_task(rollout.action, TASKS))
    assert torch.equal(rows["log_prob"], by_task(rollout.log_prob, TASKS))


def test_rewards_are_scaled_before_anything_else():
    agent = agent_of(scale=ScaleConfig().renamed("return_deviation"), gamma=0.9, gae_lambda=0.8, advantages="none")
    rollout, last, finals = rolled_out(agent, reward=lambda obs, action: 100.0 + 0.0 * obs[:, 0])
    factors = agent.scale.factors(torch.full((TASKS,), -torch.inf)).tolist()
    assert max(factors) < 0.5
    advantage, _ = plain_advantages(agent, rollout, last, finals, 0.9, 0.8, factors)
    assert torch.allclose(agent.digest(rollout, last, 0.0)["advantage"], grouped(advantage), atol=1e-4)


@pytest.mark.parametrize("critic", ["c51", "hl_gauss"])
def test_histograms_learn_towards_the_returns(critic):
    bins = dataclasses.replace(CriticConfig().renamed(critic), v_min=-8.0, v_max=8.0, bins=33)
    agent = agent_of(value=bins, gamma=0.9, gae_lambda=0.8)
    rollout, last, finals = rolled_out(agent)
    _, returns = plain_advantages(agent, rollout, last, finals, 0.9, 0.8)
    target = agent.digest(rollout, last, 0.0)["target"]
    assert torch.allclose(target.sum(dim=-1), torch.ones(TASKS, STEPS * SLOTS), atol=1e-5)
    mean = agent.critic.values(target.clamp(min=1e-30).log()[None], torch.arange(TASKS))[0]
    assert torch.allclose(mean, grouped(returns), atol=0.05)


def test_advantages_are_brought_to_one_scale_for_each_task():
    advantage = torch.stack([torch.randn(50), 1000 + 100 * torch.randn(50)])
    each = normalized(advantage, "task")
    assert torch.allclose(each.mean(dim=1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(each.std(dim=1, correction=0), torch.ones(2), atol=1e-5)
    together = normalized(advantage, "all")
    assert together[0].abs().max() > 0.5 and abs(float(together.mean())) < 1e-5
    assert torch.allclose(together.std(correction=0), torch.ones(()), atol=1e-5)
    assert torch.equal(normalized(advantage, "none"), advantage)
    assert torch.isfinite(normalized(torch.ones(2, 5), "task")).all()


def test_gaussians_are_torchs_own():
    policy, outputs = Gaussian(-0.3, -2.0, 1.0, squash=False), torch.randn(2, 5, 6)
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]]).unsqueeze(1)
    mean, raw = outputs.chunk(2, dim=-1)
    own = torch.distributions.Normal(mean, (raw - 0.3).clamp(-2.0, 1.0).exp())
    noise = torch.randn(2, 5, 3)
    drawn, log_prob = policy.sample(outputs, noise, mask)
    assert torch.allclose(drawn, (own.loc + own.scale * noise) * mask)
    assert torch.allclose(log_prob, (own.log_prob(drawn) * mask).sum(-1), atol=1e-5)
    assert torch.allclose(policy.entropy(outputs, mask), (own.entropy() * mask).sum(-1), atol=1e-5)
    assert torch.equal(policy.action(drawn), drawn.clamp(-1, 1))
    assert torch.equal(policy.mode(outputs, mask), (mean * mask).clamp(-1, 1))
    squashed = dataclasses.replace(policy, squash=True)
    assert torch.equal(squashed.action(drawn), drawn.tanh())
    assert not policy.action(drawn)[1, :, 1].any() and not policy.mode(outputs, mask)[1, :, 1].any()


@pytest.mark.parametrize("spread", ["task", "state"])
def test_spreads_begin_as_asked_and_are_learned(spread):
    agent = agent_of(spread=spread, initial_log_std=-1.0)
    obs, task_id = torch.randn(400 * TASKS, 4), torch.arange(TASKS).repeat_interleave(400)
    noise = agent.explore(obs, task_id).drawn - agent.act(obs, task_id, mode=True)
    assert noise[:400].std() == pytest.approx(math.exp(-1), rel=0.1)
    assert not noise[400:, 1].any()
    before = agent.act(obs, task_id, mode=True)
    rollout, last, _ = rolled_out(agent)
    agent.update(agent.digest(rollout, last, 0.0))
    outputs = agent._act_outputs(obs, agent._memory.of(task_id))[0]
    assert not torch.equal(agent.act(obs, task_id, mode=True), before)
    spreads = outputs.detach()[..., 2:]
    assert (spreads.std(dim=1).max() < 1e-6) == (spread == "task") and spreads.abs().max() > 0


def test_noise_falls_with_the_run_and_is_what_it_was_on_going_on():
    settings = {"spread": "state", "initial_log_std": 0.0, "max_log_std": -1.0, "max_log_std_fall": 1.5}
    agent, other = agent_of(**settings), agent_of(**settings)
    obs, task_id = torch.randn(400 * TASKS, 4), torch.arange(TASKS).repeat_interleave(400)

    def spread_of(policy):
        return (policy.explore(obs, task_id).drawn - policy.act(obs, task_id, mode=True))[:400].std().log()

    assert spread_of(agent) == pytest.approx(-1.0, abs=0.1)
    rollout, last, _ = rolled_out(agent)
    agent.update(agent.digest(rollout, last, 0.6))
    assert spread_of(agent) == pytest.approx(-1.9, abs=0.1)
    other.load_weights(agent.weights())
    other.set_state(agent.get_state())
    assert torch.equal(other.explore(obs, task_id).drawn, agent.explore(obs, task_id).drawn)


def test_the_actors_loss_is_the_clipped_one():
    agent = agent_of(clip=0.2, entropy_weight=0.03, advantages="none")
    rollout, last, _ = rolled_out(agent)
    rows = agent.digest(rollout, last, 0.0)
    shift = 0.4 * torch.randn(rows["log_prob"].shape, generator=torch.Generator().manual_seed(2))
    rows["log_prob"] = rows["log_prob"] + shift  # as of an older policy
    report = {}
    found = agent.actor_objective(rows, report).losses(None).detach()
    for task in range(TASKS):
        losses, kls = [], []
        for change, advantage in zip((-shift[task]).tolist(), rows["advantage"][task].tolist(), strict=True):
            ratio = math.exp(change)
            losses.append(-min(ratio * advantage, min(max(ratio, 0.8), 1.2) * advantage))
            kls.append(ratio - 1 - change)
        entropy = (2 - task) * (0.5 + 0.5 * math.log(2 * math.pi))
        assert float(found[task]) == pytest.approx(np.mean(losses) - 0.03 * entropy, abs=1e-4)
        assert float(report["kl"][task]) == pytest.approx(np.mean(kls), abs=1e-4)
    outside = ((-shift).exp() - 1).abs() > 0.2
    assert torch.allclose(report["clipped"], outside.float().mean(dim=1), atol=0.03)


def test_values_that_left_those_of_the_rollout_stop_counting():
    agent = agent_of(value_clip=0.1)
    rollout, last, _ = rolled_out(agent)
    rows = agent.digest(rollout, last, 0.0)
    rows["output"] = rows["output"] + torch.tensor([-1.0, 0.05]).view(TASKS, 1, 1, 1)
    outputs = agent.critics(rows["obs"], torch.arange(TASKS))[0, ..., 0].detach()
    before, target = rows["output"][..., 0, 0], rows["target"]
    near = before + (outputs - before).clamp(-0.1, 0.1)
    right = torch.maximum((outputs - target).square(), (near - target).square()).mean(dim=1)
    assert torch.allclose(agent.critic_objective(rows, {}).losses(None), right, atol=1e-5)
    plain = (outputs - target).square().mean(dim=1)
    assert right[0] > plain[0] and torch.allclose(right[1], plain[1], atol=1e-6)


def test_the_linear_baseline_is_least_squares():
    generator = torch.Generator().manual_seed(0)
    obs, age = torch.randn(2, 300, 4, generator=generator), torch.randint(0, 500, (2, 300), generator=generator).float()
    returns = torch.randn(2, 300, generator=generator)
    inputs = baseline.features(obs, age)
    assert inputs.shape == (2, 300, 4 + 4 + 3 + 1)
    found = baseline.predict(inputs, baseline.fit(inputs, returns))
    for task in range(2):
        columns = [obs[task], obs[task] ** 2, *[(age[task, :, None] / 100) ** p for p in (1, 2, 3)], torch.ones(300, 1)]
        x = torch.cat(columns, dim=1).double().numpy()
        weights = np.linalg.lstsq(x, returns[task].double().numpy(), rcond=None)[0]
        assert np.allclose(found[task].numpy(), x @ weights, atol=1e-4)
    assert torch.isfinite(baseline.fit(torch.zeros(1, 5, 3), torch.ones(1, 5))).all()


def test_a_linear_baseline_knows_the_time_in_the_episode():
    """Rewards that depend on the time alone leave no advantage: what is to come is a line in the time."""
    buffer = RolloutBuffer(40, 4, 2, 1, CPU, shortest_episode=10)
    for step in range(40):
        ended = torch.full((4,), step % 10 == 9)
        obs, action, log_prob, paid = torch.zeros(4, 2), torch.zeros(4, 1), torch.zeros(4), torch.ones(4)
        buffer.add(obs, action, log_prob, paid, ended, ended, obs)
    advantage, _ = with_linear_baseline(buffer, torch.zeros(4, 2), buffer.reward, 2, 1.0, 0.9)
    assert advantage.abs().max() < 0.01
    assert buffer.age[:, 0].tolist() == list(range(10)) * 4


def test_an_agent_with_a_linear_baseline_learns_no_critic():
    agent = agent_of(baseline="linear")
    rollout, last, _ = rolled_out(agent)
    before = {name: value.clone() for name, value in agent.weights().items()}
    report = agent.update(agent.digest(rollout, last, 0.0))
    assert "loss/critic" not in report and agent.parameter_counts()["critics"] == 0
    after = agent.weights()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("critics."))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("actor."))


def test_the_learning_rate_follows_the_divergence():
    agent = agent_of(target_kl=0.01, actor_learning_rate=1e-3)
    agent._follow(torch.tensor(0.05))
    assert float(agent._pace) == pytest.approx(1 / PACE)
    for _ in range(40):
        agent._follow(torch.tensor(0.001))
    assert float(agent._pace) == pytest.approx(10.0)
    agent._follow(torch.tensor(0.012))
    assert float(agent._pace) == pytest.approx(10.0)
    rollout, last, _ = rolled_out(agent)
    agent.update(agent.digest(rollout, last, 0.0))
    assert float(agent._optimizers.rates["actor"]) == pytest.approx(1e-2)
    assert float(agent._optimizers.rates["critic"]) == pytest.approx(3e-4)


def test_learning_rates_fall_with_the_run():
    agent = agent_of(final_learning_rate=0.2)
    rollout, last, _ = rolled_out(agent)
    agent.update(agent.digest(rollout, last, 0.5))
    assert float(agent._optimizers.rates["critic"]) == pytest.approx(0.6 * 3e-4)


def test_observations_are_normalised_until_they_stay():
    agent = agent_of(normalize_obs=True, normalize_obs_steps=STEPS * SLOTS)
    rolled_out(agent)
    before = {name: value.clone() for name, value in agent.weights().items() if name.startswith("obs.")}
    assert before["obs.moments.count"] == STEPS * SLOTS
    rolled_out(agent, seed=1)
    assert all(torch.equal(value, agent.weights()[name]) for name, value in before.items())
    going = agent_of(normalize_obs=True)
    rolled_out(going)
    rolled_out(going)
    assert going.weights()["obs.moments.count"] == 2 * STEPS * SLOTS


@pytest.mark.parametrize("name", [name for name in COMBINERS if name != "temperature"])
def test_every_combiner_updates_both_sides(name):
    combiner = CombinerConfig().renamed(name)
    agent = agent_of(3, actor_combiner=combiner, critic_combiner=combiner)
    rollout, last, _ = rolled_out(agent)
    rows = agent.digest(rollout, last, 0.0)
    before = {key: value.clone() for key, value in agent.weights().items()}
    report = agent.update(rows)
    assert all(torch.isfinite(value).all() for value in report.values())
    assert report["loss/actor"].shape == report["loss/critic"].shape == (3,)
    for part in ("actor.", "critics."):
        assert any(
            not torch.equal(value, agent.weights()[key]) for key, value in before.items() if key.startswith(part)
        )


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"value_clip": 0.2, "value": CriticConfig().renamed("c51")}, "value-clip"),
        ({"min_log_std": -2.0, "max_log_std": 0.0, "max_log_std_fall": 2.0}, "max-log-std-fall 2.0 takes"),
        ({"min_log_std": 1.0, "max_log_std": 0.0}, "min-log-std"),
        ({"epochs": 0}, "epochs"),
        ({"gae_lambda": 1.5}, "gae-lambda"),
    ],
)
def test_impossible_settings_are_refused(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        config(**settings).check()


def test_combiners_that_need_temperatures_are_refused():
    with pytest.raises(UserError, match="combiner 'temperature' weighs tasks by their temperatures"):
        agent_of(critic_combiner=CombinerConfig().renamed("temperature"))
