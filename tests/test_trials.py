"""Trials: episodes in a row with the same goal, as one long episode that tells what happened."""

import pytest
import torch
from runner_toys import InlineVectorEnv
from toy_envs import toy_goals, toy_task

from mtrl.errors import UserError
from mtrl.goals import INACTIVE, EachGoalOnce, ResampleGoals
from mtrl.runner.loop import EpisodeStatistics
from mtrl.vector.trials import Trials

FIRST = toy_task("first", horizon=3)
SECOND = toy_task("second", obs_dim=7, action_dim=3, horizon=2)
GOALS = toy_goals(FIRST, SECOND)
SLOTS, EPISODES = 2, 4


def inner(definitions=(FIRST, SECOND), goal_visible=True):
    goals = toy_goals(*definitions)
    return InlineVectorEnv(list(definitions), goal_set=goals, slots_per_task=SLOTS, goal_visible=goal_visible)


def actions(steps, env, seed=0):
    shape = (steps, env.num_envs, env.action_mask.shape[1])
    return list(2.0 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1.0)


def test_an_observation_tells_what_came_before_and_where_trials_begin():
    env, plain = Trials(inner(), EPISODES), inner()
    obs, _ = env.reset(seed=5)
    raw, _ = plain.reset(seed=5, options={"schedule": ResampleGoals([len(GOALS.rows[0])] * 4, 5, EPISODES)})
    assert obs.shape == (4, 7 + 3 + 3)
    before, counts = torch.zeros(4, 6), torch.zeros(4, dtype=torch.int64)
    before[:, -1] = 1.0
    for action in actions(30, env):
        assert torch.equal(obs, torch.cat([raw, before], dim=1))
        obs, reward, terminated, truncated, info = env.step(action)
        raw, raw_reward, _, _, raw_info = plain.step(action)
        ended = raw_info["final_mask"]
        over = ended & (counts == EPISODES - 1)
        assert torch.equal(reward, raw_reward) and torch.equal(terminated, over) and not truncated.any()
        assert torch.equal(info["episode_mask"], ended) and torch.equal(info["episode"], counts)
        assert torch.equal(info["final_mask"], over) and torch.equal(info["success"], raw_info["success"])
        assert torch.equal(info["goal_index"], raw_info["goal_index"])
        mask = env.action_mask[env.task_id]
        last = torch.cat([action * mask, reward[:, None], ended[:, None].float(), torch.zeros(4, 1)], dim=1)
        wanted = torch.cat([raw_info["final_obs"], last], dim=1)
        assert torch.equal(info["final_obs"][over], wanted[over])
        assert torch.equal(info["final_obs"][~over], obs[~over])
        before = last.clone()
        before[over] = torch.tensor([0.0] * 5 + [1.0])
        counts = torch.where(over, 0, counts + ended)
    assert counts.tolist() == [30 // 3 % EPISODES] * 2 + [30 // 2 % EPISODES] * 2


def test_without_a_seed_the_one_before_stands():
    env = Trials(inner(), EPISODES)
    play = [step.clone() for step in actions(12, env)]
    traces = []
    for seed in (5, None, 6):
        obs, _ = env.reset(seed=seed)
        traces.append(torch.stack([obs, *(env.step(action)[0] for action in play)]))
    assert torch.equal(traces[0], traces[1]) and not torch.equal(traces[0], traces[2])
    kept, state = env.reset(seed=7)[0], env.get_state()
    env.reset(seed=8)
    env.set_state(state)
    assert torch.equal(env.reset()[0], kept)


def test_a_goal_is_held_for_a_trial_and_then_drawn_anew():
    env = Trials(inner((FIRST,)), EPISODES)
    env.reset(seed=1)
    goals = [env.step(action)[4]["goal_index"].tolist() for action in actions(3 * EPISODES * 20, env)]
    trials = torch.tensor(goals).unflatten(0, (20, 3 * EPISODES))
    assert (trials == trials[:, :1]).all()
    assert all(len(set(column)) > 2 for column in trials[:, 0].T.tolist())


def test_spaces_horizons_and_masks_are_those_of_trials():
    env = Trials(inner(), EPISODES)
    assert [task.horizon for task in env.tasks] == [3 * EPISODES, 2 * EPISODES]
    assert env.obs_mask.int().tolist() == [[1] * 4 + [0] * 3 + [1, 1, 0] + [1] * 3, [1] * 7 + [1] * 3 + [1] * 3]
    assert env.action_mask.sum(1).tolist() == [2, 3]
    assert env.single_observation_space.shape == (13,) and env.single_action_space.shape == (3,)


def test_a_trial_of_one_episode_is_an_episode():
    env, plain = Trials(inner((FIRST,)), 1), inner((FIRST,))
    env.reset(seed=2), plain.reset(seed=2)
    for action in actions(7, env):
        whole, raw = env.step(action), plain.step(action)
        assert torch.equal(whole[0][:, :4], raw[0]) and torch.equal(whole[4]["final_mask"], raw[4]["final_mask"])


def test_each_goal_has_one_trial_in_an_evaluation():
    env = Trials(inner((FIRST,)), EPISODES)
    counts = GOALS.counts[:1]
    schedule = EachGoalOnce(env.task_id.tolist(), counts, trial_episodes=EPISODES)
    _, info = env.reset(seed=0, options={"schedule": schedule})
    played = []
    while bool(info["active"].any()):
        obs, _, _, _, info = env.step(torch.zeros(SLOTS, 2))
        ended = info["episode_mask"] & info["active"]
        played += list(zip(info["goal_index"][ended].tolist(), info["episode"][ended].tolist(), strict=True))
        idle = torch.tensor([goal == INACTIVE for goal in info["goal_index"].tolist()])
        assert (obs[idle][:, 4:-1] == 0).all()
    assert sorted(played) == [(goal, number) for goal in range(counts[0]) for number in range(EPISODES)]


def test_episodes_to_adapt_in_are_counted_apart():
    env = Trials(inner((FIRST,)), 3, 2)
    statistics, sums = EpisodeStatistics(env), torch.zeros(SLOTS)
    found = {True: [], False: []}
    env.reset(seed=0)
    for step, action in enumerate(actions(2 * 3 * 3, env)):  # two trials of three episodes of three steps
        _, reward, _, _, info = env.step(action)
        statistics.add(reward, info)
        sums += reward
        if step % 3 == 2:
            found[step // 3 % 3 < 2] += sums.tolist()
            sums.zero_()
        if step == 10:
            state = statistics.get_state()
            statistics = EpisodeStatistics(env)
            statistics.set_state(state)
    metrics = statistics.metrics()
    assert len(found[True]) == 2 * len(found[False]) == 8
    assert metrics["train/return"] == pytest.approx(sum(found[False]) / 4, rel=1e-5)
    assert metrics["train/adapting/return"] == pytest.approx(sum(found[True]) / 8, rel=1e-5)
    assert 0.0 <= metrics["train/adapting/success"] <= 1.0


@pytest.mark.parametrize("progress", [False, True])
def test_it_goes_on_exactly(progress):
    env, other = Trials(inner(), EPISODES), Trials(inner(), EPISODES)
    env.reset(seed=4, options={"random_progress": progress}), other.reset(seed=9)
    given = actions(20, env)
    for action in given[:9]:
        env.step(action)
    state = env.get_state()
    assert torch.equal(other.set_state(state), env._whole(env._env.set_state(state["env"])))
    for action in given[9:]:
        one, same = env.step(action), other.step(action)
        for left, right in zip([*one[:4], *one[4].values()], [*same[:4], *same[4].values()], strict=True):
            assert torch.equal(left, right)
    with pytest.raises(UserError, match="have 4 episodes, these 2"):
        Trials(inner(), 2).set_state(state)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="0 episodes"):
        Trials(inner(), 0)


def test_first_trials_may_begin_at_later_episodes():
    env, plain = Trials(inner(), EPISODES), Trials(inner(), EPISODES)
    obs, _ = env.reset(seed=5, options={"random_progress": True})
    whole, _ = plain.reset(seed=5)
    assert torch.equal(obs, whole), "the goals of first trials are the same, and a trial begins"
    skipped = torch.tensor([0, 1, 0, 1])  # two slots of each task, over four episodes
    seen: dict[int, list[tuple[int, int]]] = {slot: [] for slot in range(4)}
    for action in actions(48, env):
        obs, _, terminated, _, info = env.step(action)
        ended = info["episode_mask"]
        assert torch.equal(terminated, ended & (info["episode"] == EPISODES - 1))
        assert torch.equal(obs[:, -1] == 1, terminated)
        for slot in ended.nonzero().flatten().tolist():
            seen[slot].append((int(info["episode"][slot]), int(info["goal_index"][slot])))
    goals = ResampleGoals([len(GOALS.rows[0])] * 4, 5, EPISODES)
    for slot, played in seen.items():
        wanted = [goals.first(slot)] + [goals.following(slot) for _ in range(30)]
        first = int(skipped[slot])
        assert played == [((first + n) % EPISODES, wanted[first + n]) for n in range(len(played))]
        assert len(played) > 2 * EPISODES
