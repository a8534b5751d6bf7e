"""The replay buffer: rings, sampling in equal parts, and spans that are saved and put back."""

import pytest
import torch

from mtrl.buffers import TaskReplayBuffer
from mtrl.errors import UserError

CPU = torch.device("cpu")


def fill(buffer, task_id, steps, start=0):
    for step in range(start, start + steps):
        label = step * 100.0 + torch.arange(len(task_id)) + 1
        obs = label[:, None].repeat(1, 3)
        buffer.add(obs, obs[:, :2], label, obs + 0.5, torch.zeros(len(task_id), dtype=torch.bool), task_id)


def test_a_ring_keeps_the_newest_rows_of_each_task():
    buffer = TaskReplayBuffer(2, 4, 3, 2, CPU)
    fill(buffer, torch.tensor([0, 0, 1]), 3)
    assert buffer.size().tolist() == [4, 3]
    assert sorted(buffer._data["reward"][:4].tolist()) == [101, 102, 201, 202]
    assert sorted(buffer._data["reward"][4:7].tolist()) == [3, 103, 203]


def test_batches_hold_equally_many_rows_of_each_task_and_whole_transitions():
    buffer = TaskReplayBuffer(2, 50, 3, 2, CPU)
    fill(buffer, torch.tensor([0, 1, 1]), 20)
    batch = buffer.sample(64, torch.Generator().manual_seed(0))
    assert batch.task_id.tolist() == [0] * 64 + [1] * 64
    slot = batch.reward % 100
    assert (slot[:64] == 1).all()
    assert set(slot[64:].tolist()) == {2.0, 3.0}
    assert torch.equal(batch.obs[:, 0], batch.reward)
    assert torch.equal(batch.next_obs, batch.obs + 0.5)
    assert len(set(batch.reward[:64].tolist())) > 15


def test_sampling_is_uniform_over_what_is_held():
    buffer = TaskReplayBuffer(1, 8, 3, 2, CPU)
    fill(buffer, torch.tensor([0]), 5)
    batch = buffer.sample(50_000, torch.Generator().manual_seed(0))
    counts = torch.bincount((batch.reward // 100).long(), minlength=5)
    assert counts.shape == (5,)
    assert (counts - 10_000).abs().max() < 450


def test_an_empty_task_cannot_be_sampled():
    buffer = TaskReplayBuffer(2, 8, 3, 2, CPU)
    fill(buffer, torch.tensor([0]), 5)
    with pytest.raises(UserError, match="warmup"):
        buffer.sample(4, torch.Generator())


@pytest.mark.parametrize("spans", [(3, 2, 4), (1, 9, 1), (12, 1, 0)])
def test_spans_put_back_in_order_give_the_same_buffer(spans):
    task_id = torch.tensor([0, 0, 1])
    buffer, copy = TaskReplayBuffer(2, 7, 3, 2, CPU), TaskReplayBuffer(2, 7, 3, 2, CPU)
    step = 0
    for span in spans:
        mark = buffer.written.clone()
        fill(buffer, task_id, span, step)
        step += span
        copy.extend(buffer.rows_since(mark))
    assert torch.equal(buffer.written, copy.written)
    for name, values in buffer._data.items():
        assert torch.equal(values, copy._data[name]), name
    fill(buffer, task_id, 3, step)
    fill(copy, task_id, 3, step)
    assert torch.equal(buffer._data["obs"], copy._data["obs"])


def test_rows_of_another_suite_are_refused():
    one, other = TaskReplayBuffer(2, 7, 3, 2, CPU), TaskReplayBuffer(2, 7, 4, 2, CPU)
    fill(one, torch.tensor([0, 1]), 2)
    with pytest.raises(UserError, match="do not fit"):
        other.extend(one.rows_since(torch.zeros(2, dtype=torch.int64)))


def test_a_buffer_that_cannot_fit_says_so():
    with pytest.raises(UserError, match="capacity-per-task"):
        TaskReplayBuffer(50, 10**13, 39, 4, CPU)
