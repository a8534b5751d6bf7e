"""Memory before networks, against torch's own units and against steps one by one."""

import pytest
import torch
from test_networks_sharing import network_of

from mtrl.agents.memory import GRU, WithMemory
from mtrl.parts.network import NetworkShape, call_network, split_parameters

STEPS, WORLDS, IN, WIDTH, TASKS = 5, 3, 4, 6, 2
SHAPE = NetworkShape(TASKS, IN + WIDTH, 2, copies=2, head_scale=0.1)


def memory_network(name="one_hot", seed=0):
    body = network_of(name, SHAPE, width=8, depth=1)
    return WithMemory(body, IN, WIDTH, STEPS, 1, torch.Generator().manual_seed(seed))


def sequences(begins=((0, 0), (2, 1))):
    """`[task, step, world, in]`; the last number says where trials begin, in the first step of all and where given."""
    x = torch.randn(TASKS, STEPS, WORLDS, IN, generator=torch.Generator().manual_seed(1))
    x[..., -1] = 0.0
    for step, world in begins:
        x[:, step, world, -1] = 1.0
    return x


def samples(x, before=None):
    """Sequences as networks take them, with two memories beside; that before them is the second."""
    others = torch.full((*x.shape[:3], 2 * WIDTH), 9.0, dtype=x.dtype)
    others[:, 0, :, WIDTH:] = 0.0 if before is None else before
    return torch.cat([x, others], dim=-1).flatten(1, 2)


def test_units_are_those_of_torch():
    ours, theirs = GRU(IN, WIDTH, torch.Generator().manual_seed(3)), torch.nn.GRU(IN, WIDTH)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.inputs.weight[0].T)
        theirs.weight_hh_l0.copy_(ours.recurrent.weight[0].T)
        theirs.bias_ih_l0.copy_(ours.inputs.bias[0, 0])
        theirs.bias_hh_l0.copy_(ours.recurrent.bias[0, 0])
    x, hidden = torch.randn(STEPS, WORLDS, IN), torch.zeros(1, WORLDS, WIDTH)
    right, _ = theirs(x)
    for step in range(STEPS):
        hidden = ours(ours.inputs(x[step][None, None]).squeeze(0), hidden)
        assert torch.allclose(hidden[0], right[step], atol=1e-6)


@pytest.mark.parametrize("name", ["one_hot", "multi_head", "film"])
def test_a_sequence_is_its_steps_one_by_one(name):
    network, x, task_id = memory_network(name), sequences(), torch.arange(TASKS)
    hidden = torch.rand((TASKS, WORLDS, WIDTH))  # of world 0 forgotten at once, since its trial begins
    whole, memory = network.sequence(samples(x, hidden), task_id, STEPS)
    for step in range(STEPS):
        outputs, hidden = network.step(x[:, step], hidden, task_id)
        assert torch.allclose(outputs, whole.unflatten(2, (STEPS, WORLDS))[:, :, step], atol=1e-6)
        assert torch.allclose(hidden, memory[:, step], atol=1e-6)
    empty = network(samples(x), task_id)
    assert torch.equal(empty[:, :, 0], whole[:, :, 0]) and not torch.allclose(empty[:, :, 1], whole[:, :, 1])


def test_a_sequence_in_parts_is_the_whole():
    network, x, task_id = memory_network(), sequences(), torch.arange(TASKS)
    whole, _ = network.sequence(samples(x), task_id, STEPS)
    first, memory = network.sequence(samples(x[:, :3]), task_id, 3)
    second, _ = network.sequence(samples(x[:, 3:], memory[:, -1]), task_id, STEPS - 3)
    assert torch.allclose(torch.cat([first, second], dim=2), whole, atol=1e-6)


def test_nothing_is_remembered_across_the_beginning_of_a_trial():
    network, task_id = memory_network(), torch.arange(TASKS)
    x = sequences()
    other = x.clone()
    other[:, :2, 1] += 1.0
    other[..., -1] = x[..., -1]
    one, two = (network(samples(each), task_id).unflatten(2, (STEPS, WORLDS)) for each in (x, other))
    assert torch.equal(one[:, :, 2:, 1], two[:, :, 2:, 1])  # world 1 begins anew at step 2
    assert not torch.allclose(one[:, :, 1, 1], two[:, :, 1, 1])
    other = x.clone()
    other[:, 0, 2, :-1] += 1.0
    later = network(samples(other), task_id).unflatten(2, (STEPS, WORLDS))
    assert not torch.allclose(one[:, :, -1, 2], later[:, :, -1, 2])  # world 2 remembers to the end


def test_gradients_of_tasks_are_those_of_separate_backward_passes():
    network, x, task_id = memory_network("multi_head").double(), samples(sequences().double()), torch.arange(TASKS)
    split = split_parameters(network)
    each = {
        name: value.detach().expand(TASKS, *value.shape).clone().requires_grad_()
        for name, value in split.shared.items()
    }
    given = type(split)(each, {name: value.detach() for name, value in split.specific.items()})
    call_network(network, x, task_id, given).square().mean(dim=(0, 2, 3)).sum().backward()
    for task in range(TASKS):
        loss = call_network(network, x, task_id).square().mean(dim=(0, 2, 3))[task]
        right = torch.autograd.grad(loss, list(split.shared.values()))
        for name, gradient in zip(split.shared, right, strict=True):
            assert torch.allclose(each[name].grad[task], gradient, atol=1e-10), name
