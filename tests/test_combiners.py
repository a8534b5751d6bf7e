"""Combiners against independent truths: closed forms, scipy's optimisers, and their definitions written out."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy import optimize
from test_agents import batch_of, problem, small

from mtrl.agents.combiners.cagrad import conflict_averse
from mtrl.agents.combiners.fairgrad import fair
from mtrl.agents.combiners.mgda import shortest
from mtrl.agents.combiners.nash import bargain
from mtrl.agents.combiners.pcgrad import project
from mtrl.agents.sac import SAC, _Update
from mtrl.errors import UserError
from mtrl.parts.combiner import COMBINERS, CombinerConfig, GradientCombiner, Objective, Weighting
from mtrl.parts.network import Network, NetworkConfig, TaskParameters, TaskSpecific, call_network, split_parameters
from mtrl.parts.part import Setting

CPU = torch.device("cpu")


class Own(TaskSpecific):
    """One number of each task's own."""

    def __init__(self, tasks):
        super().__init__()
        self.number = torch.nn.Parameter(torch.ones(1, tasks, 1))


class Point(Network):
    """x . theta + own + bend |theta|^4 / 4: with x the gradients wanted, and curvature where there is to be some."""

    def __init__(self, tasks, size, bend=0.0):
        super().__init__()
        self.theta = torch.nn.Parameter(torch.linspace(-1.0, 1.0, size) * bend)
        self.own, self.bend = Own(tasks), bend

    def forward(self, x, task_id):
        linear = (x @ self.theta).unsqueeze(0).unsqueeze(-1)
        quartic = 0.25 * self.bend * x.square().sum(-1)[None, :, :, None] * self.theta.square().sum().square()
        own = self.own.number[:, task_id].unsqueeze(2)
        return linear + quartic + own + 0.25 * self.bend * own**4


def objective_of(gradients, losses=None, bend=0.0, log_temperature=None):
    """Losses whose gradients by theta are the rows given, and whose values are those given."""
    gradients = torch.as_tensor(gradients, dtype=torch.float32)
    tasks, size = gradients.shape
    point = Point(tasks, size, bend)
    values = torch.ones(tasks) if losses is None else torch.as_tensor(losses, dtype=torch.float32)

    def each(parameters):
        outputs = call_network(point, gradients.unsqueeze(1), torch.arange(tasks), parameters)[0, :, 0, 0]
        return values * (outputs - start + 1.0) if bend == 0.0 and losses is None else values + outputs - start

    start = call_network(point, gradients.unsqueeze(1), torch.arange(tasks))[0, :, 0, 0].detach()
    return Objective(point, tasks, each, log_temperature)


def combiner_of(name, tasks, /, seed=0, **settings):
    config = dataclasses.replace(CombinerConfig().renamed(name), **settings)
    config.check("algorithm.critic_combiner.")
    names = tuple(f"task-{i}" for i in range(tasks))
    return config.build(Setting(tasks, 0.99, CPU, seed, task_names=names), config)


def direction(name, gradients, losses=None, /, **settings):
    """The gradient that a combiner sets, by theta."""
    objective = objective_of(gradients, losses)
    combiner_of(name, len(gradients), **settings).backward(objective)
    return objective.network.theta.grad.numpy().astype(np.float64)


