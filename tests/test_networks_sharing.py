"""Networks that share layers between tasks: sizes, numbers against plain loops, isolation, adapters."""

import copy
import dataclasses
import math

import pytest
import torch
from no_sync import no_sync

from mtrl.agents.networks import layers
from mtrl.agents.networks.build import build_network
from mtrl.errors import UserError
from mtrl.parts.combiner import Objective
from mtrl.parts.network import (
    NETWORKS,
    AdapterConfig,
    NetworkConfig,
    NetworkShape,
    TaskSpecific,
    call_network,
    split_parameters,
)

SHAPE = NetworkShape(4, 6, 3, 2, 1.0)


def config_of(name, width=16, depth=2, **changes):
    return dataclasses.replace(NetworkConfig(width=width, depth=depth).renamed(name), **changes)


def network_of(name, shape=SHAPE, seed=0, **changes):
    return build_network(shape, config_of(name, **changes), torch.Generator().manual_seed(seed))


def shaken(network, seed=0):
    """The network in double precision, with no parameter where it began."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.double()


@pytest.mark.parametrize(
    ("name", "tasks", "changes", "actor", "critics"),
    [
        ("multi_head", 10, {}, 372_880, 692_820),
        ("multi_head", 50, {}, 517_200, 756_900),
        ("soft_modules", 10, {"width": 256, "depth": 2, "modules": 2}, 691_022, 1_381_646),
        ("soft_modules", 50, {"width": 256, "depth": 4, "modules": 4}, 1_606_140, 3_211_882),
        ("paco", 10, {"sets": 5}, 1_700_095, 3_388_120),
        ("paco", 50, {"sets": 20}, 6_801_180, 13_554_080),
    ],
)
def test_parameter_counts_are_the_published_ones(name, tasks, changes, actor, critics):
    for shape, count in (
        (NetworkShape(tasks, 39, 8, 1, 1e-3), actor),
        (NetworkShape(tasks, 43, 1, 2, 1e-3), critics),
    ):
        network = network_of(name, shape, **{"width": 400, "depth": 3, **changes})
        assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize(
    ("width", "counts"),
    [
        (256, (164_944, 199_624, 257_424)),
        (512, (591_952, 661_192, 776_592)),
        (1024, (2_232_400, 2_370_760, 2_601_360)),
        (2048, (8_659_024, 8_935_624, 9_396_624)),
        (4096, (34_095_184, 34_648_264, 35_570_064)),
    ],
)
def test_parameter_counts_by_width_are_the_published_ones(width, counts, monkeypatch):
    monkeypatch.setattr(layers, "uniform", lambda shape, *_: torch.nn.Parameter(torch.empty(shape)))  # drawing is slow
    for tasks, count in zip((10, 25, 50), counts, strict=True):
        network = network_of("multi_head", NetworkShape(tasks, 39, 8, 1, 1e-3), width=width, depth=3)
        assert sum(parameter.numel() for parameter in network.parameters()) == count


# One sample, one copy, one task, written out with plain numbers.


def affine(x, weight, bias):
    return [
        sum(x[i] * weight[i][o] for i in range(len(x))) + (bias[o] if bias is not None else 0.0)
        for o in range(len(weight[0]))
    ]


def relu(x):
    return [max(0.0, value) for value in x]


def normalised(x, gain, bias):
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in x) / len(x) + 1e-5)
    return [(value - mean) / deviation * g + b for value, g, b in zip(x, gain, bias, strict=True)]


def numbers(parameter, *index):
    return parameter.detach()[index].squeeze(0).tolist() if parameter.dim() > 2 else parameter.detach()[index].tolist()


def one_hot(task):
    return [float(i == task) for i in range(SHAPE.num_tasks)]


def answers(network, copy_index, task):
    """What a network says to one sample of each task, and that sample."""
    x = torch.randn(SHAPE.num_tasks, 5, SHAPE.in_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    out = network(x, torch.arange(SHAPE.num_tasks))
    return x[task, 2].tolist(), out[copy_index, task, 2].tolist()


def through(x, layer, *index):
    return affine(x, layer.weight.detach()[index].tolist(), layer.bias.detach()[index].flatten().tolist())


@pytest.mark.parametrize(("copy_index", "task"), [(0, 2), (1, 3)])
def test_multi_head_against_plain_loops(copy_index, task):
    network = shaken(network_of("multi_head", head_depth=1, head_width=7, layer_norm=True))
    x, expected = answers(network, copy_index, task)
    x = x + one_hot(task)
    for i in (0, 3):
        norm = network.trunk[i + 1]
        x = through(x, network.trunk[i], copy_index)
        x = relu(normalised(x, *(p.detach()[copy_index].flatten().tolist() for p in (norm.gain, norm.bias))))
    norm = network.hidden.norms[0]
    x = through(x, network.hidden.layers[0], copy_index, task)
    x = relu(normalised(x, *(p.detach()[copy_index, task].flatten().tolist() for p in (norm.gain, norm.bias))))
    assert through(x, network.heads, copy_index, task) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("modules", [2, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_soft_modules_against_plain_loops(modules, depth):
    network = shaken(network_of("soft_modules", depth=depth, modules=modules, width=5, base_width=8, routing_width=6))
    c, task = 1, 2
    x, expected = answers(network, c, task)
    state = through(relu(through(x, network.base[0], c)), network.base[2], c)
    z = through(one_hot(task), network.task, c)
    routing = network.routing
    embedded = relu([a * b for a, b in zip(state, z, strict=True)])
    embedded = through(relu(through(embedded, routing.embed[0], c)), routing.embed[2], c)
    told, earlier, inputs = embedded, [], [relu(state)] * modules
    for layer in range(depth):
        if layer:
            told = [a * b for a, b in zip(embedded, through(earlier, routing.told[layer - 1], c), strict=True)]
        logits = through(relu(told), routing.logits[layer], c)
        receivers = 1 if layer == depth - 1 else modules
        assert len(logits) == receivers * modules
        said = []
        for j in range(modules):
            if layer == 0:
                wide = through(inputs[j], network.first, c)
                said.append(wide[5 * j : 5 * (j + 1)])
            else:
                said.append(through(inputs[j], network.later[layer - 1], c, j))
        inputs = []
        for i in range(receivers):
            weights = [math.exp(value) for value in logits[i * modules : (i + 1) * modules]]
            weights = [value / sum(weights) for value in weights]
            earlier = earlier + weights
            inputs.append(relu([sum(weights[j] * said[j][w] for j in range(modules)) for w in range(5)]))
    assert through(inputs[0], network.head, c) == pytest.approx(expected, rel=1e-9)


def test_routings_sum_to_one_and_begin_nearly_even():
    network = network_of("soft_modules", depth=3, modules=4)
    routings = network.routing(torch.randn(2, 4, 5, 400))
    assert [routing.shape[-2:] for routing in routings] == [(4, 4), (4, 4), (1, 4)]
    for routing in routings:
        assert torch.allclose(routing.sum(-1), torch.ones(()))
        assert (routing - 0.25).abs().max() < 0.02


def mixed(layer, mixture, c):
    """Weights and biases of a task, set by set and number by number."""
    weight, bias = layer.weight.detach()[c].tolist(), layer.bias.detach()[c].tolist()
    sets, fan_in, fan_out = len(weight), len(weight[0]), len(weight[0][0])
    return (
        [[sum(mixture[k] * weight[k][i][o] for k in range(sets)) for o in range(fan_out)] for i in range(fan_in)],
        [sum(mixture[k] * bias[k][o] for k in range(sets)) for o in range(fan_out)],
    )


def test_paco_against_plain_loops():
    network = shaken(network_of("paco", sets=3))
    c, task = 1, 2
    x, expected = answers(network, c, task)
    table, shift = network.mixtures.table.detach(), network.shift.detach()
    mixture = [a + b for a, b in zip(table[c, task].tolist(), shift[c, 0].tolist(), strict=True)]
    for index, layer in enumerate(network.layers):
        x = affine(relu(x) if index else x, *mixed(layer, mixture, c))
    assert x == pytest.approx(expected, rel=1e-9)


def test_paco_can_begin_with_sets_that_are_the_same():
    network = network_of("paco", sets=3, identical_sets=True, mixture="normal")
    for layer in network.layers:
        assert torch.equal(layer.weight[:, 0], layer.weight[:, 2])
        assert not torch.equal(layer.weight[0], layer.weight[1])
    assert not torch.equal(network.layers[0].weight[:, 0], network_of("paco", sets=3).layers[0].weight[:, 1])


def test_paco_gives_extreme_tasks_a_convex_combination_of_the_others():
    network = network_of("paco", shape=NetworkShape(6, 6, 3, 2, 1.0), sets=8)
    before = network.mixtures.table.detach().clone()
    mask, none, every = torch.arange(6) == 1, torch.zeros(6, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    mask[4] = True
    generator = torch.Generator().manual_seed(0)
    with no_sync():
        for marked in (none, every):
            network.reset_tasks(marked, generator)
    assert torch.equal(network.mixtures.table, before)
    with no_sync():
        network.reset_tasks(mask, generator)
    after = network.mixtures.table.detach()
    others = [0, 2, 3, 5]
    assert torch.equal(after[:, others], before[:, others])
    for task in (1, 4):
        shares = torch.linalg.lstsq(before[0, others].T, after[0, task]).solution
        assert shares.min() > 0
        assert shares.sum().item() == pytest.approx(1.0, abs=1e-4)
        assert torch.allclose(shares @ before[1, others], after[1, task], atol=1e-4)
    assert not torch.allclose(after[0, 1], after[0, 4])


def test_front_ends_against_plain_loops():
    network = shaken(network_of("front_ends", front_width=7, front_depth=2))
    c, task = 1, 2
    x, expected = answers(network, c, task)
    for layer in network.encoders.layers:
        x = relu(through(x, layer, c, task))
    for i in (0, 2):
        x = relu(through(x, network.shared[i], c))
    assert through(x, network.heads, c, task) == pytest.approx(expected, rel=1e-9)


def test_padding_counts_in_nothing_in_front_ends():
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2, [True, False] * 3])
    network = network_of("front_ends", dataclasses.replace(SHAPE, num_tasks=3, in_mask=real))
    x, task_id = torch.randn(3, 5, 6), torch.tensor([2, 0, 1])
    padded = torch.where(real[task_id].unsqueeze(1), x, torch.nan).requires_grad_()
    out = network(padded, task_id)
    assert torch.equal(out, network(x, task_id))
    out.square().sum().backward()
    first = network.encoders.layers[0].weight
    assert (first.grad[:, ~real] == 0).all() and (first[:, ~real] == 0).all()
    assert (first.grad[:, real].abs().sum(-1) > 0).all()
    assert (padded.grad[~real[task_id].unsqueeze(1).expand_as(x)] == 0).all()


def test_shared_layers_behind_front_ends_know_no_number_of_tasks():
    sizes = []
    for shape in (SHAPE, NetworkShape(9, 11, 3, 2, 1.0)):
        shared = split_parameters(network_of("front_ends", shape)).shared
        sizes.append({name: value.shape for name, value in shared.items()})
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_tasks_loss_touches_no_other_tasks_own_parameters(name):
    network = shaken(network_of(name, adapters=AdapterConfig(rank=2)))
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    network(x, torch.arange(4))[:, 1].square().sum().backward()
    own = [
        parameter
        for module in network.modules()
        if isinstance(module, TaskSpecific)
        for parameter in module.parameters()
    ]
    assert own  # adapters at least
    for parameter in own:
        assert (parameter.grad[:, [0, 2, 3]] == 0).all()
    assert any((parameter.grad[:, 1] != 0).any() for parameter in own)


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("rank", [0, 2])
def test_batched_gradients_of_tasks_are_those_of_separate_backward_passes(name, rank):
    network = shaken(network_of(name, adapters=AdapterConfig(rank), input_norm=True, layer_norm=rank > 0))
    x, task_id = torch.randn(4, 5, 6, dtype=torch.float64), torch.arange(4)

    def losses(parameters):
        return call_network(network, x, task_id, parameters).square().mean(dim=(0, 2, 3))

    gradients, own = Objective(network, 4, losses).task_gradients(), split_parameters(network)
    for task in range(4):
        expected = torch.autograd.grad(losses(None)[task], list(own.shared.values()), materialize_grads=True)
        for parameter, gradient in zip(own.shared, expected, strict=True):
            assert_same(gradients.shared[parameter][task], gradient, parameter)
    if not own.specific:
        return
    expected = torch.autograd.grad(losses(None).sum(), list(own.specific.values()), materialize_grads=True)
    for parameter, gradient in zip(own.specific, expected, strict=True):
        assert_same(gradients.specific[parameter], gradient, parameter)


def assert_same(found, expected, parameter):
    """Up to the rounding of sums in another order, where large terms may cancel."""
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-12 * (1 + expected.abs().max())), parameter


# Adapters and normalised inputs.


@pytest.mark.parametrize("name", list(NETWORKS))
def test_adapters_change_nothing_at_the_start_and_learn(name):
    plain, adapted = network_of(name), network_of(name, adapters=AdapterConfig(rank=2))
    x, task_id = torch.randn(3, 5, 6), torch.tensor([3, 0, 2])
    out = adapted(x, task_id)
    assert torch.equal(out, plain(x, task_id))
    out.square().sum().backward()
    gradients = torch.stack([adapter.up.grad.abs().flatten(2).sum(-1) for adapter in adapted.adapters])
    assert (gradients.sum(0)[:, [0, 2, 3]] > 0).all() and (gradients[:, :, 1] == 0).all()


@pytest.mark.parametrize("name", ["one_hot", "multi_head", "soft_modules", "front_ends", "paco"])
def test_adapted_weights_are_those_with_the_product_added(name):
    adapted = shaken(network_of(name, adapters=AdapterConfig(rank=3, scale=0.5)))
    x = torch.randn(4, 5, 6, dtype=torch.float64)
    out = adapted(x, torch.arange(4))
    for task in range(4):
        plain = network_of(name).double()
        plain.load_state_dict(adapted.body.state_dict())
        with torch.no_grad():
            for layer, adapter in zip(adapted.names, adapted.adapters, strict=True):
                weight = plain.get_submodule(layer).weight
                change = 0.5 * adapter.down[:, task] @ adapter.up[:, task]
                if name == "paco":  # spread over the sets so that their mixture moves by it
                    mixture = plain.mixtures.table[:, task] + plain.shift[:, 0]
                    change = (change / mixture.sum(dim=1)[:, None, None]).unsqueeze(1)
                weight += change
        assert torch.allclose(plain(x[task : task + 1], torch.tensor([task]))[:, 0], out[:, task], rtol=1e-9)


def test_adapters_of_marked_tasks_begin_anew_and_copies_share_nothing():
    network = shaken(network_of("soft_modules", adapters=AdapterConfig(rank=2)))
    other = copy.deepcopy(network)
    network.reset_tasks(torch.tensor([False, True, False, False]), torch.Generator())
    for adapter, kept in zip(network.adapters, other.adapters, strict=True):
        assert (adapter.up[:, 1] == 0).all()
        assert torch.equal(adapter.up[:, [0, 2, 3]], kept.up[:, [0, 2, 3]])
        assert (kept.up[:, 1] != 0).any()
    x, task_id = torch.randn(4, 5, 6, dtype=torch.float64), torch.arange(4)
    same = (network(x, task_id) == other(x, task_id)).flatten(2).all(-1)
    assert same[:, [0, 2, 3]].all() and not same[:, 1].any()


def test_adapters_can_be_compiled_without_a_break():
    network = network_of("one_hot", adapters=AdapterConfig(rank=2), input_norm=True)
    run = torch.compile(call_network, dynamic=False, backend="eager", fullgraph=True)
    for tasks in (4, 2):
        x, task_id = torch.randn(tasks, 5, 6), torch.arange(tasks)
        assert torch.allclose(run(network, x, task_id), network(x, task_id), atol=1e-6)


def test_normalised_inputs_have_mean_zero_and_deviation_one_over_what_is_real():
    real = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    shape = dataclasses.replace(SHAPE, num_tasks=2, in_mask=real)
    network, plain = network_of("one_hot", shape, input_norm=True), network_of("one_hot", shape)
    x, task_id = 5.0 + 3.0 * torch.randn(2, 5, 6), torch.tensor([1, 0])
    short = torch.nn.functional.layer_norm(x[:1, :, :4], (4,))
    whole = torch.nn.functional.layer_norm(x[1:], (6,))
    expected = plain(torch.cat([torch.cat([short, torch.zeros(1, 5, 2)], -1), whole]), task_id)
    assert torch.allclose(network(x, task_id), expected, atol=1e-5)


def test_codes_that_have_no_use_are_refused():
    for name in ("paco", "front_ends"):
        task = dataclasses.replace(NetworkConfig().task, code="embedding", dim=4)
        with pytest.raises(UserError, match=r"--algorithm\.actor\.task\.code embedding has no use"):
            config_of(name, task=task).check("algorithm.actor.")
