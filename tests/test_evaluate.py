"""Evaluation protocol A, against environments whose outcome is known."""

import gymnasium
import numpy as np
import pytest
import torch
from runner_toys import InlineVectorEnv

from mtrl.evaluation import EVALUATION_SEED, EvaluationResult, evaluate, format_steps
from mtrl.goals import GoalSet
from mtrl.tasks import TaskDefinition


class ScriptedEnv(gymnasium.Env):
    """The goal is `[length, first step with success, last one]`; the reward is the first number of the action."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.length, self.first, self.last = (int(number) for number in options["goal"])
        self.steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        success = self.first <= self.steps <= self.last
        return (
            np.full(3, self.steps, np.float32),
            float(action[0]),
            False,
            self.steps >= self.length,
            {"success": success},
        )


class ConstantPolicy:
    """Acts 0.5 and remembers where episodes began."""

    def __init__(self):
        self.begun = []

    def begin_episodes(self, mask):
        self.begun.append(mask.clone())

    def act(self, obs, task_id, *, mode):
        assert mode
        return torch.full((len(task_id), 1), 0.5)


def make(goals_of_tasks, slots_per_task=1):
    tasks = [
        TaskDefinition(f"task-{number}", "", lambda visible: ScriptedEnv(), None, 3, 1, 50, "inline")
        for number in range(len(goals_of_tasks))
    ]
    rows = tuple(np.array(goals, np.float64) for goals in goals_of_tasks)
    return InlineVectorEnv(tasks, goal_set=GoalSet("train", rows), slots_per_task=slots_per_task)


NEVER = (0, 0)


def test_one_goal_in_four_solved_gives_exactly_a_quarter():
    env = make([[(5, 2, 2), (5, *NEVER), (5, *NEVER), (5, *NEVER)]], slots_per_task=3)
    result = evaluate(ConstantPolicy(), env)
    assert result.success_any == 0.25
    assert result.success_end == 0.0  # it held in the middle alone
    assert result.per_task == {"task-0": {"success_any": 0.25, "success_end": 0.0, "return": 2.5, "episodes": 4}}


def test_success_at_the_end_and_at_any_step_are_told_apart():
    env = make([[(6, 6, 6), (6, 1, 5), (6, 3, 9), (6, *NEVER)]])
    result = evaluate(ConstantPolicy(), env)
    assert [(e.success_any, e.success_end) for e in result.episodes] == [(1, 1), (1, 0), (1, 1), (0, 0)]
    assert (result.success_any, result.success_end) == (0.75, 0.5)


def test_episodes_run_to_their_end_after_success():
    env = make([[(9, 1, 9)]])
    (episode,) = evaluate(ConstantPolicy(), env).episodes
    assert episode.length == 9
    assert episode.return_ == pytest.approx(4.5)


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_every_goal_is_played_exactly_once_whatever_the_slots_and_lengths(slots):
    # Short episodes succeed and long ones fail: counting the first N episodes to end would be biased.
    goals = [[(2, 1, 2)] * 3 + [(11, *NEVER)] * 3, [(4, *NEVER)] * 5]
    result = evaluate(ConstantPolicy(), make(goals, slots))
    assert [(e.task, e.goal) for e in result.episodes] == [("task-0", g) for g in range(6)] + [
        ("task-1", g) for g in range(5)
    ]
    assert result.per_task["task-0"]["success_any"] == 0.5
    assert result.success_any == 0.25  # the mean over tasks, not over the 11 episodes
    of_slot = {}
    for episode in result.episodes:
        of_slot.setdefault(episode.task, []).append(episode.slot)
    counts = [of_slot["task-0"].count(slot) for slot in sorted(set(of_slot["task-0"]))]
    assert max(counts) - min(counts) <= 1


def test_fewer_goals_are_the_first_ones_and_the_label_says_so():
    env = make([[(3, 1, 3)] + [(3, *NEVER)] * 3])
    result = evaluate(ConstantPolicy(), env, 2)
    assert [e.goal for e in result.episodes] == [0, 1]
    assert result.label(60_000) == "A-eval (2 of 4 goals), 60 k steps/task"


def test_policies_learn_where_episodes_begin():
    policy = ConstantPolicy()
    evaluate(policy, make([[(2, *NEVER), (3, *NEVER), (2, *NEVER)]], slots_per_task=2))
    # slot 0 plays goals 0 and 2, slot 1 plays goal 1; between them they are told that nothing began
    assert [mask.tolist() for mask in policy.begun] == [[True, True], [False, False], [True, False], [False, True]]


def test_two_evaluations_in_one_environment_are_equal():
    env = make([[(5, 2, 2), (4, *NEVER)]])
    assert evaluate(ConstantPolicy(), env) == evaluate(ConstantPolicy(), env)
    assert env.seed == EVALUATION_SEED


def test_an_environment_that_goes_idle_is_not_waited_for():
    env = make([[(5, 2, 2), (4, *NEVER)]])
    env.goal_set = GoalSet("train", (np.zeros((3, 3)),))  # one goal more than the schedule will find an end for
    env.step_wait = lambda: (torch.zeros(1, 3), torch.zeros(1), *[torch.zeros(1, dtype=torch.bool)] * 2, idle)
    none = torch.zeros(1, dtype=torch.bool)
    idle = {"active": none, "final_mask": none, "success": none, "goal_index": torch.tensor([-1])}
    with pytest.raises(RuntimeError, match="idle after 0 of 3"):
        evaluate(ConstantPolicy(), env)


def test_on_step_can_end_an_evaluation():
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(ConstantPolicy(), make([[(5, 2, 2)]]), on_step=stop)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (60_000, "60 k"),
        (1_500_000, "1.5 M"),
        (2_000_000, "2 M"),
        (999_999, "1 M"),
        (123_456, "123 k"),
        (20_000_000_000, "20 G"),
    ],
)
def test_steps_are_written_with_units(steps, text):
    assert format_steps(steps) == text


@pytest.mark.parametrize(("goal_set", "protocol"), [("train", "A-eval"), ("heldout", "A-heldout"), ("test", "A-test")])
def test_the_protocol_names_the_goals(goal_set, protocol):
    result = EvaluationResult(goal_set, ("t",), (50,), (50,), True, ())
    assert result.label(2_000_000) == f"{protocol}, 2 M steps/task"


def test_the_record_holds_what_the_dashboard_reads():
    result = evaluate(ConstantPolicy(), make([[(2, 1, 1), (2, *NEVER)]]))
    record = result.to_record(final=True, env_step=10, steps_per_task=10, updates=3, wall_s=1.5)
    assert record["protocol"] == "A-eval" and record["label"] == "A-eval, 10 steps/task" and record["goals"] == 2
    assert record["summary"]["per_task"]["task-0"]["success_any"] == 0.5
    assert record["episodes"][0] == {
        "task": "task-0",
        "goal": 0,
        "slot": 0,
        "success_any": 1,
        "success_end": 0,
        "return": 1.0,
        "length": 2,
        "solved_after": 1,
    }
