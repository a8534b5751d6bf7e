"""CARE, FiLM, MOORE, the hypernetwork, BroNet and SimbaV2 against the published counts and plain loops in float64."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, layer_norm

from mtrl.agents.networks.bronet import BroNetConfig
from mtrl.agents.networks.build import build_network
from mtrl.agents.networks.care import CareConfig
from mtrl.agents.networks.film import FilmConfig
from mtrl.agents.networks.hypernet import HypernetConfig
from mtrl.agents.networks.moore import MooreConfig, gram_schmidt, mix_orthonormal
from mtrl.agents.networks.simba_v2 import Scaler, SimbaV2Config, UnitLinear
from mtrl.errors import UserError
from mtrl.parts.combiner import Objective
from mtrl.parts.network import ConditioningConfig, NetworkConfig, NetworkShape, call_network

TASKS, SAMPLES, INPUTS = 3, 4, 5
NAMES = ("care", "film", "moore", "hypernet", "bronet", "simba_v2")
UNIT_EMBEDDING = ConditioningConfig("embedding", dim=32, norm="unit", shared=True)


def build(config, tasks=TASKS, copies=2, out=2, seed=0, head_scale=0.5):
    shape = NetworkShape(tasks, INPUTS, out, copies, head_scale)
    return build_network(shape, config, torch.Generator().manual_seed(seed))


def inputs(tasks=TASKS, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(tasks, SAMPLES, INPUTS, generator=generator, dtype=torch.float64)


def shaken(network, seed=2):
    """The network in double precision, with nothing left at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.double()


def each_sample(network, literal, tolerance=1e-9):
    """Compares a network's answers with those of a function of one copy, task and sample."""
    x, found = inputs(), network(inputs(), torch.arange(TASKS))
    assert found.shape[:3] == (2, TASKS, SAMPLES)
    for copy in range(2):
        for task in range(TASKS):
            for sample in range(SAMPLES):
                expected = literal(copy, task, x[task, sample])
                torch.testing.assert_close(found[copy, task, sample], expected, rtol=tolerance, atol=tolerance)


def layers(module, *index):
    """Weight and bias of each linear layer within, of one copy (and expert)."""
    found = [layer for layer in module.modules() if hasattr(layer, "weight") and hasattr(layer, "sizes")]
    return [(layer.weight[index], layer.bias[index][0]) for layer in found]


def run(x, pairs, last_is_linear=True):
    for number, (weight, bias) in enumerate(pairs, 1):
        x = x @ weight + bias
        x = x if last_is_linear and number == len(pairs) else torch.relu(x)
    return x


@pytest.mark.parametrize(
    ("config", "tasks", "actor", "critics"),
    [
        (CareConfig(), 10, 420_564, 837_914),
        (CareConfig(experts=10), 50, 451_168, 900_722),
        (FilmConfig(), 10, 377_414, 749_614),
        (FilmConfig(), 50, 379_414, 753_614),
        (MooreConfig(), 10, 1_379_320, 2_715_300),
        (MooreConfig(experts=6), 50, 2_181_500, 4_101_500),
    ],
)
def test_parameter_counts_equal_the_published_ones(config, tasks, actor, critics):
    shapes = NetworkShape(tasks, 39, 8, 1, 1e-3), NetworkShape(tasks, 43, 1, 2, 3e-3)
    built = [build_network(shape, config, torch.Generator()) for shape in shapes]
    assert [sum(p.numel() for p in network.parameters()) for network in built] == [actor, critics]


