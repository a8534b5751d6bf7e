"""Success as it is, and as Meta-World's own evaluator would report it, for agents whose success is known."""

import dataclasses

import pytest
import torch
from runner_toys import InlineVectorEnv
from toy_envs import toy_goals, toy_task

from mtrl import official
from mtrl.evaluation import Episode, EvaluationResult, evaluate
from mtrl.vector.trials import Trials

HORIZON = 500


def episodes(solved_after, goals, judged=3, adapting=2):
    """Of a task whose goal i is solved after `solved_after(i)` steps in every judged episode."""
    return [
        Episode("t", goal, 0, int(after > 0), int(after > 0), 1.0, HORIZON, number, after)
        for goal in range(goals)
        for number in range(adapting + judged)
        for after in [solved_after(goal) if number >= adapting else 0]
    ]


def result_of(found, goals, adapting=2):
    return EvaluationResult("test", ("t",), (goals,), (goals,), True, tuple(found), adapting)


def test_one_goal_in_four_looks_like_all_of_them_to_the_official_evaluator():
    # Four worlds side by side, as ten or five tasks have them: the one that succeeds ends three episodes first.
    found = [e for e in episodes(lambda goal: 30 if goal % 4 == 0 else 0, 40) if e.number >= 2]
    assert official.first_to_finish(found, 4) == 1.0
    assert official.first_to_finish(found, 1) == 0.25  # with one world a task it is right
    assert result_of(episodes(lambda goal: 30 if goal % 4 == 0 else 0, 40), 40).success_any == 0.25


@pytest.mark.parametrize(("solved_after", "truth"), [(lambda goal: 0, 0.0), (lambda goal: 7, 1.0)])
def test_where_all_goals_are_alike_both_are_right(solved_after, truth):
    result = result_of(episodes(solved_after, 20), 20)
    assert result.success_any == truth and result.official_success == truth
    assert result.summary["official"] == truth and len(result.summary["adaptation"]) == 5


def test_slow_successes_do_not_hide_failures():
    # Success in step 499 of 500, of two worlds: 499 solved, 500 failed, 998 solved.
    found = [e for e in episodes(lambda goal: 499 * (goal == 0), 2) if e.number >= 2]
    assert official.first_to_finish(found, 2) == pytest.approx(2 / 3)
    # Both fail in step 500 at the same time; the first world counts first.
    assert official.first_to_finish([e for e in episodes(lambda goal: 0, 2) if e.number >= 2], 2) == 0.0


def test_fewer_judged_episodes_than_are_counted_are_played_again():
    found = [e for e in episodes(lambda goal: 30, 3, judged=1) if e.number >= 2]
    assert official.first_to_finish(found, 3) == 1.0


def test_plain_evaluations_have_no_such_figure():
    result = result_of([dataclasses.replace(e, number=0) for e in episodes(lambda goal: 0, 3, 1, 0)], 3, 0)
    assert "official" not in result.summary


class Constant:
    """Always the same action."""

    def begin_episodes(self, mask):
        pass

    def act(self, obs, task_id, *, mode):
        return torch.ones(len(obs), 2)


def test_steps_to_the_first_success_are_counted_in_every_episode():
    task = toy_task("a", horizon=12)
    goals = toy_goals(task)
    env = Trials(InlineVectorEnv([task], goal_set=goals, slots_per_task=3), 3, 1)
    found = evaluate(Constant(), env).episodes
    inner = InlineVectorEnv([task], goal_set=goals)
    for episode in found:
        inner.envs[0].reset(seed=0, options={"goal": goals.rows[0][episode.goal]})
        assert (episode.solved_after > 0) == bool(episode.success_any) and episode.solved_after <= 12
    record = found[0].to_record()
    assert ("solved_after" in record) == bool(found[0].solved_after) and "number" not in record
