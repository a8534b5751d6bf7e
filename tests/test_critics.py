"""Critics: projections and histograms against plain loops and integrals, PopArt against its definition."""

import dataclasses
import itertools
import math

import pytest
import torch
from agent_toys import batch_of, problem, setting, small
from no_sync import no_sync
from scipy import integrate, stats

from mtrl.agents.networks.build import build_network
from mtrl.agents.sac import SAC
from mtrl.errors import UserError
from mtrl.parts.critic import CRITICS, Backup, CriticConfig, reduce_critics
from mtrl.parts.network import NetworkConfig, NetworkShape, call_network, split_parameters

ROWS = (3, 6)


def critic_of(name, **changes):
    config = dataclasses.replace(CriticConfig().renamed(name), **changes)
    return config.build(setting(), config)


def backup_of(reward, discount=0.99, bonus=0.0):
    return Backup(*(torch.as_tensor(x, dtype=torch.float32).expand(ROWS) for x in (reward, discount, bonus)))


def projected(places, mass, low, high):
    """The projection of one distribution, literally: each mass to its two neighbours."""
    bins = len(mass)
    width = (high - low) / (bins - 1)
    result = [0.0] * bins
    for place, weight in zip(places, mass, strict=True):
        position = (min(max(place, low), high) - low) / width
        below = min(math.floor(position), bins - 2)
        result[below] += weight * (below + 1 - position)
        result[below + 1] += weight * (position - below)
    return result


def test_c51_projects_as_a_plain_loop_does():
    torch.manual_seed(0)
    critic = critic_of("c51", bins=11, v_min=-2.0, v_max=3.0)
    outputs = torch.randn(2, *ROWS, 11)
    backup = Backup(torch.randn(ROWS) * 2, torch.rand(ROWS), torch.randn(ROWS))
    backup.discount[0, 0] = 0.0
    target = critic.target(outputs, backup, torch.arange(3), "mean")
    support = torch.linspace(-2, 3, 11).double()
    for i in range(ROWS[0]):
        for j in range(ROWS[1]):
            mass = outputs[:, i, j].double().softmax(-1).mean(0)
            places = backup.reward[i, j].double() + backup.discount[i, j].double() * (support + backup.bonus[i, j])
            expected = projected(places.tolist(), mass.tolist(), -2.0, 3.0)
            assert target[i, j].tolist() == pytest.approx(expected, abs=1e-6)
    assert (target[0, 0] > 0).sum() <= 2  # nothing follows: all the mass lies where the reward is


def test_c51_conserves_mass_always_and_the_mean_within_the_bounds():
    torch.manual_seed(1)
    critic = critic_of("c51")
    outputs = torch.randn(2, *ROWS, 101) * 3
    value = critic.values(outputs, torch.arange(3)).mean(dim=0)
    inside = Backup(torch.randn(ROWS) * 0.2, torch.full(ROWS, 0.9), torch.randn(ROWS) * 0.2)
    target = critic.target(outputs, inside, torch.arange(3), "mean")
    assert torch.allclose(target.sum(-1), torch.ones(ROWS), atol=1e-6)
    expected = inside.reward + 0.9 * (value + inside.bonus)
    assert torch.allclose(target @ torch.linspace(-10, 10, 101), expected, atol=2e-5)
    for reward, bin_number in ((50.0, 100), (-50.0, 0)):
        outside = critic.target(outputs, backup_of(reward), torch.arange(3), "mean")
        assert torch.allclose(outside[..., bin_number], torch.ones(ROWS), atol=1e-6)


def test_c51_leaves_a_distribution_that_does_not_move():
    critic = critic_of("c51", bins=7)
    outputs = torch.randn(1, *ROWS, 7)
    target = critic.target(outputs, backup_of(0.0, discount=1.0), torch.arange(3), "first")
    assert torch.allclose(target, outputs[0].softmax(-1), atol=1e-6)


