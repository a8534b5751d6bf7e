"""The replay buffer: what is sampled, against a list of all transitions; and spans that are saved and put back."""

import dataclasses

import pytest
import torch

from mtrl.buffers import FinalObservations, ReplayBuffer
from mtrl.errors import UserError

CPU = torch.device("cpu")
GAMMA = 0.9


def make(tasks=2, slots=2, capacity=14, obs_dim=3, shortest=3):
    return ReplayBuffer(tasks, slots, capacity, obs_dim, 2, CPU, shortest_episode=shortest)


@dataclasses.dataclass
class Transition:
    """What is known of a step of a world from outside."""

    label: float
    reward: float
    terminated: bool
    ended: bool
    final: float


def label_of(step, world):
    """A number that says which observation it is."""
    return 1.0 + step * 100 + world


def play(buffer, steps, start=0, *, horizon=5, seed=0):
    """Adds steps that can be told apart; worlds end at different times, some by a terminal state."""
    worlds = torch.arange(buffer.worlds)
    if not start:
        buffer.start(label_of(0, worlds)[:, None].repeat(1, 3))
    history = []
    for step in range(start, start + steps):
        label = label_of(step, worlds)
        ended = (step + worlds * 2 + 1) % (horizon + worlds) == 0
        terminated = ended & (step % 2 == 0)
        final, following = (label + 0.5)[:, None].repeat(1, 3), label_of(step + 1, worlds)[:, None].repeat(1, 3)
        final = torch.where(ended[:, None], final, following)
        reward = torch.rand(buffer.worlds, generator=torch.Generator().manual_seed(seed + step))
        buffer.add(label[:, None].repeat(1, 2), reward, terminated, ended, final, following)
        columns = (label, reward, terminated, ended, final[:, 0])
        history.append([Transition(*(column[world].item() for column in columns)) for world in worlds.tolist()])
    return history


def expected(history, step, world, n_step):
    """Reward, next observation, terminated and discount of a transition, by a loop."""
    reward = 0.0
    for ahead in range(n_step):
        one = history[step + ahead][world]
        reward += GAMMA**ahead * one.reward
        if one.ended or ahead == n_step - 1 or step + ahead == len(history) - 1:
            return reward, one.final, float(one.terminated), GAMMA ** (ahead + 1)
    raise AssertionError


@pytest.mark.parametrize("n_step", [1, 2, 3, 8])
@pytest.mark.parametrize("steps", [1, 4, 6, 7, 8, 29])
def test_all_that_is_sampled_is_what_happened_and_all_of_it_is_sampled(steps, n_step):
    buffer = make()  # 7 steps are held
    history = play(buffer, steps)
    batch = buffer.sample(400, torch.Generator().manual_seed(0), GAMMA, n_step)
    assert batch.task_id.tolist() == [0] * 400 + [1] * 400
    seen = set()
    for row in range(800):
        step, world = divmod(int(batch.obs[row, 0]) - 1, 100)
        assert world // 2 == batch.task_id[row]
        assert batch.action[row].tolist() == [label_of(step, world)] * 2
        reward, final, terminated, discount = expected(history, step, world, n_step)
        assert batch.reward[row].item() == pytest.approx(reward, rel=1e-5)
        assert batch.next_obs[row].tolist() == [final] * 3
        assert batch.terminated[row] == terminated
        assert batch.discount[row].item() == pytest.approx(discount, rel=1e-6)
        seen.add((step, world))
    assert seen == {(step, world) for step in range(max(0, steps - 7), steps) for world in range(4)}


