"""Combiners that weigh losses, and GradNorm, against their definitions written out."""

import numpy as np
import pytest
import torch
from combiner_toys import combiner_of, direction, draw, objective_of

from mtrl.errors import UserError

CPU = torch.device("cpu")


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