def test_counts_of_the_bigger_regularized_categorical_agent():
    """The embedding lies in the critics. Counts are quadratic in the width: three small ones give that of 4096."""
    actor = BroNetConfig(width=256, blocks=1, task=ConditioningConfig("critic"))
    shape = NetworkShape(50, 39, 8, 1, 1e-3, critic_code=32)
    assert sum(p.numel() for p in build_network(shape, actor, torch.Generator()).parameters()) == 153_608
    widths, shape = (8, 16, 24), NetworkShape(50, 43, 101, 2, 3e-3)
    critics = [build_network(shape, BroNetConfig(width=w, task=UNIT_EMBEDDING), torch.Generator()) for w in widths]
    counts = [sum(p.numel() for p in network.parameters()) for network in critics]
    first, second = (counts[1] - counts[0]) // 8, (counts[2] - 2 * counts[1] + counts[0]) // 128
    assert counts[0] + (4096 - 8) * first + (4096 - 8) * (4096 - 16) * second == 135_784_202


@pytest.mark.parametrize("name", NAMES)
def test_task_gradients_in_one_pass_equal_those_of_separate_passes(name):
    network = shaken(build(NetworkConfig(name, width=16, depth=2)))
    x, task_id = inputs(), torch.arange(TASKS)

    def losses(parameters):
        return call_network(network, x, task_id, parameters).square().mean(dim=(0, 2, 3))

    found = Objective(network, TASKS, losses).task_gradients()
    names = [name for name, _ in network.named_parameters()]
    for task in range(TASKS):
        alone = dict(zip(names, torch.autograd.grad(losses(None)[task], list(network.parameters())), strict=True))
        for key, gradient in found.shared.items():
            torch.testing.assert_close(gradient[task], alone[key])
        for key, gradient in found.specific.items():
            others = [other for other in range(TASKS) if other != task]
            torch.testing.assert_close(gradient[:, task], alone[key][:, task])
            assert (alone[key][:, others] == 0).all(), f"{key} of other tasks learns from task {task}"


@pytest.mark.parametrize("name", NAMES)
def test_everything_learns_from_the_first_update_on(name):
    network = build(NetworkConfig(name, width=16, depth=2))
    network(inputs().float(), torch.arange(TASKS)).square().sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", ["care", "film", "moore", "hypernet"])
def test_networks_that_are_made_for_a_task_refuse_not_to_be_told(name):
    config = NetworkConfig(name, task=ConditioningConfig("hidden")).resolved()
    with pytest.raises(UserError, match=r"--algorithm\.actor\.task\.code hidden"):
        config.check("algorithm.actor.")


# CARE


@pytest.mark.parametrize("code", ["default", "one_hot"])
def test_care_mixes_encoders_by_the_attention_of_the_context(code):
    network = shaken(build(CareConfig(width=7, depth=2, experts=3, expert_width=6, task=ConditioningConfig(code))))
    codes = network.code(torch.arange(TASKS)).expand(2, -1, -1)

    def literal(copy, task, state):
        code_in = torch.relu(codes[copy, task])
        context = run(code_in, layers(network.context, copy, 0))
        scores = run(context, layers(network.attention, copy, 0))
        attention = [score.exp() / sum(other.exp() for other in scores) for score in scores]
        encoded = sum(a * run(state, layers(network.experts, copy, k)) for k, a in enumerate(attention))
        hidden = run(torch.cat([encoded, context]), layers(network.trunk, copy), last_is_linear=False)
        return run(hidden, layers(network.head, copy))

    each_sample(network, literal)


@pytest.mark.parametrize("detached", [False, True])
def test_care_keeps_the_attention_from_the_context_where_asked(detached):
    network = build(CareConfig(width=7, depth=1, experts=3, detach_attention=detached), copies=1)
    with torch.no_grad():
        network.trunk[0].weight[:, network.experts.layers[-1].sizes[-1] :] = (
            0.0  # the context counts by attention alone
        )
    network(inputs().float(), torch.arange(TASKS)).square().sum().backward()
    assert bool(network.code.embedding.weight.grad.abs().sum() > 0) == (not detached)
    assert network.attention.layers[0].weight.grad.abs().sum() > 0


# FiLM