def draw(tasks, size, spread=0.0, seed=0, common=0.0):
    """Gradients `[task, size]` of different lengths."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(tasks, size)) + common * generator.normal(size=size)
    return rows * 10.0 ** generator.uniform(-spread, spread, size=(tasks, 1))


# Gradients of single tasks


@pytest.mark.parametrize("network", ["one_hot", "multi_head"])
@pytest.mark.parametrize("part", ["actor", "critic"])
def test_batched_gradients_of_tasks_equal_separate_backward_passes(part, network):
    p = problem()
    size = NetworkConfig(network, width=16, depth=2)
    agent = SAC(small(actor=size, critic=size), p)
    objective = getattr(agent, f"{part}_objective")(_Update(agent._grouped(batch_of(p))))
    together = objective.task_gradients()
    order = torch.tensor([2, 0, 1])
    some = objective.some_gradients(order, 2)
    own = split_parameters(objective.network)
    named = {**own.shared, **own.specific}
    separate = [torch.autograd.grad(objective.losses(None)[i], list(named.values())) for i in range(3)]
    assert torch.allclose(together.losses, objective.losses(None)) and torch.equal(together.losses, some.losses)
    for place, name in enumerate(named):
        rows = torch.stack([gradients[place] for gradients in separate])
        if name in own.shared:
            scale = rows.abs().max()
            assert torch.allclose(together.shared[name], rows, atol=1e-5 * scale)
            expected = torch.stack([rows[2], rows[0], rows[1]])  # the last is the sum of all others: of one
            assert torch.allclose(some.shared[name], expected, atol=1e-5 * scale)
        else:
            assert torch.allclose(together.specific[name], rows.sum(0), atol=1e-5)
            assert torch.allclose(some.specific[name], rows.sum(0), atol=1e-5)
    flat = torch.cat([together.shared[name].flatten(1) for name in own.shared], dim=1).double()
    assert torch.allclose(together.gram().double(), flat @ flat.T, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_gradients_at_points_of_the_tasks_own_equal_those_of_a_network_that_is_there(part):
    p = problem()
    agent = SAC(small(), p)
    objective = getattr(agent, f"{part}_objective")(_Update(agent._grouped(batch_of(p))))
    own = split_parameters(objective.network)
    generator = torch.Generator().manual_seed(0)
    shared = {n: v.detach() + 0.01 * torch.randn((3, *v.shape), generator=generator) for n, v in own.shared.items()}
    together = objective.task_gradients(TaskParameters(shared, own.specific))
    for task in range(3):
        with torch.no_grad():
            for name, value in own.shared.items():
                value.copy_(shared[name][task])
        losses = objective.losses(None)
        assert losses[task].item() == pytest.approx(together.losses[task].item(), rel=1e-4)
        gradients = torch.autograd.grad(losses[task], list(own.shared.values()))
        for name, gradient in zip(own.shared, gradients, strict=True):
            assert torch.allclose(together.shared[name][task], gradient, atol=1e-5 * gradient.abs().max() + 1e-8)


# Weights of losses


def test_given_weights():
    gradients = np.eye(3)
    assert direction("given", gradients).tolist() == pytest.approx([1 / 3] * 3)
    assert direction("given", gradients, weights=("1", "2.5", "0")).tolist() == pytest.approx([1 / 3, 2.5 / 3, 0])
    assert direction("given", gradients, weights=("task-1=4",)).tolist() == pytest.approx([1 / 3, 4 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (("1", "2"), "2 weights are given for 3 tasks"),
        (("reach=1",), "given for 'reach'"),
        (("task-0=1", "2"), "name all of them or none"),
        (("task-0=1", "task-0=2"), "names a task twice"),
        (("1", "2", "-3"), "'-3' is no weight"),
        (("1", "2", "nan"), "'nan' is no weight"),
        (("task-0=much",), "'task-0=much' is no weight"),
    ],
)
def test_given_weights_that_do_not_fit_are_refused(weights, message):
    with pytest.raises(UserError, match=message):
        combiner_of("given", 3, weights=weights)


def test_temperature_weights_are_a_softmax_of_minus_the_log_temperatures():
    temperature = torch.tensor([0.1, 1.0, 2.5])
    objective = objective_of(np.eye(3), log_temperature=temperature.log())
    combiner = combiner_of("temperature", 3)
    combiner.backward(objective)
    expected = 3 * (1 / temperature) / (1 / temperature).sum()
    assert torch.allclose(objective.network.theta.grad, expected / 3)
    assert torch.allclose(combiner.report()["weight"], expected / 3)
    with pytest.raises(UserError, match="temperatures, of which this algorithm has none"):
        combiner.backward(objective_of(np.eye(3)))


def test_uncertainty_weights_and_what_they_learn_follow_the_definition():
    losses, initial = torch.tensor([4.0, 0.25, 3.0]), -0.5
    combiner = combiner_of("uncertainty", 3, initial=initial)
    leaf, s = losses.double().requires_grad_(), torch.full((3,), initial, dtype=torch.float64, requires_grad=True)
    (0.5 * (-s).exp() * leaf + 0.5 * s).sum().backward()
    total = combiner.total(losses.requires_grad_(), None)
    total.backward()
    assert torch.allclose(losses.grad.double(), leaf.grad)
    assert torch.allclose(combiner.log_variance.grad.double(), s.grad)


def test_uncertainty_finds_the_size_of_losses_of_either_sign():
    losses = [4.0, -0.25, 3.0, 0.0]
    combiner = combiner_of("uncertainty", 4, learning_rate=0.05)
    objective = objective_of(np.eye(4), losses)
    for _ in range(400):
        combiner.backward(objective)
    assert combiner.log_variance.exp()[:3].tolist() == pytest.approx([4.0, 0.25, 3.0], rel=0.02)
    assert combiner.log_variance[3] == 0.0
    assert (objective.network.theta.grad > 0).all()  # a negative loss is still made smaller


# GradNorm


def test_gradnorm_learns_along_the_slope_of_its_sum_with_the_target_held():
    gradients, losses = draw(5, 20, spread=0.5), np.array([1.0, 0.2, 3.0, 0.7, 2.0])
    norms = np.linalg.norm(gradients, axis=1)
    first, weights = np.array([2.0, 1.0, 3.0, 0.1, 4.0]), np.array([0.5, 2.0, 0.7, 1.3, 0.5])
    ratios = losses / first
    rates = ratios / ratios.mean()
    target = (weights * norms).mean() * rates**1.5

    def held(w):
        return np.abs(w * norms - target).sum()

    def moving(w):
        return np.abs(w * norms - (w * norms).mean() * rates**1.5).sum()

    combiner = combiner_of("gradnorm", 5)
    combiner.get_buffer("first_losses").copy_(torch.tensor(first))
    combiner.task_weights.data.copy_(torch.tensor(weights))
    slope = combiner.slope(torch.tensor(norms, dtype=torch.float32), torch.tensor(losses, dtype=torch.float32))
    steps = 1e-6 * np.eye(5)
    assert slope.tolist() == pytest.approx([(held(weights + h) - held(weights - h)) / 2e-6 for h in steps], rel=1e-4)
    assert slope.tolist() != pytest.approx([(moving(weights + h) - moving(weights - h)) / 2e-6 for h in steps], rel=0.1)


def test_gradnorm_keeps_the_first_losses_and_weights_that_sum_to_the_tasks_and_brings_norms_together():
    gradients = draw(4, 30, spread=1.0, seed=2)
    combiner = combiner_of("gradnorm", 4, exponent=0.0, learning_rate=0.01)
    for step in range(300):
        objective = objective_of(gradients, [1.0 + step, 2.0, 0.0 if step == 0 else 5.0, -3.0])
        before = combiner.task_weights.detach().clone()
        combiner.backward(objective)
        expected = (before.numpy()[:, None] * gradients).sum(0) / 4  # those before the update
        assert np.allclose(objective.network.theta.grad, expected, rtol=1e-4, atol=1e-5)
        assert np.allclose(objective.network.own.number.grad.flatten(), before / 4)  # they act on everything
        assert combiner.task_weights.sum().item() == pytest.approx(4.0, rel=1e-5)
    assert combiner.get_buffer("first_losses").tolist() == [1.0, 2.0, 5.0, -3.0]
    norms = combiner.task_weights.detach().numpy() * np.linalg.norm(gradients, axis=1)
    assert norms.max() / norms.min() < 1.2
    other = combiner_of("gradnorm", 4)
    other.set_state(combiner.get_state())
    assert torch.equal(other.task_weights, combiner.task_weights)
    assert torch.equal(other.get_buffer("first_losses"), combiner.get_buffer("first_losses"))


# MGDA


def test_mgda_of_two_tasks_is_its_closed_form():
    for seed, common in itertools.product(range(10), (0.0, 2.0)):
        one, other = draw(2, 3, spread=0.5, seed=seed, common=common)
        share = np.clip((other - one) @ other / ((other - one) @ (other - one)), 0.0, 1.0)
        found = direction("mgda", np.stack([one, other]))
        assert found == pytest.approx(share * one + (1 - share) * other, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("tasks", "size", "spread"), [(3, 10, 0.0), (10, 6, 0.5), (10, 400, 1.0), (50, 400, 0.5)])
def test_mgda_solves_its_quadratic_programme(tasks, size, spread):
    gradients = draw(tasks, size, spread, seed=1, common=0.5)
    gram = gradients @ gradients.T
    weights = shortest(torch.tensor(gram)).numpy()
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1.0)
    scale = np.abs(gram).max()
    # non-negative least squares: |sum_i w_i g_i| with the sum of weights held at one by a heavy row
    rows = np.vstack([gradients.T / np.sqrt(scale), 1e4 * np.ones(tasks)])
    truth = optimize.nnls(rows, np.append(np.zeros(size), 1e4), maxiter=100 * tasks)[0]
    truth /= truth.sum()
    assert weights @ gram @ weights <= (truth @ gram @ truth) * (1 + 1e-6) + 1e-9 * np.diag(gram).min()
    assert np.allclose(gradients.T @ weights, gradients.T @ truth, atol=1e-3 * np.abs(gradients.T @ truth).max() + 1e-6)


def test_mgda_divides_gradients_as_it_is_told():
    gradients, losses = draw(4, 30, 1.0), np.array([0.5, 2.0, 8.0, 1.0])
    norms = np.linalg.norm(gradients, axis=1)
    for name, divisor in (("norm", norms), ("loss", losses), ("both", norms * losses)):
        divided = gradients / divisor[:, None]
        found = direction("mgda", gradients, losses, normalize=name)
        expected = divided.T @ shortest(torch.tensor(divided @ divided.T)).numpy() * divisor.mean()
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4 * np.abs(expected).max())
        products = divided @ found
        assert (
            products.min() >= products.max() * (1 - 1e-3) or (shortest(torch.tensor(divided @ divided.T)) < 1e-6).any()
        )


# PCGrad


def literal_pcgrad(gradients, orders):
    """The algorithm as it is written, with whole vectors."""
    projected = []
    for i, order in enumerate(orders):
        vector = gradients[i].copy()
        for j in order:
            product = vector @ gradients[j]
            if product < 0:
                vector = vector - product / (gradients[j] @ gradients[j]) * gradients[j]
        projected.append(vector)
    return np.stack(projected)


def test_pcgrad_of_two_tasks_is_its_closed_form():
    one, other = np.array([1.0, 0.0, 0.5]), np.array([-2.0, 1.0, 0.5])
    product = one @ other
    assert product < 0
    expected = one - product / (other @ other) * other + other - product / (one @ one) * one
    assert direction("pcgrad", np.stack([one, other])) == pytest.approx(expected / 2, rel=1e-5)
    assert direction("pcgrad", np.stack([one, other]), reduction="sum") == pytest.approx(expected, rel=1e-5)
    assert direction("pcgrad", np.stack([one, -other])) == pytest.approx((one - other) / 2, rel=1e-5)


@pytest.mark.parametrize("tasks", [1, 2, 5, 20])
def test_pcgrad_on_coefficients_is_the_loop_over_vectors_and_depends_on_the_order(tasks):
    gradients = draw(tasks, 8, 0.5, seed=3)
    combiner = combiner_of("pcgrad", tasks, seed=5)
    orders = combiner.orders(tasks, CPU)
    coefficients = project(torch.tensor(gradients @ gradients.T), orders).numpy()
    expected = literal_pcgrad(gradients, orders.tolist())
    assert np.allclose(coefficients @ gradients, expected, atol=1e-9)
    reversed_order = literal_pcgrad(gradients, orders.flip(1).tolist())
    assert np.allclose(expected, reversed_order) == (tasks <= 2)
    again = combiner_of("pcgrad", tasks, seed=5)
    objective = objective_of(gradients)
    again.backward(objective)
    assert np.allclose(objective.network.theta.grad, expected.mean(0), atol=1e-4 * np.abs(expected).max())


def test_pcgrad_visits_all_others_in_an_order_of_each_tasks_own_and_never_itself():
    combiner = combiner_of("pcgrad", 6)
    first, second = combiner.orders(6, CPU), combiner.orders(6, CPU)
    for orders in (first, second):
        for task, order in enumerate(orders.tolist()):
            assert sorted([*order, task]) == list(range(6))
    assert not torch.equal(first, second)
    drawn = [combiner.orders(6, CPU)[:2].tolist() for _ in range(5)]  # how two tasks come to those that both visit
    assert any([j for j in one if j > 1] != [j for j in other if j > 1] for one, other in drawn)
    counts = torch.zeros(6, 6)
    for _ in range(300):
        counts.scatter_add_(1, combiner.orders(6, CPU)[:, :1], torch.ones(6, 1))
    assert (counts.diagonal() == 0).all()
    assert counts[~torch.eye(6, dtype=torch.bool)].min() > 30  # of 60 on average


# CAGrad


def cagrad_objective(weights, gram, c):
    mean = gram.mean(axis=1)
    return weights @ mean + c * np.sqrt(mean.mean()) * np.sqrt(max(weights @ gram @ weights, 0.0))


@pytest.mark.parametrize("c", [0.4, 0.9])
@pytest.mark.parametrize(("tasks", "size", "spread"), [(2, 5, 0.3), (5, 4, 0.3), (10, 100, 0.5), (10, 1000, 0.0)])
def test_cagrad_is_the_optimum_that_scipy_finds(tasks, size, spread, c):
    gradients = draw(tasks, size, spread, seed=4)
    gram = gradients @ gradients.T
    start = np.full(tasks, 1 / tasks)
    scale = abs(cagrad_objective(start, gram, c))
    truth = optimize.minimize(
        lambda w: cagrad_objective(w, gram, c) / scale,
        start,
        method="SLSQP",
        bounds=[(0, 1)] * tasks,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    ).x
    blend, mean = truth @ gradients, gradients.mean(0)
    expected = (mean + c * np.linalg.norm(mean) / np.linalg.norm(blend) * blend) / (1 + c**2)
    found = direction("cagrad", gradients, c=c)
    assert found == pytest.approx(expected, rel=1e-3, abs=2e-3 * np.abs(expected).max())
    # by duality: what the task that gains least gains is what was minimised
    assert (gradients @ found).min() * (1 + c**2) == pytest.approx(cagrad_objective(truth, gram, c), rel=1e-3, abs=1e-5)
    assert np.linalg.norm(found * (1 + c**2) - mean) <= c * np.linalg.norm(mean) * (1 + 1e-4)


@pytest.mark.parametrize("tasks", [3, 50])
def test_cagrad_gains_as_much_as_its_dual_allows_even_where_gradients_cancel(tasks):
    for seed, size in itertools.product(range(4), (2, 30)):
        gradients = draw(tasks, size, 0.3, seed=seed)
        gram = gradients @ gradients.T
        mean = torch.full((tasks,), 1 / tasks, dtype=torch.float64)
        weights = conflict_averse(torch.tensor(gram), mean, torch.ones_like(mean), 0.5).numpy() * 1.25
        rest = weights - 1 / tasks
        radius = 0.5 * np.sqrt(gram.mean())
        assert np.sqrt(max(rest @ gram @ rest, 0.0)) <= radius * (1 + 1e-6)
        blend = rest / rest.sum()
        dual = blend @ gram.mean(1) + radius * np.sqrt(max(blend @ gram @ blend, 0.0))
        assert (gram @ weights).min() == pytest.approx(dual, abs=1e-3 * np.sqrt(gram.mean() * np.diag(gram).min()))


@pytest.mark.parametrize("name", ["cagrad", "cagrad_fast"])
def test_cagrad_without_radius_is_the_mean_gradient(name):
    gradients = draw(6, 20, 1.0)
    assert direction(name, gradients, c=0.0) == pytest.approx(gradients.mean(0), rel=1e-5, abs=1e-5)


def test_cagrad_fast_minimises_over_the_tasks_that_it_draws():
    gradients, c = draw(7, 30, 0.3, seed=6), 0.7
    mean = gradients.mean(0)
    for seed in range(3):
        order = combiner_of("cagrad_fast", 7, seed=seed)._order(7, CPU)
        drawn = gradients[order[:2].numpy()]

        def of(share, drawn=drawn):
            blend = share * drawn[0] + (1 - share) * drawn[1]
            return blend @ mean + c * np.linalg.norm(mean) * np.linalg.norm(blend)

        share = optimize.minimize_scalar(of, bounds=(0, 1), method="bounded", options={"xatol": 1e-10}).x
        blend = share * drawn[0] + (1 - share) * drawn[1]
        expected = (mean + c * np.linalg.norm(mean) / np.linalg.norm(blend) * blend) / (1 + c**2)
        found = direction("cagrad_fast", gradients, c=c, tasks=2, seed=seed)
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected).max())
        whole = combiner_of("cagrad_fast", 7, seed=seed, c=c, tasks=2)  # the same where all gradients are known
        weights = whole.weights(torch.tensor(gradients @ gradients.T), torch.ones(7))
        assert (weights.numpy() @ gradients) == pytest.approx(expected, rel=1e-3, abs=1e-3 * np.abs(expected).max())


def test_cagrad_fast_draws_all_tasks_alike_and_is_cagrad_where_it_draws_all():
    gradients = draw(4, 20, 0.3)
    assert direction("cagrad_fast", gradients, tasks=4) == pytest.approx(direction("cagrad", gradients), rel=1e-4)
    assert direction("cagrad_fast", gradients, tasks=9) == pytest.approx(direction("cagrad", gradients), rel=1e-4)
    combiner = combiner_of("cagrad_fast", 5, tasks=2)
    drawn = torch.cat([combiner._order(5, CPU)[:2] for _ in range(500)])
    assert torch.bincount(drawn, minlength=5).min() > 150  # of 200 on average; the last task too


# Nash-MTL and FairGrad


SIZES = [(1, 5, 0.5), (2, 10, 0.5), (10, 30, 1.0), (10, 400, 2.0), (50, 400, 1.0)]


@pytest.mark.parametrize(("tasks", "size", "spread"), SIZES)
def test_the_nash_bargain_solves_its_equations_and_sees_no_scale(tasks, size, spread):
    gradients = draw(tasks, size, spread, seed=7, common=0.3)
    gram = gradients @ gradients.T
    weights = bargain(torch.tensor(gram)).numpy()
    assert weights.min() > 0
    assert np.abs(weights * (gram @ weights) - 1).max() < 1e-3
    assert weights @ gram @ weights == pytest.approx(tasks, rel=1e-3)
    scales = 10.0 ** np.random.default_rng(0).uniform(-3, 3, size=tasks)
    scaled = bargain(torch.tensor(gram * np.outer(scales, scales))).numpy()
    assert np.allclose(scaled * scales, weights, rtol=1e-6)


def test_the_nash_bargain_is_the_product_of_gains_that_scipy_finds():
    gradients = draw(4, 12, 0.3, seed=8)
    gram = gradients @ gradients.T
    truth = optimize.minimize(
        lambda log: 0.5 * np.exp(log) @ gram @ np.exp(log) - log.sum(),
        -np.log(np.sqrt(np.diag(gram))),
        jac=lambda log: np.exp(log) * (gram @ np.exp(log)) - 1,
        tol=1e-12,
    )
    assert bargain(torch.tensor(gram)).numpy() == pytest.approx(np.exp(truth.x), rel=1e-4)


def test_nash_scales_the_step_down_to_its_norm_and_not_further():
    gradients = draw(9, 50, 0.5)
    free = direction("nash", gradients, max_norm=1e12)
    assert np.linalg.norm(free) == pytest.approx(3.0, rel=1e-4)  # the square root of the tasks
    for norm in (0.5, 2.0):
        assert direction("nash", gradients, max_norm=norm) == pytest.approx(free * norm / 3.0, rel=1e-3, abs=1e-6)
    assert direction("nash", gradients, max_norm=5.0) == pytest.approx(free, rel=1e-5)


def test_nash_keeps_its_weights_between_bargains_at_the_cost_of_a_plain_update():
    first, later = draw(3, 10, 0.5), draw(3, 10, 0.5, seed=1)
    combiner = combiner_of("nash", 3, every=3, max_norm=1e12)
    assert not combiner.replayable and combiner_of("nash", 3).replayable
    weights = bargain(torch.tensor(first @ first.T)).numpy()
    for step in range(7):
        objective = objective_of(first if step == 0 else later)
        objective = dataclasses.replace(objective, num_tasks=3 if step % 3 == 0 else -1)  # no gradients of tasks
        if step == 2:
            state = combiner.get_state()
            combiner = combiner_of("nash", 3, every=3, max_norm=1e12)
            combiner.set_state(state)
        combiner.backward(objective)
        expected = weights if step < 3 else bargain(torch.tensor(later @ later.T)).numpy()
        rows = first if step == 0 else later
        assert objective.network.theta.grad.numpy() == pytest.approx(expected @ rows, rel=1e-3, abs=1e-4)
        assert objective.network.own.number.grad.flatten().numpy() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(("tasks", "size", "spread"), SIZES)
def test_fairgrad_solves_its_equations(tasks, size, spread, alpha):
    if alpha == 4.0 and spread > 1.0:
        spread = 1.0
    gradients = draw(tasks, size, spread, seed=7, common=0.3)
    gram = gradients @ gradients.T
    weights = fair(torch.tensor(gram), alpha).numpy()
    assert weights.min() > 0
    assert np.abs(weights ** (1 / alpha) * (gram @ weights) - 1).max() < 1e-2
    if alpha == 1.0:
        assert weights == pytest.approx(bargain(torch.tensor(gram)).numpy(), rel=1e-4)


def test_fairgrad_is_what_scipys_least_squares_find():
    gradients = draw(5, 12, 0.3, seed=9)
    gram = gradients @ gradients.T
    truth = optimize.least_squares(
        lambda w: gram @ w - w ** (-1 / 2), np.full(5, 0.1), bounds=(1e-9, np.inf), xtol=1e-15, ftol=1e-15, gtol=1e-15
    ).x
    assert fair(torch.tensor(gram), 2.0).numpy() == pytest.approx(truth, rel=1e-3)
    assert direction("fairgrad", gradients) == pytest.approx(truth @ gradients, rel=1e-3, abs=1e-4)


# FAMO


class Adam:
    """Kingma and Ba's algorithm 1, with weight decay in the gradient."""

    def __init__(self, values, rate, decay):
        self.values, self.rate, self.decay = values, rate, decay
        self.mean, self.square, self.steps = np.zeros_like(values), np.zeros_like(values), 0

    def step(self, gradient):
        gradient = gradient + self.decay * self.values
        self.steps += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.steps), self.square / (1 - 0.999**self.steps)
        self.values = self.values - self.rate * mean / (np.sqrt(square) + 1e-8)


