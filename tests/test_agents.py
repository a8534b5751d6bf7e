"""Parameter counts of the published agents, and the properties of SAC's losses."""

import dataclasses
import math

import pytest
import torch
from agent_toys import CPU, batch_of, problem, small

from mtrl.agents.networks.build import build_network
from mtrl.agents.policy import SquashedGaussian
from mtrl.agents.sac import SAC, _Update
from mtrl.algorithm import AGENTS
from mtrl.errors import UserError
from mtrl.parts.combiner import CombinerConfig, Objective
from mtrl.parts.network import NETWORKS, NetworkConfig, NetworkShape, split_parameters
from mtrl.parts.part import Setting


@pytest.mark.parametrize(
    ("agent", "tasks", "actor", "critics"),
    [
        ("mtsac", 10, 344_008, 685_602),
        ("mtsac", 50, 360_008, 717_602),
        ("mtmhsac", 10, 372_880, 692_820),
        ("mtmhsac", 50, 517_200, 756_900),
    ],
)
def test_parameter_counts_equal_the_published_ones(agent, tasks, actor, critics):
    preset = AGENTS.get(agent)
    built = preset.build(preset.defaults.algorithm, problem(tasks, obs=39, act=4))
    assert built.parameter_counts() == {"actor": actor, "critics": critics}


def network_of(name, shape, width=16, depth=2):
    config = NetworkConfig(width=width, depth=depth).renamed(name)
    return build_network(shape, config, torch.Generator())


@pytest.mark.parametrize("name", list(NETWORKS))
def test_networks_answer_in_the_shape_of_the_contract(name):
    network = network_of(name, NetworkShape(4, 6, 3, 2, 1e-3))
    assert network(torch.randn(3, 5, 6), torch.tensor([3, 0, 2])).shape == (2, 3, 5, 3)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_copies_of_a_network_are_independent(name):
    network = network_of(name, NetworkShape(2, 6, 1, 2, 1.0))
    out = network(torch.randn(2, 2, 6), torch.tensor([0, 1]))
    assert not torch.allclose(out[0], out[1])
    out[0].sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad[0].abs().sum() > 0
        assert parameter.grad[1].abs().sum() == 0


def test_a_head_is_the_tasks_own():
    network = network_of("multi_head", NetworkShape(3, 4, 2, 1, 1.0))
    network(torch.randn(1, 5, 4), torch.tensor([1])).sum().backward()
    gradient = network.heads.weight.grad[0]
    assert gradient[1].abs().sum() > 0
    assert gradient[[0, 2]].abs().sum() == 0


def test_initial_weights_follow_he_and_the_head_scale():
    network = network_of("one_hot", NetworkShape(2, 30, 4, 1, 1e-3), width=400)
    first, head = network.trunk[0], network.head
    bound = math.sqrt(6 / 32)
    assert first.weight.abs().max() <= bound
    assert first.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert first.bias.abs().max() == 0
    assert 0 < head.weight.abs().max() <= 1e-3
    assert 0 < head.bias.abs().max() <= 1e-3


def test_log_probability_agrees_with_a_transformed_normal_in_double_precision():
    agent = SAC(small(), problem())
    obs, task_id = torch.randn(3, 8, 5), torch.arange(3)
    with torch.no_grad():
        for parameter in agent.actor.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
        mean, log_std = agent._policy.parameters(agent.actor(obs, task_id)[0])
        noise = torch.randn(24, 2)
        action, log_prob = agent._sample_actions(obs, noise, None)
        noise = noise.double().unflatten(0, (3, 8))
    raw = mean.double() + log_std.double().exp() * noise
    normal = torch.distributions.Normal(mean.double(), log_std.double().exp())
    expected = (normal.log_prob(raw) - torch.log1p(-(torch.tanh(raw) ** 2))).sum(-1)
    assert torch.allclose(action.double(), torch.tanh(raw), atol=1e-5)
    assert torch.allclose(log_prob.double(), expected, atol=1e-3)


def test_padding_of_actions_counts_in_nothing():
    mask = torch.tensor([[True, True], [True, False]])
    p = problem(tasks=2, action_mask=mask)
    agent = SAC(small(), p)
    obs, task_id = torch.randn(40, 5), torch.arange(2).repeat_interleave(20)
    with torch.no_grad():
        grouped = obs.unflatten(0, (2, 20))
        action, log_prob = (x.flatten(0, 1) for x in agent._sample_actions(grouped, torch.randn(40, 2), None))
        outputs = agent.actor(grouped, torch.arange(2))[0].flatten(0, 1)
        mean, log_std = agent._policy.parameters(outputs)
    assert (action[20:, 1] == 0).all()
    assert (action[20:, 0] != 0).all()
    assert (agent.act(obs, task_id, mode=True)[20:, 1] == 0).all()
    assert torch.equal(agent._target_entropy, torch.tensor([-2.0, -1.0]))
    normal = torch.distributions.Normal(mean[20:, 0], log_std[20:, 0].exp())
    raw = torch.atanh(action[20:, 0].double()).float()
    expected = normal.log_prob(raw) - torch.log(1 - action[20:, 0].double() ** 2).float()
    assert torch.allclose(log_prob[20:], expected, atol=5e-3)