@pytest.mark.parametrize(("modulates", "each"), [("layer", 1), ("unit", 6)])
def test_film_scales_and_shifts_each_layer(modulates, each):
    network = shaken(build(FilmConfig(width=7, depth=2, film_width=6, modulates=modulates)))
    codes = network.code(torch.arange(TASKS))

    def literal(copy, task, state):
        numbers = run(codes[copy, task], layers(network.modulation, copy, 0))
        assert len(numbers) == 3 * 2 * each
        hidden = state
        for number, (weight, bias) in enumerate(layers(network.layers, copy)):
            gain, shift = numbers[2 * number * each :][:each], numbers[(2 * number + 1) * each :][:each]
            hidden = hidden @ weight + bias
            hidden = (1 + gain) * (hidden if number == 2 else torch.relu(hidden)) + shift
        hidden = run(torch.cat([hidden, codes[copy, task]]), layers(network.trunk, copy), last_is_linear=False)
        return run(hidden, layers(network.head, copy))

    each_sample(network, literal)


# MOORE


def orthogonalised(vectors):
    """Gram-Schmidt as it is written down, for one state."""
    basis = []
    for vector in vectors:
        rest = vector - sum((vector @ direction * direction for direction in basis), torch.zeros_like(vector))
        basis.append(rest / rest.norm())
    return torch.stack(basis)


@pytest.mark.parametrize("task", [ConditioningConfig(), ConditioningConfig("embedding", dim=4)])
def test_moore_mixes_orthogonalised_experts(task):
    network = shaken(build(MooreConfig(width=7, depth=3, experts=4, task=task)))
    weights = network.mixture(torch.arange(TASKS))

    def literal(copy, task, state):
        basis = orthogonalised([run(state, layers(network.experts, copy, k)) for k in range(4)])
        features = torch.tanh(sum(weights[copy, task, k] * basis[k] for k in range(4)))
        return features @ network.heads.weight[copy, task] + network.heads.bias[copy, task, 0]

    each_sample(network, literal, tolerance=1e-6)  # lengths get a little added, so that none is 0


def test_gram_schmidt_makes_orthonormal_rows_that_span_the_same_in_each_state():
    vectors = torch.randn(2, 3, SAMPLES, 6, 400, generator=torch.Generator().manual_seed(3))
    basis = gram_schmidt(vectors) @ vectors
    eye = torch.eye(6).expand(2, 3, SAMPLES, 6, 6)
    torch.testing.assert_close(basis @ basis.mT, eye, rtol=0, atol=5e-5)
    exact = vectors.double()
    basis = gram_schmidt(exact) @ exact
    torch.testing.assert_close(basis @ basis.mT, eye.double(), rtol=0, atol=1e-10)
    columns = torch.linalg.qr(exact.mT).Q.mT
    torch.testing.assert_close((basis * columns).sum(-1).abs(), torch.ones(2, 3, SAMPLES, 6).double())
    assert (gram_schmidt(exact).triu(1) == 0).all()


def test_the_gradient_of_mixing_orthogonalised_vectors_equals_finite_differences():
    generator = torch.Generator().manual_seed(4)
    vectors = torch.randn(2, 3, 4, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mix_orthonormal, (vectors, weights))


@pytest.mark.parametrize("second", ["same", "zero", "nearly"])
def test_dependent_experts_give_finite_numbers(second):
    vectors = torch.randn(1, 3, 400, generator=torch.Generator().manual_seed(5))
    vectors[0, 1] = {"same": vectors[0, 0], "zero": 0.0 * vectors[0, 0], "nearly": vectors[0, 0] * (1 + 1e-6)}[second]
    vectors.requires_grad_()
    mixed = mix_orthonormal(vectors, torch.ones(1, 3))
    mixed.sum().backward()
    assert mixed.isfinite().all() and mixed.norm() < 3
    assert vectors.grad is not None and vectors.grad.isfinite().all()


def test_moore_learns_in_a_state_of_zeros():
    network = build(MooreConfig(width=16, depth=2))
    x = torch.zeros(TASKS, SAMPLES, INPUTS)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        loss = (network(x, torch.arange(TASKS)) - 1.0).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.02