def test_famo_follows_its_definition_step_by_step():
    generator = np.random.default_rng(0)
    gradients = generator.uniform(0.1, 1.0, size=(3, 4))
    values = torch.tensor([0.5, 3.0, 20.0])
    point = Point(3, 4)
    inputs = torch.tensor(gradients, dtype=torch.float32).unsqueeze(1)

    def each(parameters):
        return values * call_network(point, inputs, torch.arange(3), parameters)[0, :, 0, 0].exp()

    objective, combiner = Objective(point, 3, each), combiner_of("famo", 3)
    logits = Adam(np.zeros(3), 0.025, 0.01)
    theta, own = np.zeros(4), np.ones(3)

    def literal():
        return values.numpy().astype(np.float64) * np.exp(gradients @ theta + own)

    for _ in range(12):
        z = np.exp(logits.values) / np.exp(logits.values).sum()
        losses = literal()
        c = 1 / (z / (losses + 1e-8)).sum()
        weights = c * z / (losses + 1e-8)
        theta = theta - 0.05 * (weights * losses) @ gradients
        own = own - 0.05 * weights * losses
        fell = np.log(losses + 1e-8) - np.log(literal() + 1e-8)
        jacobian = np.diag(z) - np.outer(z, z)
        logits.step(jacobian @ fell)
        combiner.backward(objective)
        assert combiner.report()["weight"].numpy() == pytest.approx(weights, rel=1e-4)
        with torch.no_grad():
            for parameter in point.parameters():
                parameter -= 0.05 * parameter.grad
        combiner.stepped(objective)
        assert point.theta.detach().numpy() == pytest.approx(theta, rel=1e-3, abs=1e-5)
        assert combiner.logits.detach().numpy() == pytest.approx(logits.values, rel=2e-2, abs=1e-4)
    assert np.ptp(logits.values) > 0.01