def test_c51_projection_integrates_the_hat_functions():
    """Bin k gets the integral of the hat around z_k over the distribution after the step."""
    critic = critic_of("c51", bins=9, v_min=-1.0, v_max=1.0)
    low, high = -0.83, 0.71  # uniform between these, as very many small masses
    count = 20_001
    places = torch.linspace(low, high, count).expand(1, 1, count)
    place_of_each = torch.cat([places.flatten(), places.new_zeros((-count) % 9)]).unflatten(0, (1, -1, 9))
    mass = torch.cat([torch.full((count,), 1 / count), torch.zeros((-count) % 9)]).unflatten(0, (1, -1, 9))
    found = critic.project(place_of_each, mass).sum(dim=(0, 1))
    for number, centre in enumerate(torch.linspace(-1, 1, 9).tolist()):

        def hat(x, centre=centre):
            return max(0.0, 1 - abs(x - centre) / 0.25) / (high - low)

        inside = [edge for edge in (centre - 0.25, centre, centre + 0.25) if low < edge < high]
        expected, _ = integrate.quad(hat, low, high, points=inside or None)
        assert found[number].item() == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("reduction", "copy"), [("min", 1), ("first", 0)])
def test_c51_takes_one_target_critic_for_each_sample(reduction, copy):
    critic = critic_of("c51", bins=5, v_min=0.0, v_max=4.0)
    outputs = torch.zeros(2, *ROWS, 5)
    outputs[0, ..., 3], outputs[1, ..., 1] = 9.0, 9.0
    outputs[:, 0, 0] = outputs[:, 0, 0].flip(0)  # there the first is the lower one
    target = critic.target(outputs, backup_of(0.0, 1.0), torch.arange(3), reduction)
    expected = outputs[copy].softmax(-1)
    if reduction == "min":
        expected[0, 0] = outputs[0, 0, 0].softmax(-1)
    assert torch.allclose(target, expected, atol=1e-6)


def test_values_are_expectations():
    outputs = torch.full((1, *ROWS, 5), -100.0)
    outputs[..., 1] = outputs[..., 4] = 0.0
    assert critic_of("c51", bins=5, v_min=0.0, v_max=4.0).values(outputs, torch.arange(3)).mean() == 2.5
    assert critic_of("hl_gauss", bins=5, v_min=0.0, v_max=5.0).values(outputs, torch.arange(3)).mean() == 3.0


@pytest.mark.parametrize("y", [-10.0, -9.99, -3.217, 0.0, 0.0990099, 4.2, 10.0, 12.0])
def test_hl_gauss_agrees_with_numerical_integration(y):
    critic = critic_of("hl_gauss")
    found = critic.histogram(torch.tensor([y]))[0]
    edges = torch.linspace(-10, 10, 102, dtype=torch.float64).tolist()
    sigma, centre = 0.75 * 20 / 101, min(y, 10.0)
    density = stats.norm(centre, sigma).pdf
    mass = [integrate.quad(density, a, b, epsabs=1e-14)[0] for a, b in itertools.pairwise(edges)]
    assert found.sum().item() == pytest.approx(1.0, abs=1e-6)
    assert found.tolist() == pytest.approx([m / sum(mass) for m in mass], abs=2e-6)


def test_hl_gauss_keeps_its_tails_in_single_precision():
    """A difference of two numbers next to 1 would be 0 or 6e-8 where the mass is 1e-12."""
    critic = critic_of("hl_gauss")
    found = critic.histogram(torch.tensor([0.3]))[0].double()
    sigma = 0.75 * 20 / 101
    edges = (torch.linspace(-10, 10, 102, dtype=torch.float64) - 0.3) / sigma
    low, high = edges[:-1].numpy(), edges[1:].numpy()
    exact = torch.tensor(stats.norm.cdf(-low) - stats.norm.cdf(-high))
    exact[low < 0] = torch.tensor(stats.norm.cdf(high) - stats.norm.cdf(low))[low < 0]
    relevant = exact > 1e-25
    assert relevant.sum() > 14
    assert torch.allclose(found[relevant], exact[relevant], rtol=2e-3, atol=0.0)


def test_hl_gauss_has_the_target_as_its_mean():
    critic = critic_of("hl_gauss")
    y = torch.linspace(-9, 9, 777)
    assert torch.allclose(critic.histogram(y) @ critic._centres, y, atol=2e-3)
    assert torch.isfinite(critic.histogram(torch.tensor([-1e30, 1e30, 1e4]))).all()


def test_hl_gauss_targets_are_backups_of_the_reduced_value():
    critic = critic_of("hl_gauss")
    outputs = torch.randn(3, *ROWS, 101)
    backup = Backup(torch.randn(ROWS), torch.rand(ROWS), torch.randn(ROWS))
    for reduction in ("min", "mean", "first"):
        value = reduce_critics(critic.values(outputs, torch.arange(3)), reduction)
        y = backup.reward + backup.discount * (value + backup.bonus)
        assert torch.equal(critic.target(outputs, backup, torch.arange(3), reduction), critic.histogram(y))


