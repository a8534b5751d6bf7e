"""Composite environments against the parts they are made of, and the builder that makes them."""

import os

import pytest
import torch
from toy_envs import RaisingEnv, toy_goals, toy_task, worker_processes

from mtrl.errors import UserError
from mtrl.goals import EachGoalOnce, GoalSet, ResampleGoals
from mtrl.tasks import TASKS
from mtrl.vector.build import ENGINES, make_vector_env
from mtrl.vector.checker import check_vector_env
from mtrl.vector.composite import CompositeVectorEnv
from mtrl.vector.processes import ProcessVectorEnv

FIRST = toy_task("first", horizon=5)
SECOND = toy_task("second", obs_dim=7, action_dim=3, horizon=4, engine="other")
THIRD = toy_task("third", obs_dim=5, wall=0.7, horizon=6)
GOALS = toy_goals(FIRST, SECOND, THIRD)


def other_engine(definitions, **options):
    """A second engine; the same machinery under another name keeps the test small."""
    return ProcessVectorEnv(definitions, **options)


@pytest.fixture
def registered(monkeypatch):
    """The three tasks and the second engine, registered for one test."""
    for registry in (TASKS, ENGINES):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_descriptions", dict(registry._descriptions))
    for task in (FIRST, SECOND, THIRD):
        TASKS.register(task.name, task, task.description)
    ENGINES.register("other", other_engine, "for tests")


def build(slots=2, **options):
    return make_vector_env(["first", "second", "third"], goal_set=GOALS, slots_per_task=slots, **options)


def actions(steps, slots, seed=0):
    return list(torch.rand((steps, slots, 3), generator=torch.Generator().manual_seed(seed)) * 2 - 1)


def flat(step):
    return [*step[:4], *step[4].values()]


def same(one, other):
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for left, right in pairs for a, b in zip(flat(left), flat(right), strict=True))


def test_slots_are_sorted_by_task_though_engines_interleave(registered):
    env = build()
    assert isinstance(env, CompositeVectorEnv)
    assert [task.name for task in env.tasks] == ["first", "second", "third"]
    assert env.task_id.tolist() == [0, 0, 1, 1, 2, 2]
    assert env.obs_mask.sum(1).tolist() == [4, 7, 5]
    assert env.action_mask.sum(1).tolist() == [2, 3, 2]
    obs, info = env.reset(seed=3)
    assert obs.shape == (6, 7)
    schedule = ResampleGoals([5] * 6, 3)
    goals = [schedule.first(slot) for slot in range(6)]
    assert info["goal_index"].tolist() == goals
    # Each slot shows the goal of its own task's table, so nothing was mixed up on the way.
    for slot, goal in enumerate(goals):
        assert torch.equal(obs[slot, 2:4], torch.tensor(GOALS.rows[slot // 2][goal], dtype=torch.float32))
    env.close()


def test_a_composite_keeps_the_contract(registered):
    env = build()
    assert check_vector_env(env) == []
    env.close()


def test_each_part_gets_its_own_actions(registered):
    env = build(slots=1)
    whole = [env.step(action) for action in (env.reset(seed=0), actions(20, 3))[1]]
    seeds = {}
    for number, part in enumerate(env._parts):
        seeds[number] = part.get_state()["seed"]
    env.close()
    # `first` and `third` share a part: the same part built alone, fed the same rows, gives the same.
    alone = ProcessVectorEnv([FIRST, THIRD], goal_set=GoalSet("train", (GOALS.rows[0], GOALS.rows[2])))
    assert seeds[0] != seeds[1]

    class Seen(ResampleGoals):
        def _goal(self, slot, episode):
            return super()._goal([0, 2][slot], episode)

    alone.reset(seed=seeds[0], options={"schedule": Seen([5, 5, 5], 0)})
    for step, action in zip(whole, actions(20, 3), strict=True):
        expected = alone.step(action[[0, 2], :2])
        for tensor, part in zip(flat(step), flat(expected), strict=True):
            mine = tensor[[0, 2]]
            assert torch.equal(mine[:, :5] if mine.dim() == 2 else mine, part)
    alone.close()


def test_a_composite_goes_on_from_its_state(registered, tmp_path):
    env = build()
    env.reset(seed=8)
    last = [env.step(action) for action in actions(17, 6)][-1]
    torch.save(env.get_state(), tmp_path / "state.pt")
    expected = [env.step(action) for action in actions(17, 6, seed=1)]
    env.close()
    fresh = build()
    assert torch.equal(fresh.set_state(torch.load(tmp_path / "state.pt", weights_only=True)), last[0])
    assert same([fresh.step(action) for action in actions(17, 6, seed=1)], expected)
    single = make_vector_env(["first"], goal_set=toy_goals(FIRST))
    single.reset()
    with pytest.raises(UserError, match="other engines"):
        fresh.set_state(single.get_state())
    single.close()
    fresh.close()


def test_an_evaluation_over_parts_plays_every_goal_once(registered):
    env = build()
    env.reset(options={"schedule": EachGoalOnce(env.task_id.tolist(), GOALS.counts)})
    played = [[], [], []]
    for action in actions(20, 6):
        info = env.step(action)[4]
        for slot in torch.nonzero(info["final_mask"]).flatten().tolist():
            played[slot // 2].append(int(info["goal_index"][slot]))
    assert [sorted(goals) for goals in played] == [[0, 1, 2, 3, 4]] * 3
    assert not info["active"].any()
    env.close()


def test_images_come_from_the_right_slot(registered):
    env = build(slots=1)
    env.reset()
    for action in actions(4, 3):
        env.step(action * 0)
    # The image shows the steps so far; `second` has a horizon of 4 and has just begun again.
    assert [int(env.render_slot(slot)[0, 0, 0]) for slot in range(2)] == [4, 0]
    with pytest.raises(UserError, match="slot 3"):
        env.render_slot(3)
    env.close()


def test_tasks_of_one_engine_need_no_composite(registered):
    env = make_vector_env(["first", "third"], goal_set=toy_goals(FIRST, THIRD))
    assert isinstance(env, ProcessVectorEnv)
    env.close()
    env = build(engine="other")
    assert isinstance(env, ProcessVectorEnv)
    env.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slots_per_task": 0}, "slots_per_task is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"engine": "ofical"}, "unknown engine 'ofical': did you mean official?"),
        ({"task_names": ["first", "secnod", "third"]}, "unknown task 'secnod': did you mean second"),
        ({"task_names": []}, "no task given"),
        ({"task_names": ["first"]}, "goal set 'train' has tables for 3 tasks, not 1"),
    ],
)
def test_impossible_environments_are_refused(registered, arguments, message):
    with pytest.raises(UserError, match=message):
        make_vector_env(**{"task_names": ["first", "second", "third"], "goal_set": GOALS, **arguments})


def test_a_part_that_cannot_be_built_leaves_nothing_behind(registered):
    before = worker_processes(os.getpid())
    broken = toy_task("broken", RaisingEnv, engine="other")
    TASKS.register("broken", type(broken)(**{**broken.__dict__, "obs_dim": 9}), "for tests")
    with pytest.raises(UserError, match="task 'broken'"):
        make_vector_env(["first", "broken"], goal_set=toy_goals(FIRST, broken))
    assert worker_processes(os.getpid()) == before


def test_compiling_reaches_every_part(registered, monkeypatch):
    env, asked = build(), []
    for part in env._parts:
        monkeypatch.setattr(part, "compile", lambda part=part: asked.append(part))
    env.compile()
    assert asked == list(env._parts)