def test_temperature_gradients_do_not_leak_between_tasks():
    agent = SAC(small(), problem())
    entropy = torch.tensor([-1.0, 4.0, -2.0])
    agent.temperature_losses(entropy)[1].backward()
    gradient = agent.log_temperature.grad
    assert gradient is not None
    assert gradient[1] == entropy[1] - agent._target_entropy[1]
    assert gradient[0] == 0
    assert gradient[2] == 0


def test_targets_bootstrap_at_truncation_and_not_at_termination():
    p = problem()
    agent, batch = SAC(small(gamma=0.9), p), batch_of(p, discount=0.9)
    ended = dataclasses.replace(batch, terminated=torch.ones(24))
    with torch.no_grad():
        assert torch.equal(agent.targets(agent._grouped(ended)), agent._grouped(batch).reward)
        state = agent._generator.get_state()
        target = agent.targets(agent._grouped(batch)).flatten()
        agent._generator.set_state(state)
        next_obs = batch.next_obs.unflatten(0, (3, 8))
        action, log_prob = agent._sample_actions(next_obs, agent._noise(24), None)
        value = agent._outputs(agent.target_critics, next_obs, action, None).squeeze(-1).amin(0).flatten()
        log_prob = log_prob.flatten()
    assert torch.allclose(target, batch.reward + 0.9 * (value - log_prob))


def test_the_discount_of_a_target_is_that_of_the_batch():
    p = problem()
    agent, batch = SAC(small(gamma=0.9, n_step=3), p), batch_of(p)
    assert (agent.gamma, agent.n_step) == (0.9, 3)
    discount = torch.where(torch.arange(24) % 2 == 0, 0.9, 0.9**3)
    state, targets = agent._generator.get_state(), []
    with torch.no_grad():
        for values in (discount, torch.ones(24), torch.zeros(24)):
            agent._generator.set_state(state)
            targets.append(agent.targets(agent._grouped(dataclasses.replace(batch, discount=values))).flatten())
    assert torch.equal(targets[2], batch.reward)
    assert torch.allclose(targets[0] - batch.reward, discount * (targets[1] - batch.reward), atol=1e-6)


@pytest.mark.parametrize("n_step", [0, -1, 101])
def test_impossible_numbers_of_steps_are_refused(n_step):
    with pytest.raises(UserError, match=r"--algorithm\.n-step -?\d+ is impossible"):
        small(n_step=n_step).check()


def test_losses_are_one_number_a_task_and_their_mean_is_the_batch_mean():
    p = problem()
    agent, batch = SAC(small(), p), batch_of(p)
    agent._generator.manual_seed(0)
    grouped = agent._grouped(batch)
    losses = agent.critic_objective(_Update(grouped)).losses(None)
    assert losses.shape == (3,)
    agent._generator.manual_seed(0)
    with torch.no_grad():
        target = agent.targets(grouped)
        values = agent._outputs(agent.critics, grouped.obs, grouped.action, None).squeeze(-1)
    assert torch.allclose(losses.mean(), (values - target).square().mean())


def test_an_update_moves_the_targets_by_tau_and_leaves_critics_trainable():
    p = problem()
    agent = SAC(small(tau=0.25), p)
    before = [parameter.clone() for parameter in agent.target_critics.parameters()]
    metrics = agent.update(batch_of(p))
    for old, target, critic in zip(before, agent.target_critics.parameters(), agent.critics.parameters(), strict=True):
        assert torch.allclose(target, old + 0.25 * (critic - old))
        assert critic.requires_grad
    assert {value.shape for value in metrics.values()} == {(3,)}


def test_state_and_weights_continue_bit_for_bit():
    p = problem()
    one, other = SAC(small(), p), SAC(small(), problem(seed=9))
    for i in range(3):
        one.update(batch_of(p, seed=i))
    other.load_weights({name: value.clone() for name, value in one.weights().items()})
    other.set_state(one.get_state())
    for i in range(3, 6):
        one.update(batch_of(p, seed=i))
        other.update(batch_of(p, seed=i))
    for name, value in one.weights().items():
        assert torch.equal(value, other.weights()[name]), name