@pytest.mark.parametrize("name", ["c51", "hl_gauss"])
def test_cross_entropy_is_that_of_torch_and_least_at_the_target(name):
    critic = critic_of(name, bins=9)
    target = torch.rand(*ROWS, 9).softmax(-1)
    outputs = torch.randn(2, *ROWS, 9)
    losses = critic.losses(outputs, target, torch.arange(3))
    for copy in range(2):
        expected = torch.nn.functional.cross_entropy(
            outputs[copy].flatten(0, 1), target.flatten(0, 1), reduction="none"
        )
        assert torch.allclose(losses[copy].flatten(), expected, atol=1e-6)
    at = target.log().expand(2, -1, -1, -1).clone().requires_grad_()
    critic.losses(at, target, torch.arange(3)).sum().backward()
    assert at.grad is not None
    assert at.grad.abs().max() < 1e-6


@pytest.mark.parametrize("name", list(CRITICS))
def test_critics_answer_in_the_shapes_of_the_contract(name):
    critic = critic_of(name)
    outputs, task_id = torch.randn(2, *ROWS, critic.outputs, requires_grad=True), torch.arange(3)
    values = critic.values(outputs, task_id)
    assert values.shape == (2, *ROWS)
    assert values.requires_grad
    backup = backup_of(1.0)
    with torch.no_grad(), no_sync():
        target = critic.target(outputs, backup, task_id, "mean")
    assert not target.requires_grad
    assert target.shape[:2] == ROWS
    losses = critic.losses(outputs, target, task_id)
    assert losses.shape == (2, *ROWS)
    losses.sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad != 0).any()


@pytest.mark.parametrize("name", list(CRITICS))
def test_a_target_that_is_no_number_shows_in_the_loss(name):
    """And not as an index out of bounds, which on a GPU would end the process without a word."""
    critic = critic_of(name)
    outputs = torch.full((2, *ROWS, critic.outputs), math.nan)
    target = critic.target(outputs, backup_of(1.0), torch.arange(3), "mean")
    assert critic.losses(torch.zeros_like(outputs), target, torch.arange(3)).isnan().all()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("c51", {"bins": 1}, r"--algorithm\.value\.bins 1 is impossible"),
        ("c51", {"v_min": 3.0, "v_max": 3.0}, r"--algorithm\.value\.v-min 3\.0 is not below"),
        ("hl_gauss", {"smoothing": 0.0}, r"--algorithm\.value\.smoothing 0\.0 is impossible"),
        ("popart", {"beta": 1.5}, r"--algorithm\.value\.beta 1\.5 is impossible"),
    ],
)
def test_impossible_settings_are_refused(name, changes, message):
    with pytest.raises(UserError, match=message):
        small(value=dataclasses.replace(CriticConfig().renamed(name), **changes)).check()


def popart_networks(critic, double=False):
    shape = NetworkShape(3, 4, 1, 2, 0.5)
    networks = []
    for seed in (0, 1):
        body = build_network(shape, NetworkConfig(width=8, depth=1), torch.Generator().manual_seed(seed))
        network = critic.attach(body, shape).requires_grad_(False)
        network.last.scale.copy_(torch.rand_like(network.last.scale) + 0.5)
        network.last.shift.copy_(torch.randn_like(network.last.shift))
        networks.append(network.double() if double else network)
    return tuple(networks)


@pytest.mark.parametrize("double", [False, True])
def test_popart_preserves_the_values_of_critics_and_targets(double):
    torch.manual_seed(0)
    critic = critic_of("popart", beta=0.1)
    kind = torch.float64 if double else torch.float32
    critic.to(kind)
    networks = popart_networks(critic, double)
    x, task_id = torch.randn(3, 5, 4, dtype=kind), torch.arange(3)
    size = torch.tensor([1e-2, 1.0, 300.0], dtype=kind)[:, None]
    for step in range(30):
        before = [critic.values(network(x, task_id), task_id) for network in networks]
        target = size * (torch.randn(3, 6, dtype=kind) + step)
        critic.adapt(target, task_id, networks)
        for old, network in zip(before, networks, strict=True):
            new = critic.values(network(x, task_id), task_id)
            scale = old.abs() + critic.deviation()[:, None] + critic.mean.abs()[:, None]
            assert ((new - old).abs() / scale).max() < (1e-13 if double else 2e-6)
    assert critic.deviation()[2] > 100
    assert critic.deviation()[0] < 1