def test_sampling_is_uniform_over_what_is_held():
    buffer = make(1, 1, 8)
    play(buffer, 5)
    batch = buffer.sample(50_000, torch.Generator().manual_seed(0), GAMMA)
    counts = torch.bincount((batch.obs[:, 0] // 100).long(), minlength=5)
    assert counts.shape == (5,)
    assert (counts - 10_000).abs().max() < 450


def test_a_draw_means_the_same_however_far_the_ring_is():
    """Place p of a task was always its row p, modulo what is held: results of old do not change with the layout."""
    buffer = make(1, 2, 14)
    for steps in (3, 7, 9, 20):
        buffer = make(1, 2, 14)
        play(buffer, steps)
        size = min(2 * steps, 14)
        draw = torch.rand((1, 50), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        rows = {row % 14: row for row in range(2 * steps)}
        places = [rows[int(place)] for place in (draw * size).flatten()]
        batch = buffer.sample(50, torch.Generator().manual_seed(1), GAMMA)
        assert batch.obs[:, 0].tolist() == [label_of(*divmod(row, 2)) for row in places]


def test_an_empty_buffer_cannot_be_sampled():
    with pytest.raises(UserError, match="warmup"):
        make().sample(4, torch.Generator(), GAMMA)


def test_what_stands_in_for_a_lost_last_observation_is_the_one_before_the_step():
    buffer = make(1, 1, 100, shortest=500)  # room for the ends of 100 / 32 + 1 episodes
    play(buffer, 100, horizon=5)
    batch = buffer.sample(2_000, torch.Generator().manual_seed(0), GAMMA)
    step = (batch.obs[:, 0] // 100).long()
    ended = (step + 1) % 5 == 0
    lost = ended & (step < 100 - 4 * 5)
    assert lost.any() and (ended & ~lost).any()
    assert torch.equal(batch.next_obs[lost], batch.obs[lost])
    assert torch.equal(batch.next_obs[ended & ~lost], batch.obs[ended & ~lost] + 0.5)
    assert torch.equal(batch.next_obs[~ended], batch.obs[~ended] + 100)


@pytest.mark.parametrize("horizon", [1, 2, 7, 31, 32, 33, 500])
def test_whole_episodes_never_lose_their_last_observation(horizon):
    steps = 70
    rows = FinalObservations.rows_for(steps, horizon)
    for offset in range(horizon):
        ends = FinalObservations(torch.zeros(rows, 1, 1))
        numbers = [
            ends.add(torch.tensor([(step + offset + 1) % horizon == 0]), torch.full((1, 1), float(step)))
            for step in range(3 * steps)
        ][-steps:]
        for step, number in enumerate(numbers, 2 * steps):
            place, there = ends.find(number, torch.tensor([0]))
            assert bool(there) == (number >= 0)
            assert not there or ends.obs.flatten()[place] == step


def test_memory_is_little_more_than_half_of_storing_both_observations_of_each_transition():
    buffer = ReplayBuffer(10, 8, 4_000, 39, 4, CPU, shortest_episode=500)
    before = 10 * 4_000 * 4 * (2 * 39 + 4 + 2)
    assert buffer._rings["obs"].shape == (501, 80, 39)
    assert buffer._rings["action"].shape == (501, 80, 4)
    assert buffer._rings["reward"].shape == buffer._rings["terminated"].shape == (501, 80)
    assert buffer._final.obs.shape == (500 // 32 + 2, 80, 39)
    assert buffer.nbytes < 0.57 * before


def parts(buffer):
    return {**buffer._rings, "steps": buffer.steps, "ends": buffer._final.ends}


@pytest.mark.parametrize("spans", [(3, 2, 4), (1, 9, 1), (12, 1, 0), (2, 0, 0), (6, 1, 8)])
def test_spans_put_back_in_order_give_the_same_buffer(spans):
    buffer, copy, step = make(), make(), 0
    for span in spans:
        mark = buffer.steps
        play(buffer, span, step)
        step += span
        copy.extend(buffer.rows_since(mark))
    held = torch.arange(max(0, step - 7), step + 1) % 8  # the newest observations, with no step yet, among them
    for name, values in buffer._rings.items():
        columns = held if name == "obs" else held[:-1]
        assert torch.equal(values[columns], copy._rings[name][columns]), name
    for more in (0, 3, 9):
        play(buffer, more, step)
        play(copy, more, step)
        step += more
        one, other = (each.sample(300, torch.Generator().manual_seed(step), GAMMA, 3) for each in (buffer, copy))
        for field in dataclasses.fields(one):
            assert torch.equal(getattr(one, field.name), getattr(other, field.name)), field.name


def test_saved_rows_hold_what_episodes_ended_with():
    buffer = make()
    history = play(buffer, 6)
    rows = buffer.rows_since(2)
    assert (rows["start"].tolist(), rows["count"].tolist()) == ([2], [4])
    assert rows["obs"].shape == (5, 4, 3) and rows["reward"].shape == (4, 4)
    finals = [one.final for step in history[2:] for one in step if one.ended]
    assert rows["final_obs"][:, 0].tolist() == finals != []


def test_rows_of_another_suite_or_version_are_refused():
    one = make()
    play(one, 2)
    rows = one.rows_since(0)
    with pytest.raises(UserError, match="do not fit"):
        make(obs_dim=4).extend(rows)
    with pytest.raises(UserError, match="do not fit"):
        make(slots=3).extend(rows)
    with pytest.raises(UserError, match="the version"):
        make().extend({**{name: rows[name] for name in ("start", "count", "obs")}, "next_obs": rows["obs"]})


def test_a_buffer_that_cannot_fit_says_so():
    with pytest.raises(UserError, match="capacity-per-task"):
        ReplayBuffer(50, 1, 10**13, 39, 4, CPU, shortest_episode=500)
    with pytest.raises(UserError, match="less than one step of 6 slots"):
        make(slots=6, capacity=5)


def test_episodes_that_were_cut_lead_to_where_they_were():
    buffer = ReplayBuffer(1, 2, 8, 1, 1, torch.device("cpu"), shortest_episode=10)
    buffer.start(torch.tensor([[0.0], [10.0]]))
    none, ended = torch.tensor([False, False]), torch.tensor([False, True])
    for step in range(3):
        obs, last = torch.tensor([[step + 1.0], [step + 11.0]]), step == 2
        final = obs if not last else torch.tensor([[99.0], [77.0]])
        buffer.add(torch.zeros(2, 1), torch.zeros(2), none, ended if last else none, final, obs)
    buffer.cut()
    buffer.start(torch.tensor([[50.0], [60.0]]))  # elsewhere
    batch = buffer.sample(200, torch.Generator().manual_seed(0), 0.9)
    pairs = {(int(one), int(other)) for one, other in zip(batch.obs, batch.next_obs, strict=True)}
    assert pairs == {(0, 1), (1, 2), (2, 3), (10, 11), (11, 12), (12, 77)}
    assert not batch.terminated.any()
    long = buffer.sample(200, torch.Generator().manual_seed(0), 0.9, n_step=5)
    assert {int(obs) for obs in long.next_obs} == {3, 77}
