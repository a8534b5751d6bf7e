"""Nash-MTL, FairGrad and FAMO against the equations that they solve."""

import dataclasses

import numpy as np
import pytest
import torch
from combiner_toys import Point, combiner_of, direction, draw, objective_of
from scipy import optimize

from mtrl.agents.combiners.fairgrad import fair
from mtrl.agents.combiners.nash import bargain
from mtrl.parts.combiner import Objective
from mtrl.parts.network import call_network

CPU = torch.device("cpu")


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