def test_famo_bounds_losses_that_become_negative_from_below_and_leaves_out_those_of_zero():
    combiner = combiner_of("famo", 3)
    for losses in ([1.0, 2.0, 0.0], [-1.0, 2.0, 0.0], [-5.0, 1.0, 0.0], [-4.0, 1.0, 3.0]):
        objective = objective_of(np.eye(3), losses)
        combiner.backward(objective)
        combiner.stepped(objective)
    assert combiner.get_buffer("smallest").tolist() == [-5.0, 0.0, 0.0]
    z = torch.softmax(combiner.logits.detach(), 0)
    combiner.backward(objective)
    above = torch.tensor([-4.0 + 10.0, 1.0, 3.0])
    assert torch.allclose(combiner.report()["weight"], z / above / (z / above).sum())
    combiner.backward(objective_of(np.eye(3), [-4.0, 1.0, 0.0]))
    assert torch.allclose(combiner.report()["weight"][:2], (z / above)[:2] / (z / above)[:2].sum())
    assert combiner.report()["weight"][2] == 0


# Flat regions


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_flat_regions_equal_gradients_at_points_uphill_taken_one_task_at_a_time(part):
    p = problem()
    inner = CombinerConfig().renamed("cagrad")
    config = dataclasses.replace(CombinerConfig().renamed("flat_regions"), radius=0.1, inner=inner)
    agent = SAC(small(actor_combiner=config, critic_combiner=config), p)
    objective = getattr(agent, f"{part}_objective")(_Update(agent._grouped(batch_of(p))))
    own = split_parameters(objective.network)
    named = {**own.shared, **own.specific}
    start = {name: value.detach().clone() for name, value in named.items()}
    here, uphill = [], []
    for task in range(3):
        gradient = dict(zip(named, torch.autograd.grad(objective.losses(None)[task], [*named.values()]), strict=True))
        here.append(gradient)
        with torch.no_grad():
            for names in (own.shared, own.specific):
                length = torch.cat([gradient[name].flatten() for name in names]).norm()
                for name in names:
                    named[name] += 0.1 * gradient[name] / length
        moved = torch.autograd.grad(objective.losses(None)[task], [*named.values()])
        uphill.append(dict(zip(named, moved, strict=True)))
        with torch.no_grad():
            for name, value in named.items():
                value.copy_(start[name])
    rows = np.stack([np.concatenate([g[n].flatten() for n in own.shared]) for g in here]).astype(np.float64)
    flat = np.stack([np.concatenate([g[n].flatten() for n in own.shared]) for g in uphill]) - rows
    mean, one = torch.full((3,), 1 / 3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    expected = sum(conflict_averse(torch.tensor(r @ r.T), mean, one, 0.4).numpy() @ r for r in (rows, flat))
    agent.combiners[part].backward(objective)
    found = np.concatenate([named[name].grad.flatten() for name in own.shared])
    assert np.allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    for name in own.specific:
        assert torch.allclose(named[name].grad, sum(g[name] for g in uphill) / 3, atol=1e-5)


def test_flat_gradients_are_the_curvature_along_the_gradient_for_small_steps():
    gradients, radius = draw(3, 6, 0.2), 1e-2
    objective = objective_of(gradients, [1.0] * 3, bend=0.5)
    combiner = combiner_of("flat_regions", 3, radius=radius)
    combiner.backward(objective)
    theta = objective.network.theta.detach().double().numpy()
    size = 0.5 * (gradients**2).sum(1)

    def gradient(task, at):
        return gradients[task] + size[task] * (at @ at) * at

    expected = np.zeros(6)
    for task in range(3):
        here = gradient(task, theta)
        hessian = size[task] * (theta @ theta * np.eye(6) + 2 * np.outer(theta, theta))
        expected += (here + radius * hessian @ here / np.linalg.norm(here)) / 3
    assert objective.network.theta.grad.numpy() == pytest.approx(expected, rel=1e-3)
    number = objective.network.own.number
    assert number.grad.flatten().tolist() == pytest.approx([(1 + 0.5 * (1 + radius) ** 3) / 3] * 3, rel=1e-5)


def test_flat_regions_are_not_put_around_themselves():
    nested = CombinerConfig().renamed("flat_regions")
    with pytest.raises(UserError, match=r"--algorithm\.critic-combiner\.inner\.name flat_regions"):
        combiner_of("flat_regions", 2, inner=nested)
    with pytest.raises(UserError, match=r"--algorithm\.critic-combiner\.inner\.c -1"):
        combiner_of("flat_regions", 2, inner=dataclasses.replace(CombinerConfig().renamed("cagrad"), c=-1.0))


# What goes for all of them


def worst_cases(tasks):
    """Name to gradients `[task, size]` and losses."""
    rows, ones = draw(tasks, 12, 0.3, seed=tasks), np.ones(tasks)
    some = (np.arange(tasks) % 2)[:, None].astype(float)
    scales = np.logspace(-6, 0, tasks)[:, None]
    return {
        "zero": (0.0 * rows, ones),
        "zero losses": (0.0 * rows, 0.0 * ones),
        "some sit out": (some * rows, some[:, 0]),
        "identical": (np.tile(rows[:1], (tasks, 1)), ones),
        "opposite": (np.tile(rows[:1], (tasks, 1)) * (1 - 2 * some), ones),
        "small to large": (scales * rows, scales[:, 0]),
        "small to large, opposite": (scales * (1 - 2 * some) * rows[:1], ones),
        "tiny": (1e-12 * rows, 1e-12 * ones),
        "huge": (1e12 * rows, 1e12 * ones),
        "negative": (rows, -ones),
    }


EVERY = [(name, {}) for name in COMBINERS]
EVERY += [("flat_regions", {"inner": CombinerConfig().renamed(name)}) for name in ("pcgrad", "nash", "gradnorm")]
EVERY += [("mgda", {"normalize": "both"}), ("fairgrad", {"alpha": 0.5}), ("cagrad_fast", {"tasks": 1})]


@pytest.mark.parametrize(("name", "settings"), EVERY, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("tasks", [1, 2, 13])
def test_degenerate_losses_and_gradients_give_finite_updates(name, settings, tasks):
    for case, (gradients, losses) in worst_cases(tasks).items():
        objective = objective_of(gradients, losses, log_temperature=torch.zeros(tasks))
        combiner = combiner_of(name, tasks, **settings)
        for _ in range(2):
            assert torch.isfinite(combiner.backward(objective)).all()
            combiner.stepped(objective)
        for parameter in objective.network.parameters():
            assert torch.isfinite(parameter.grad).all(), (case, parameter.grad)
        for value in combiner.state_dict().values():
            assert torch.isfinite(value).all(), case
        for key, value in combiner.report().items():
            assert torch.isfinite(value).all() and value.shape == ((tasks,) if key == "weight" else ()), case
            assert not value.requires_grad


@pytest.mark.parametrize("name", list(COMBINERS))
def test_fifty_tasks_give_finite_updates(name):
    objective = objective_of(draw(50, 60, 1.0), log_temperature=torch.zeros(50))
    combiner = combiner_of(name, 50)
    combiner.backward(objective)
    combiner.stepped(objective)
    assert torch.isfinite(objective.network.theta.grad).all() and objective.network.theta.grad.abs().sum() > 0


@pytest.mark.parametrize("name", list(COMBINERS))
def test_gradients_that_agree_are_followed(name):
    gradients = np.abs(draw(4, 10, 0.3))
    objective = objective_of(gradients, log_temperature=torch.zeros(4))
    combiner_of(name, 4).backward(objective)
    assert (gradients @ objective.network.theta.grad.numpy() > 0).all()
    assert (objective.network.own.number.grad > 0).all()


@pytest.mark.parametrize(("name", "settings"), EVERY, ids=lambda value: value if isinstance(value, str) else "")
def test_training_with_a_combiner_continues_bit_for_bit(name, settings):
    config = dataclasses.replace(CombinerConfig().renamed(name), **settings)
    p = problem(tasks=5)
    one = SAC(small(actor_combiner=config, critic_combiner=config), p)
    for i in range(2):
        one.update(batch_of(p, seed=i))
    weights, state = {key: value.clone() for key, value in one.weights().items()}, one.get_state()
    for i in range(2, 4):
        metrics = one.update(batch_of(p, seed=i))
    assert all(torch.isfinite(value).all() for value in metrics.values())
    other = SAC(small(actor_combiner=config, critic_combiner=config), problem(tasks=5, seed=9))
    other.load_weights(weights)
    other.set_state(state)
    for i in range(2, 4):
        other.update(batch_of(p, seed=i))
    for key, value in one.weights().items():
        assert torch.equal(value, other.weights()[key]), key


def test_updates_tell_the_weights_and_the_share_of_conflicting_pairs():
    gradients = np.array([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0]])
    combiner = combiner_of("pcgrad", 3)
    combiner.backward(objective_of(gradients))
    assert combiner.report()["conflict"].item() == pytest.approx(1 / 3)
    p = problem()
    config = CombinerConfig().renamed("pcgrad")
    metrics = SAC(small(actor_combiner=CombinerConfig("scale_invariant"), critic_combiner=config), p).update(
        batch_of(p)
    )
    assert metrics["weight/actor"].shape == metrics["weight/critic"].shape == (3,)
    assert metrics["conflict/critic"].shape == () and "conflict/actor" not in metrics


def test_every_combiner_weighs_losses_or_gradients_or_is_around_another():
    kinds = {name: type(combiner_of(name, 2)) for name in COMBINERS}
    others = [name for name, kind in kinds.items() if not issubclass(kind, (Weighting, GradientCombiner))]
    assert [name for name in others if "." not in name] == ["flat_regions"]


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("uncertainty", "learning_rate", -1.0),
        ("gradnorm", "exponent", -0.1),
        ("cagrad", "c", float("nan")),
        ("cagrad_fast", "tasks", 0),
        ("nash", "every", 0),
        ("nash", "max_norm", 0.0),
        ("famo", "decay", -1.0),
        ("fairgrad", "alpha", 0.0),
        ("flat_regions", "radius", -1.0),
    ],
)
def test_impossible_settings_are_refused(name, field, value):
    option = field.replace("_", "-")
    with pytest.raises(UserError, match=rf"--algorithm\.critic-combiner\.{option} \S+ is impossible"):
        combiner_of(name, 2, **{field: value})
