"""Controls of adaptation: what an agent that does as it remembers makes of another goal, or of nothing."""

import pytest
import torch
from runner_toys import tiny_config
from test_rl2 import register_tiny_rl2

import mtrl
from mtrl.cli import main
from mtrl.errors import UserError
from mtrl.evaluation import evaluate
from mtrl.goals import make_goal_sets
from mtrl.report.load import load_runs
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.trials import Trials, taken_apart

GOALS, ADAPTING, JUDGED = 12, 2, 1


class Rememberer:
    """Stays where it is in the first episode of a trial, and goes in all others to where it was shown the goal then."""

    def __init__(self, worlds):
        self.goal, self.first = torch.zeros(worlds, 2), torch.ones(worlds, dtype=torch.bool)

    def begin_episodes(self, mask):
        pass

    def act(self, obs, task_id, *, mode):
        told = taken_apart(obs, 2)
        self.first = told.begins | (self.first & ~told.ended)
        self.goal = torch.where(told.begins[:, None], told.obs[:, 2:], self.goal)
        return torch.where(self.first[:, None], 0.0, 10.0 * (self.goal - told.obs[:, :2])).clamp(-1.0, 1.0)


def shown_points(adapting=ADAPTING):
    train, _ = make_goal_sets([TASKS.get("point-robot-v0")], GOALS, 0)
    env = make_vector_env(["point-robot-v0"], goal_set=train, slots_per_task=5, goal_visible=True)
    return Trials(env, ADAPTING + JUDGED, adapting)


def played(context, **given):
    env = shown_points()
    return evaluate(Rememberer(env.num_envs), env, context=context, **given)


@pytest.mark.parametrize("context", ["own", "other", "none"])
def test_every_goal_is_played_once_in_each_episode_of_a_trial(context):
    found = sorted((episode.number, episode.goal) for episode in played(context).episodes)
    assert found == [(number, goal) for number in range(ADAPTING + JUDGED) for goal in range(GOALS)]


def test_an_agent_is_judged_by_what_it_was_given_to_learn_from():
    own, other, none = (played(context) for context in ("own", "other", "none"))
    assert own.success_end == 1.0 and own.adaptation[0]["success_end"] < 0.2
    assert other.success_end < 0.2 and other.adaptation[1]["success_end"] == 1.0  # at home where it has looked
    still = own.adaptation[0]["return"]
    assert [row["return"] for row in none.adaptation] == pytest.approx([still] * 3)
    labels = [one.label(1_000) for one in (own, other, none)]
    ends = ("", " on other goals", " that are forgotten")
    assert labels == [f"A-eval after 2 episodes{end}, 1 k steps/task" for end in ends]
    record = other.to_record(final=True, env_step=0, steps_per_task=0, updates=0, wall_s=0.0)
    assert record["context"] == "other"


def test_what_cannot_be_controlled_is_refused():
    with pytest.raises(UserError, match="--context other is for agents that adapt"):
        evaluate(Rememberer(5), shown_points(adapting=0), context="other")
    with pytest.raises(UserError, match="at least two goals of every task"):
        played("other", goals=1)


def test_controls_of_a_run_stand_beside_its_figures(tmp_path, capsys):
    tiny_config(tmp_path)
    register_tiny_rl2()
    run = mtrl.train("ML1:dot-a-v0", "tiny-rl2", run_folder=str(tmp_path / "a"), steps_per_task=40)
    assert main(["eval", str(run.path), "--context", "none"]) == 0
    assert "A-eval after 2 episodes that are forgotten, 40 steps/task" in capsys.readouterr().out
    run.evaluate(context="other")
    found = load_runs([tmp_path])[0].evaluations
    assert [(one.protocol, one.control) for one in found[-3:]] == [
        ("A-eval after 2 episodes", False),
        ("A-eval after 2 episodes that are forgotten", True),
        ("A-eval after 2 episodes on other goals", True),
    ]
    assert found[-1].final and found[-3].final
