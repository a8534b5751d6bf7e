"""What goes for all combiners: gradients of single tasks, flat regions, degenerate losses, resuming."""

import dataclasses

import numpy as np
import pytest
import torch
from agent_toys import batch_of, problem, small
from combiner_toys import combiner_of, draw, objective_of

from mtrl.agents.combiners.cagrad import conflict_averse
from mtrl.agents.sac import SAC, _Update
from mtrl.errors import UserError
from mtrl.parts.combiner import COMBINERS, CombinerConfig, GradientCombiner, Weighting
from mtrl.parts.network import NetworkConfig, TaskParameters, split_parameters

CPU = torch.device("cpu")


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