def test_weights_of_another_shape_are_refused():
    agent = SAC(small(), problem())
    with pytest.raises(UserError, match=r"do not fit this agent at 'actor\.trunk\.0\.weight'"):
        agent.load_weights(SAC(small(), problem(obs=6)).weights())


def test_fixed_policies():
    p = problem(action_mask=torch.tensor([[True, True], [True, False], [True, True]]))
    task_id, obs = torch.tensor([0, 1, 2]), torch.zeros(3, 5)
    zero, random, repeat = (
        AGENTS.get(n).build(AGENTS.get(n).defaults.algorithm, p) for n in ("zero", "random", "repeat")
    )
    assert not zero.act(obs, task_id, mode=True).any()
    assert not torch.equal(random.act(obs, task_id, mode=True), random.act(obs, task_id, mode=True))
    first = repeat.act(obs, task_id, mode=True)
    assert torch.equal(first, repeat.act(obs, task_id, mode=True))
    assert first[1, 1] == 0
    repeat.begin_episodes(torch.tensor([False, False, True]))
    again = repeat.act(obs, task_id, mode=True)
    assert torch.equal(first[:2], again[:2])
    assert not torch.equal(first[2], again[2])


def combiner_of(name, tasks=3):
    config = CombinerConfig().renamed(name)
    return config.build(Setting(tasks, 0.99, CPU, seed=0), config)


def test_combiners_reduce_to_known_gradients():
    for name, weights in (("mean", [1 / 3] * 3), ("scale_invariant", [1 / 12, 1 / 1.5, 1 / 6])):
        point = torch.nn.ParameterList([torch.tensor([4.0, 0.5, -2.0])])
        objective = Objective(point, 3, lambda parameters, point=point: 1.0 * point[0])
        assert combiner_of(name).backward(objective).tolist() == [4.0, 0.5, -2.0]
        assert point[0].grad.tolist() == pytest.approx(weights)


def test_scale_invariant_updates_do_not_see_the_scale_of_a_task():
    p = problem()
    batch = batch_of(p)
    loud = dataclasses.replace(batch, reward=torch.where(batch.task_id == 1, batch.reward * 1e6, batch.reward))
    shares = []
    for name in ("mean", "scale_invariant"):
        agent = SAC(small(critic_combiner=CombinerConfig(name)), p)
        agent.combiners["critic"].backward(agent.critic_objective(_Update(agent._grouped(loud))))
        heads = agent.critics.heads.bias.grad.abs().sum(dim=(0, 2, 3))
        shares.append((heads[1] / heads.sum()).item())
    assert shares[0] > 0.999
    assert shares[1] < 0.01


def test_learning_rates_are_annealed_to_a_tenth_and_that_goes_on_after_a_restart():
    p = problem()
    agent = SAC(small(anneal_after=2, anneal_updates=4, actor_learning_rate=1.0, critic_learning_rate=2.0), p)
    rates = []
    for i in range(8):
        if i == 5:
            weights, state = agent.weights(), agent.get_state()
            agent = SAC(agent.config, p)
            agent.load_weights(weights)
            agent.set_state(state)
        agent.update(batch_of(p, seed=i))
        rates.append(
            [float(agent._optimizers[name].param_groups[0]["lr"]) for name in ("actor", "critic", "temperature")]
        )
    assert [rate[0] for rate in rates] == pytest.approx([1, 1, 0.775, 0.55, 0.325, 0.1, 0.1, 0.1])
    assert [rate[1] for rate in rates] == pytest.approx([2 * rate[0] for rate in rates])
    assert [rate[2] for rate in rates] == pytest.approx([3e-4] * 8)