def test_moore_refuses_more_experts_than_directions():
    with pytest.raises(UserError, match=r"experts 9 cannot be orthogonal in 8"):
        MooreConfig(width=8, experts=9).check("algorithm.critic.")


# the hypernetwork


def plain_network(weights, copy, task):
    """An ordinary torch network with the weights that were made for one task."""
    modules = []
    for weight, bias in weights:
        linear = torch.nn.Linear(*weight.shape[2:], dtype=torch.float64)
        linear.weight.data, linear.bias.data = weight[copy, task].T.detach(), bias[copy, task, 0].detach()
        modules += [linear, torch.nn.ReLU()]
    return torch.nn.Sequential(*modules[:-1])


def test_the_hypernetwork_answers_as_plain_networks_with_its_weights():
    network = shaken(build(HypernetConfig(width=7, depth=2, main_width=6, main_depth=3, features=4)))
    weights = network.generated(torch.arange(TASKS))
    assert [tuple(weight.shape[2:]) for weight, _ in weights] == [(5, 6), (6, 6), (6, 6), (6, 2)]
    each_sample(network, lambda copy, task, state: plain_network(weights, copy, task)(state))


def test_the_weights_that_are_made_have_the_gradients_of_a_plain_network():
    network = shaken(build(HypernetConfig(width=7, depth=1, main_width=6, main_depth=1, features=4)))
    made = network.generated(torch.arange(TASKS))
    network.generated = lambda task_id: made
    found = torch.autograd.grad(network(inputs(), torch.arange(TASKS)).square().sum(), [w for w, _ in made])
    for copy in range(2):
        for task in range(TASKS):
            plain = plain_network(made, copy, task)
            plain(inputs()[task]).square().sum().backward()
            for gradient, layer in zip(found, plain[::2], strict=True):
                torch.testing.assert_close(gradient[copy, task].T, layer.weight.grad)


@pytest.mark.parametrize("same_start", [False, True])
def test_the_weights_that_are_made_begin_as_a_plain_network_does(same_start):
    config = HypernetConfig(width=32, depth=2, main_width=200, main_depth=2, features=16, same_start=same_start)
    network = build(config, tasks=6, head_scale=1e-3)
    made = network.generated(torch.arange(6))
    for (weight, bias), fan_in in zip(made[:2], (INPUTS, 200), strict=True):
        assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)
        assert bias.abs().max() == 0
    assert made[2][0].std().item() == pytest.approx(1e-3 / math.sqrt(3), rel=0.05)
    for weight, _ in made:
        assert bool((weight == weight[:, :1]).all()) == same_start
        assert not torch.equal(weight[0], weight[1])


def test_the_hypernetwork_takes_what_is_known_of_the_tasks():
    known = torch.tensor([[0.0, 1.0], [2.0, 3.0], [0.0, 1.0]])
    shape = NetworkShape(TASKS, INPUTS, 2, 1, 0.5, descriptors=known)
    config = HypernetConfig(width=8, depth=1, task=ConditioningConfig("descriptor"))
    network = build_network(shape, config, torch.Generator().manual_seed(0))
    x = inputs()[:1].float().expand(TASKS, -1, -1)
    found = network(x, torch.arange(TASKS))[0]
    assert torch.equal(found[0], found[2]) and not torch.allclose(found[0], found[1])


# BroNet


def test_bronet_is_residual_blocks_with_layer_norm():
    network = shaken(build(BroNetConfig(width=8, blocks=2)))
    codes = network.code(torch.arange(TASKS))

    def dense_norm(sequence, copy, at, hidden):
        linear, norm = sequence[at], sequence[at + 1]
        hidden = hidden @ linear.weight[copy] + linear.bias[copy, 0]
        return layer_norm(hidden, (8,), norm.gain[copy, 0, 0], norm.bias[copy, 0, 0])

    def literal(copy, task, state):
        hidden = torch.relu(dense_norm(network.begin, copy, 0, torch.cat([state, codes[copy, task]])))
        for block in network.blocks:
            inner = torch.relu(dense_norm(block, copy, 0, hidden))
            hidden = hidden + dense_norm(block, copy, 3, inner)
        return run(hidden, layers(network.head, copy))

    each_sample(network, literal)


