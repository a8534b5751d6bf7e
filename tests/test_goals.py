import collections

import numpy as np
import pytest
import torch
from toy_envs import toy_task

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, EachGoalOnce, ResampleGoals, make_goal_sets
from mtrl.tasks import TaskDefinition


def play(schedule, slots, episodes):
    """Goal of each episode of each slot."""
    goals = [[schedule.first(slot)] for slot in range(slots)]
    for _ in range(episodes - 1):
        for slot in range(slots):
            goals[slot].append(schedule.following(slot))
    return goals


def test_goal_sets_are_disjoint_and_depend_on_the_task_alone():
    one, other = toy_task("one"), toy_task("other")
    train, heldout = make_goal_sets([one, other], 50, 3)
    assert train.counts == heldout.counts == (50, 50)
    rows = {tuple(row) for row in train.rows[0]} | {tuple(row) for row in heldout.rows[0]}
    assert len(rows) == 100
    alone, _ = make_goal_sets([other], 50, 3)
    assert np.array_equal(alone.rows[0], train.rows[1])
    another_seed, _ = make_goal_sets([one], 50, 4)
    assert not np.array_equal(another_seed.rows[0], train.rows[0])


@pytest.mark.parametrize("rows", [np.zeros((100, 2)), np.arange(99.0)[:, None], np.arange(100.0)])
def test_goals_that_are_not_a_table_of_distinct_rows_are_refused(rows):
    task = toy_task("few")
    broken = TaskDefinition(**{**task.__dict__, "sample_goals": lambda count, seed: rows})
    with pytest.raises(UserError, match="task 'few'"):
        make_goal_sets([broken], 50, 0)


def test_no_goals_at_all_are_refused():
    with pytest.raises(UserError, match="0 goals per task"):
        make_goal_sets([toy_task()], 0, 0)


def test_resampling_uses_all_goals_evenly_and_differs_between_slots():
    goals = play(ResampleGoals([5, 5, 50], seed=1), 3, 500)
    counts = collections.Counter(goals[0])
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert all(70 < count < 130 for count in counts.values())  # 100 expected, standard deviation 9
    assert goals[0] != goals[1]
    assert len(set(goals[2])) == 50
    assert play(ResampleGoals([5, 5, 50], seed=1), 3, 500) == goals
    assert play(ResampleGoals([5, 5, 50], seed=2), 3, 500) != goals


def test_a_trial_keeps_its_goal():
    (goals,) = play(ResampleGoals([50], seed=0, trial_episodes=10), 1, 40)
    trials = [goals[start : start + 10] for start in range(0, 40, 10)]
    assert all(len(set(trial)) == 1 for trial in trials)
    assert len({trial[0] for trial in trials}) > 1


def test_each_goal_is_played_once_whatever_the_slots():
    for task_id in ([0, 1], [0, 0, 0, 1, 1, 1], [0] * 7 + [1] * 7):
        goals = play(EachGoalOnce(task_id, [50, 20]), len(task_id), 60)
        for task, count in ((0, 50), (1, 20)):
            played = [
                goal for slot, own in enumerate(task_id) if own == task for goal in goals[slot] if goal != INACTIVE
            ]
            assert sorted(played) == list(range(count))


def test_repeats_and_limit():
    (goals,) = play(EachGoalOnce([0], [50], repeats=2, limit=3), 1, 8)
    assert goals == [0, 1, 2, 0, 1, 2, INACTIVE, INACTIVE]
    (goals,) = play(EachGoalOnce([0], [50], limit=4, trial_episodes=3, elsewhere=2), 1, 13)
    assert goals == [2, 2, 0, 3, 3, 1, 0, 0, 2, 1, 1, 3, INACTIVE]  # two episodes elsewhere, then one
    goals = play(EachGoalOnce([0, 0, 0], [50], limit=2), 3, 2)
    assert goals == [[0, INACTIVE], [1, INACTIVE], [INACTIVE, INACTIVE]]


@pytest.mark.parametrize(
    "build",
    [
        lambda: EachGoalOnce([0], [5], repeats=0),
        lambda: EachGoalOnce([0], [5], limit=0),
        lambda: ResampleGoals([5], 0, trial_episodes=0),
    ],
)
def test_schedules_that_play_nothing_are_refused(build):
    with pytest.raises(UserError, match="at least 1"):
        build()


@pytest.mark.parametrize(
    "build", [lambda: ResampleGoals([9, 9], seed=5, trial_episodes=2), lambda: EachGoalOnce([0, 1], [9, 9])]
)
def test_a_schedule_goes_on_from_its_state(build, tmp_path):
    schedule = build()
    play(schedule, 2, 3)
    torch.save(schedule.get_state(), tmp_path / "state.pt")
    expected = [schedule.following(slot) for slot in (0, 1) for _ in range(5)]
    fresh = build()
    fresh.set_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [fresh.following(slot) for slot in (0, 1) for _ in range(5)] == expected


def test_the_state_of_another_schedule_is_refused():
    state = EachGoalOnce([0, 1], [9, 9]).get_state()
    with pytest.raises(UserError, match="EachGoalOnce over 2 slots"):
        ResampleGoals([9, 9], 0).set_state(state)
    with pytest.raises(UserError, match="over 2 slots, this one EachGoalOnce over 3"):
        EachGoalOnce([0, 0, 1], [9, 9]).set_state(state)