def test_a_task_whose_loss_is_extreme_sits_out():
    p = problem()
    config = small(loss_limit=100.0, actor=NetworkConfig("paco", width=8, depth=1))
    agent = SAC(dataclasses.replace(config, critic=config.actor), p)
    batch = batch_of(p)
    loud = dataclasses.replace(batch, reward=torch.where(batch.task_id == 1, batch.reward + 1e3, batch.reward))
    calm = dataclasses.replace(batch, reward=torch.where(batch.task_id == 1, 0.0, batch.reward))
    for rewards, kept in ((loud, [1.0, 0.0, 1.0]), (calm, [1.0, 1.0, 1.0])):
        update = _Update(agent._grouped(rewards))
        losses = agent.critic_objective(update).losses(None)
        assert (losses > 0).tolist() == [bool(keep) for keep in kept]
        assert update.kept is not None
        assert update.kept.tolist() == [bool(keep) for keep in kept]
        actor_losses = agent.actor_objective(update).losses(None)
        assert (actor_losses != 0).tolist() == [bool(keep) for keep in kept]
    own = [name for name in split_parameters(agent.critics).specific if "head" not in name]
    assert own
    before = agent.weights()
    before = {name: value.clone() for name, value in before.items()}
    metrics = agent.update(loud)
    assert metrics["sat_out"].tolist() == [0.0, 1.0, 0.0]
    assert metrics["loss/critic"][1] == 0
    after = agent.weights()
    for name in own:
        assert torch.equal(after[f"critics.{name}"][:, 1], after[f"target_critics.{name}"][:, 1]), name
        assert not torch.equal(after[f"critics.{name}"][:, 1], before[f"critics.{name}"][:, 1]), name
        assert not torch.equal(after[f"critics.{name}"][:, 0], after[f"target_critics.{name}"][:, 0]), name
    assert "sat_out" not in SAC(small(), p).update(batch)


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        ("clip", lambda x: x.clamp(-10, 2)),
        ("tanh", lambda x: -10 + 6 * (1 + torch.tanh(x))),
        ("softplus", lambda x: torch.log(torch.log1p(torch.exp(x))).clamp(-10, 2)),
    ],
)
def test_spreads_follow_their_definitions_and_stay_finite(spread, expected):
    policy = SquashedGaussian(spread, -10.0, 2.0)
    raw = torch.linspace(-9.5, 9, 200)
    outputs = torch.stack([torch.zeros(200), raw], dim=1)
    assert torch.allclose(policy.parameters(outputs)[1][:, 0].double(), expected(raw.double()), atol=1e-5)
    extreme = torch.tensor([[0.0, -1e4], [0.0, -200.0], [0.0, -12.0], [0.0, 200.0], [0.0, 1e4]], requires_grad=True)
    log_std = SquashedGaussian(spread, -20.0, 2.0).parameters(extreme)[1]
    assert log_std[[0, -1]].flatten().tolist() == pytest.approx([-20.0, 2.0])
    log_std.sum().backward()
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


def test_one_temperature_for_all_tasks():
    p = problem()
    agent = SAC(small(shared_temperature=True, initial_temperature=0.1, temperature_beta=0.5), p)
    entropy = torch.tensor([-1.0, 4.0, -2.0])
    agent.temperature_losses(entropy).mean().backward()
    assert agent.log_temperature.shape == (1,)
    assert agent.log_temperature.grad is not None
    assert agent.log_temperature.grad.item() == pytest.approx((entropy - agent._target_entropy).mean().item())
    assert agent._optimizers["temperature"].param_groups[0]["betas"] == (0.5, 0.999)
    metrics = agent.update(batch_of(p))
    assert metrics["temperature"].shape == (3,)
    assert len(set(metrics["temperature"].tolist())) == 1


def test_weight_decay_shrinks_everything_but_temperatures_as_in_optax():
    """Its AdamW, which BRC uses, decays biases and normalisations too."""
    p = problem()
    agents = [SAC(small(weight_decay=decay, tau=0.0), p) for decay in (0.0, 0.5)]
    start = {name: value.clone() for name, value in agents[0].weights().items()}
    for agent in agents:
        agent.update(batch_of(p))
    plain, decayed = (agent.weights() for agent in agents)
    for name, value in start.items():
        rate = 3e-4 * 0.5 if name.split(".")[0] in ("actor", "critics") else 0.0
        # the temperature's step follows from an actor that was decayed already
        assert torch.allclose(plain[name] - decayed[name], rate * value, atol=2e-6 if rate else 1e-6), name


@pytest.mark.parametrize(("target", "actor"), [("min", "mean"), ("mean", "first"), ("first", "min")])
def test_reductions_of_targets_and_of_the_actors_value(target, actor):
    p = problem()
    agent = SAC(small(critics=3, target_reduction=target, actor_reduction=actor), p)
    grouped = agent._grouped(batch_of(p))
    reduce = {"min": lambda x: x.min(0).values, "mean": lambda x: x.mean(0), "first": lambda x: x[0]}
    state = agent._generator.get_state()
    with torch.no_grad():
        found = agent.targets(grouped)
        agent._generator.set_state(state)
        action, log_prob = agent._sample_actions(grouped.next_obs, agent._noise(24), None)
        values = agent._outputs(agent.target_critics, grouped.next_obs, action, None).squeeze(-1)
        assert torch.allclose(found, grouped.reward + 0.99 * (reduce[target](values) - log_prob))
        agent._generator.set_state(state)
        losses = agent.actor_objective(_Update(grouped)).losses(None)
        agent._generator.set_state(state)
        action, log_prob = agent._sample_actions(grouped.obs, agent._noise(24), None)
        values = agent._outputs(agent.critics, grouped.obs, action, None).squeeze(-1)
    assert torch.allclose(losses, (log_prob - reduce[actor](values)).mean(dim=1))