def test_bronet_begins_orthogonal_and_with_codes_of_length_1():
    network = build(BroNetConfig(width=24, blocks=1))
    for copy in range(2):
        weight = network.blocks[0][0].weight[copy]
        torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(24), rtol=0, atol=1e-5)
        head = network.head.weight[copy]
        torch.testing.assert_close(head.T @ head, 2 * torch.eye(2), rtol=0, atol=1e-5)
    codes = network.code(torch.arange(TASKS))
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(2, TASKS))


# SimbaV2


def test_simba_v2_walks_on_the_sphere():
    network = shaken(build(SimbaV2Config(width=8, blocks=2, expansion=3)))
    network.project()

    def scaled(scaler, copy, value):
        return scaler.value[copy, 0, 0] * scaler.factor * value

    def literal(copy, task, state):
        code = torch.zeros(TASKS, dtype=torch.float64)
        code[task] = 1.0
        row = torch.cat([state, code, torch.tensor([3.0], dtype=torch.float64)])
        hidden = scaled(network.embed_scale, copy, (row / row.norm()) @ network.embed.weight[copy])
        hidden = hidden / hidden.norm()
        for block in network.blocks:
            inner = torch.relu(scaled(block.up_scale, copy, hidden @ block.up.weight[copy])) + 1e-8
            towards = inner @ block.down.weight[copy]
            hidden = hidden + scaled(block.step, copy, towards / towards.norm() - hidden)
            hidden = hidden / hidden.norm()
        last = scaled(network.head_scale, copy, hidden @ network.head.weight[copy])
        return last @ network.last.weight[copy] + network.bias[copy, 0, 0]

    each_sample(network, literal)


def test_projection_brings_weights_back_to_length_1_and_nothing_else():
    network = build(SimbaV2Config(width=16, blocks=1))
    unit = {id(module.weight) for module in network.modules() if isinstance(module, UnitLinear)}
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        network(inputs().float(), torch.arange(TASKS)).square().sum().backward()
        optimizer.step()
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        network.project()
        for name, parameter in network.named_parameters():
            if id(parameter) not in unit:
                assert torch.equal(parameter, before[name])
                continue
            lengths = parameter.norm(dim=1)
            torch.testing.assert_close(lengths, torch.ones_like(lengths))
            along = cosine_similarity(parameter, before[name], dim=1)
            torch.testing.assert_close(along, torch.ones_like(along))
    assert len(unit) == 5


def test_scalers_begin_where_they_should_and_move_as_their_scale_says():
    scaler = Scaler(2, 3, start=0.25, scale=0.5)
    assert torch.equal(scaler(torch.ones(2, 1, 1, 3)), torch.full((2, 1, 1, 3), 0.25))
    scaler(torch.ones(2, 1, 1, 3)).sum().backward()
    assert torch.equal(scaler.value.grad, torch.full((2, 1, 1, 3), 0.5))
    network = build(SimbaV2Config(width=16, blocks=3))
    step = network.blocks[0].step
    assert step(torch.ones(2, 1, 1, 16))[0, 0, 0, 0].item() == pytest.approx(1 / 4)
    assert step.value[0, 0, 0, 0].item() == pytest.approx(1 / 4)


def test_the_length_of_an_input_is_not_lost_on_the_sphere():
    network = build(SimbaV2Config(width=16), copies=1)
    x = inputs()[:1].float()
    found = network(torch.cat([x, 2 * x]), torch.zeros(2, dtype=torch.int64))[0]
    assert not torch.allclose(found[0], found[1])
