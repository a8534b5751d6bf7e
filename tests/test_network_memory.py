"""Memory before networks, against torch's own units and against steps one by one."""

import pytest
import torch
from test_networks_sharing import network_of

from mtrl.agents.memory import GRU, Recall, WithMemory
from mtrl.parts.network import NetworkShape, call_network, split_parameters

STEPS, WORLDS, IN, WIDTH, TASKS = 5, 3, 5, 6, 2
recalling = pytest.mark.parametrize("shown", [0, 2])
"""How many of the five numbers of an input are recalled; after two come reward, end of an episode, begin of a trial."""


def memory_network(name="one_hot", seed=0, shown=0):
    recall = Recall(shown)
    shape = NetworkShape(TASKS, IN + WIDTH + recall.width, 2, copies=2, head_scale=0.1)
    body = network_of(name, shape, width=8, depth=1)
    return WithMemory(body, IN, WIDTH, STEPS, 1, torch.Generator().manual_seed(seed), recall)


def sequences(begins=((0, 0), (2, 1))):
    """`[task, step, world, in]`; the last number says where trials begin, in the first step of all and where given."""
    x = torch.randn(TASKS, STEPS, WORLDS, IN, generator=torch.Generator().manual_seed(1))
    x[..., -2:] = 0.0
    x[:, 3, 0, -2] = 1.0
    for step, world in begins:
        x[:, step, world, -1] = 1.0
    return x


def samples(x, before=None):
    """Sequences as networks take them, with two memories beside; that before them is the second."""
    width = WIDTH if before is None else before.shape[-1]
    others = torch.full((*x.shape[:3], 2 * width), 9.0, dtype=x.dtype)
    others[:, 0, :, width:] = 0.0 if before is None else before
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


def remembered(shown):
    """`[task, world, width]`; what is recalled, if anything is, was paid 0.1 more than nothing."""
    memory = torch.rand((TASKS, WORLDS, WIDTH + Recall(shown).width))
    if shown:
        memory[..., -2], memory[..., -1] = 0.1, 1.0
    return memory


@recalling
@pytest.mark.parametrize("name", ["one_hot", "multi_head", "film"])
def test_a_sequence_is_its_steps_one_by_one(name, shown):
    network, x, task_id = memory_network(name, shown=shown), sequences(), torch.arange(TASKS)
    hidden = remembered(shown)  # of world 0 forgotten at once, since its trial begins
    whole, memory = network.sequence(samples(x, hidden), task_id, STEPS)
    for step in range(STEPS):
        outputs, hidden = network.step(x[:, step], hidden, task_id)
        assert torch.allclose(outputs, whole.unflatten(2, (STEPS, WORLDS))[:, :, step], atol=1e-6)
        assert torch.allclose(hidden, memory[:, step], atol=1e-6)
    empty = network(samples(x, torch.zeros_like(hidden)), task_id)
    assert torch.equal(empty[:, :, 0], whole[:, :, 0]) and not torch.allclose(empty[:, :, 1], whole[:, :, 1])


@recalling
def test_a_sequence_in_parts_is_the_whole(shown):
    network, x, task_id = memory_network(shown=shown), sequences(), torch.arange(TASKS)
    nothing = torch.zeros_like(remembered(shown))
    whole, _ = network.sequence(samples(x, nothing), task_id, STEPS)
    first, memory = network.sequence(samples(x[:, :3], nothing), task_id, 3)
    second, _ = network.sequence(samples(x[:, 3:], memory[:, -1]), task_id, STEPS - 3)
    assert torch.allclose(torch.cat([first, second], dim=2), whole, atol=1e-6)


def test_the_best_moment_of_a_trial_is_recalled():
    recall, zeros = Recall(2), torch.zeros(1, 4)
    seen = [(1.0, 2.0, -3.0), (3.0, 4.0, -1.0), (5.0, 6.0, -2.0), (7.0, 8.0, -1.0)]
    held, found = zeros, []
    for now in seen:
        held = recall(torch.tensor([[*now, 0.0, 0.0]]), held)
        found.append(held[0].tolist())
    assert found == [[*seen[0], 1.0], [*seen[1], 1.0], [*seen[1], 1.0], [5.0, 6.0, -1.0, 0.5]]
    third = recall(torch.tensor([[8.0, 9.0, -1.0, 0.0, 0.0]]), held)[0]
    assert torch.allclose(third, torch.tensor([6.0, 7.0, -1.0, 1 / 3]))  # of equals the mean
    # What is seen as an episode ends is the next one's beginning, and as a trial begins nothing has been paid.
    for flags in ((1.0, 0.0), (0.0, 1.0)):
        assert torch.equal(recall(torch.tensor([[0.0, 0.0, 9.0, *flags]]), held), held)
    assert torch.equal(recall(torch.tensor([[0.0, 0.0, 9.0, 0.0, 1.0]]), zeros), zeros)


@recalling
def test_nothing_is_remembered_across_the_beginning_of_a_trial(shown):
    network, task_id = memory_network(shown=shown), torch.arange(TASKS)
    x, nothing = sequences(), torch.zeros_like(remembered(shown))
    other = x.clone()
    other[:, :2, 1] += 1.0
    other[..., -2:] = x[..., -2:]
    one, two = (network(samples(each, nothing), task_id).unflatten(2, (STEPS, WORLDS)) for each in (x, other))
    assert torch.equal(one[:, :, 2:, 1], two[:, :, 2:, 1])  # world 1 begins anew at step 2
    assert not torch.allclose(one[:, :, 1, 1], two[:, :, 1, 1])
    other = x.clone()
    other[:, 0, 2, :-2] += 1.0
    later = network(samples(other, nothing), task_id).unflatten(2, (STEPS, WORLDS))
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
