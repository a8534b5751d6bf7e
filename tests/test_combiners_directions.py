"""MGDA, PCGrad and CAGrad against closed forms and scipy's optimisers."""

import itertools

import numpy as np
import pytest
import torch
from combiner_toys import combiner_of, direction, draw, objective_of
from scipy import optimize

from mtrl.agents.combiners.cagrad import conflict_averse
from mtrl.agents.combiners.mgda import shortest
from mtrl.agents.combiners.pcgrad import project

CPU = torch.device("cpu")


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