def test_popart_follows_the_running_moments_of_each_task():
    torch.manual_seed(0)
    critic = critic_of("popart", beta=0.05).double()
    networks, mean, square = popart_networks(critic, double=True), [0.0] * 3, [1.0] * 3
    for _ in range(40):
        target = torch.randn(3, 6, dtype=torch.float64) * torch.tensor([0.1, 1.0, 10.0])[:, None] + 5
        normalised = critic.adapt(target, torch.arange(3), networks)
        for task in range(3):
            mean[task] += 0.05 * (target[task].mean().item() - mean[task])
            square[task] += 0.05 * (target[task].square().mean().item() - square[task])
            deviation = math.sqrt(square[task] - mean[task] ** 2)
            assert critic.mean[task].item() == pytest.approx(mean[task], rel=1e-12)
            assert critic.deviation()[task].item() == pytest.approx(deviation, rel=1e-9)
            assert torch.allclose(normalised[task], (target[task] - mean[task]) / deviation)


def test_popart_has_a_least_deviation():
    critic = critic_of("popart", beta=1.0)
    networks = popart_networks(critic)
    for _ in range(3):
        normalised = critic.adapt(torch.full((3, 6), 1e4), torch.arange(3), networks)
    assert critic.deviation().tolist() == pytest.approx([1e-4] * 3)
    assert torch.isfinite(normalised).all()
    assert all(torch.isfinite(parameter).all() for network in networks for parameter in network.parameters())


def test_popart_layer_is_each_tasks_own_and_works_for_each_task_apart():
    critic = critic_of("popart")
    network = popart_networks(critic)[0].requires_grad_(True)
    parameters = split_parameters(network)
    assert {"last.scale", "last.shift"} <= set(parameters.specific)
    x, task_id = torch.randn(3, 5, 4), torch.arange(3)
    expanded = {name: value.expand(3, *value.shape) for name, value in parameters.shared.items()}
    apart = call_network(network, x, task_id, dataclasses.replace(parameters, shared=expanded))
    assert torch.allclose(apart, network(x, task_id), atol=1e-6)


def test_popart_statistics_are_saved_with_the_weights_and_outlive_a_reset():
    p = problem()
    agent = SAC(small(value=CriticConfig().renamed("popart"), reset_every=10), p)
    for i in range(3):
        agent.update(batch_of(p, seed=i))
    other = SAC(agent.config, p)
    other.load_weights({name: value.clone() for name, value in agent.weights().items()})
    assert torch.equal(other.critic.mean, agent.critic.mean)
    assert (agent.critic.mean != 0).all()
    kept = agent.critic.mean.clone()
    agent._begin_anew()
    assert torch.equal(agent.critic.mean, kept)
    assert (agent.critics.last.scale == 1).all()


def test_popart_learns_large_and_small_values_alike():
    """Losses are of normalised values: a task that pays a thousand times more weighs no more."""
    p = problem()
    config = dataclasses.replace(CriticConfig().renamed("popart"), beta=0.5)
    agent = SAC(small(value=config, gamma=0.0), p)
    loud = torch.tensor([1.0, 1e3, 1e-2]).repeat_interleave(8)
    for i in range(20):
        batch = batch_of(p, seed=i, discount=0.0)
        metrics = agent.update(dataclasses.replace(batch, reward=batch.reward * loud))
    assert (metrics["loss/critic"] < 3).all()
    assert (metrics["loss/critic"] > 0.3).all()


@pytest.mark.parametrize("critics", [1, 3, 5])
@pytest.mark.parametrize("reduction", ["min", "mean", "first"])
def test_ensembles_of_any_size(critics, reduction):
    p = problem()
    agent = SAC(small(critics=critics, target_reduction=reduction, actor_reduction=reduction), p)
    metrics = agent.update(batch_of(p))
    assert all(torch.isfinite(value).all() for value in metrics.values())
    values = torch.randn(critics, 2, 3)
    expected = {"min": values.min(0).values, "mean": values.mean(0), "first": values[0]}
    assert torch.equal(reduce_critics(values, reduction), expected[reduction])
