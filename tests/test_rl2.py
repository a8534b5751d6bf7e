"""RL2: sequences, memory and trials, against known answers and against runs without interruption."""

import dataclasses

import pytest
import torch
from hidden_arms import ARMS, HIDDEN_ARM
from runner_toys import InlineVectorEnv, tensors_differ, tiny_config, without_clock
from test_maml import points

import mtrl
from mtrl.agents.rl2 import RL2
from mtrl.agents.rl2_config import RL2Config
from mtrl.algorithm import AGENTS, AgentPreset, Problem
from mtrl.checkpoint import find_checkpoint
from mtrl.cli import main
from mtrl.config import RunConfig, TrialConfig
from mtrl.errors import UserError
from mtrl.evaluation import evaluate
from mtrl.goals import make_goal_sets
from mtrl.parts.network import ConditioningConfig, NetworkConfig
from mtrl.runner.on_policy import OnPolicyLoop
from mtrl.suites import SUITES, Suite
from mtrl.vector.trials import Trials
from mtrl.video import film_run

EPISODES, WORLDS = 10, 32
NETWORK = NetworkConfig("one_hot", width=32, depth=1, activation="tanh", task=ConditioningConfig("hidden"))


def config(**changes):
    settings = RL2Config(
        actor=NETWORK,
        critic=NETWORK,
        memory=32,
        spread="state",
        reward_seen=1.0,
        rollout_steps=EPISODES,
        epochs=4,
        minibatches=2,
        gamma=0.97,
        actor_learning_rate=3e-3,
        critic_learning_rate=3e-3,
        entropy_weight=0.0,
    )
    return dataclasses.replace(settings, **changes)


def arms(episodes=EPISODES, adapting=0, goals=60):
    train, _ = make_goal_sets([HIDDEN_ARM], goals, 0)
    return Trials(InlineVectorEnv([HIDDEN_ARM], goal_set=train, slots_per_task=WORLDS), episodes, adapting)


def loop_of(env=None, **changes):
    env, settings = env or arms(), config(**changes)
    settings.check()
    problem = Problem(("hidden-arm",), env.obs_mask, env.action_mask, torch.device("cpu"), 0)
    run = RunConfig(algorithm=settings, warmup_steps=0, steps_per_task=10**6)
    loop = OnPolicyLoop(RL2(settings, problem), env, run)
    loop.start()
    return loop


@pytest.mark.slow
def test_the_best_strategy_is_found_and_kept_in_evaluation():
    # One of three arms pays: at best a third of the first pulls wins, two thirds of the second, and all that follow.
    loop = loop_of()
    for _ in range(150 * EPISODES):
        loop.advance()
    first = evaluate(loop.algorithm.player(), arms(EPISODES + 3, EPISODES))
    curve = [row["success_end"] for row in first.adaptation]
    assert len(curve) == EPISODES + 3 and len(first.episodes) == 60 * (EPISODES + 3)
    assert curve[0] < 0.55 and curve[1] > 0.55 and min(curve[3:]) > 0.95
    assert first.success_end == pytest.approx(sum(curve[-3:]) / 3)
    assert first.label(1_500).startswith("A-eval after 10 episodes, ")
    # With what came before wiped out, nothing is learned within a trial.
    blind = evaluate(loop.algorithm.player(), arms(EPISODES + 3, EPISODES), context="none")
    assert abs(blind.success_end - 1 / ARMS) < 0.25


@pytest.mark.parametrize(("steps", "hold"), [(12, 1), (3, 1), (5, 1), (12, 2), (9, 3), (5, 5), (10, 5)])
@pytest.mark.parametrize("recall", [False, True])
def test_what_is_learned_from_is_what_was_done(steps, hold, recall):
    # Trials of four steps; rollouts are some of them, or parts with what was remembered before. A decision may stand
    # for steps of two trials, and is told at the next one that a trial began.
    env = points(1, worlds=WORLDS) if recall else arms(4)  # a world of arms shows nothing that could be recalled
    loop = loop_of(env, rollout_steps=steps, minibatches=1, epochs=1, hold=hold, recall=recall)
    reports, digests, actions = [], [], loop.env.action_mask.shape[1]
    update, digest = loop.algorithm.update, loop.algorithm.digest
    loop.algorithm.update = lambda rows: reports.append(update(rows)) or reports[-1]
    loop.algorithm.digest = lambda *given: digests.append(digest(*given)) or digests[-1]
    for _ in range(4 * steps):
        loop.advance()
    assert [tuple(rows["action"].shape) for rows in digests] == [(1, WORLDS, steps // hold, actions)] * 4
    for report in reports:  # each update is the first after its rollout, so the policy is the one that acted
        assert abs(float(report["kl"])) < 1e-6 and float(report["clipped"]) == 0.0


def test_decisions_stand_for_some_steps_and_miss_nothing_that_is_told():
    loop = loop_of(arms(4), rollout_steps=12, minibatches=1, epochs=1, hold=3)
    done, rows = [], []
    step, digest = loop.env.step_async, loop.algorithm.digest
    loop.env.step_async = lambda actions: done.append(actions.clone()) or step(actions)
    loop.algorithm.digest = lambda *given: rows.append(digest(*given)) or rows[-1]
    for _ in range(24):
        loop.advance()
    actions = torch.stack(done).unflatten(0, (8, 3))
    assert torch.equal(actions, actions[:, :1].expand_as(actions))
    assert not torch.equal(actions[1:, 0], actions[:-1, 0])
    # Trials begin at every fourth step, decisions are made at every third: since the one before, a trial has begun at
    # all of them but those at steps 3 and 15.
    shown = loop.env.obs_mask.shape[1]
    for found in rows:
        assert torch.equal(found["obs"][0, 0, :, shown - 1], torch.tensor([1.0, 0.0, 1.0, 1.0]))
        assert found["obs"][0, 0, 1:, shown - 2].eq(1.0).all()  # episodes of one step end all the time


def digested(loop):
    found = []
    digest = loop.algorithm.digest
    loop.algorithm.digest = lambda *given: found.append(digest(*given)) or found[-1]
    while not found:
        loop.advance()
    return found[0]


def test_values_run_on_over_the_episodes_of_a_trial_and_end_with_it():
    loop = loop_of(arms(4), rollout_steps=8, minibatches=1, gae_lambda=1.0, gamma=1.0, advantages="none")
    rows = digested(loop)
    reward = rows["obs"][..., -3 - 2 * 32]  # of the step before; memories stand beside
    for trial in range(2):
        steps = slice(4 * trial, 4 * trial + 4)
        paid = torch.cat([reward[:, :, 4 * trial + 1 : 4 * trial + 4], torch.zeros(1, WORLDS, 1)], dim=2)
        told = rows["target"][:, :, steps]
        # without the last reward, which is not seen in this rollout's rows, targets fall by each reward
        assert torch.allclose(told[..., :3] - told[..., 1:], paid[..., :3], atol=1e-5)
        assert ((told[..., 3] - told[..., 3].round()).abs() < 1e-5).all()  # the last reward alone: 0 or 1


def register_tiny_rl2(hold=1):
    """A small RL2 on a toy task, once in a process."""
    name = f"tiny-rl2-{hold}" if hold > 1 else "tiny-rl2"
    if name not in AGENTS:
        # parts of a trial of 20 steps; the one that holds recalls, and samples in evaluations
        more = {"hold": hold, "recall": hold > 1, "sampled_adaptation": hold > 1}
        settings = config(rollout_steps=7, memory=8, **more)
        base = AGENTS.get("toy").defaults
        small = dataclasses.replace(base, agent=name, algorithm=settings, trial=TrialConfig(2, 1), warmup_steps=0)
        AGENTS.register(name, AgentPreset(name, small, RL2, "none", "tests"), "small RL2")
    return name


@pytest.mark.parametrize("sampled", [False, True])
def test_where_it_adapts_it_samples_if_it_is_to(monkeypatch, sampled):
    agent = loop_of(arms(), sampled_adaptation=sampled).algorithm
    player, other, obs = agent.player(), agent.player(), arms().reset(seed=0)[0]
    ids, half = torch.zeros(WORLDS, dtype=torch.int64), torch.arange(WORLDS) < WORLDS // 2
    player.adapts(half)
    actions, best = player.act(obs, ids, mode=True), other.act(obs, ids, mode=True)
    assert torch.equal(actions[~half], best[~half])
    assert torch.equal(actions[half], best[half]) == (not sampled)
    told = []
    monkeypatch.setattr(RL2, "adapts", lambda self, mask: told.append(mask))
    evaluate(agent.player(), arms(3, adapting=2), goals=WORLDS)
    assert torch.stack(told).long().T.unique(dim=0).tolist() == [[1, 1, 0]]  # episodes are of one step


@pytest.mark.parametrize("hold", [1, 7])
def test_a_run_that_was_cut_short_ends_as_if_it_had_not_been(tmp_path, hold):
    tiny_config(tmp_path)  # registers the toys
    name = register_tiny_rl2(hold)
    whole = mtrl.train("ML1:dot-a-v0", name, run_folder=str(tmp_path / "whole"), steps_per_task=200)
    short = mtrl.train("ML1:dot-a-v0", name, run_folder=str(tmp_path / "short"), steps_per_task=104)
    longer = short.resume(200)
    quiet = mtrl.train(
        "ML1:dot-a-v0",
        name,
        run_folder=str(tmp_path / "quiet"),
        steps_per_task=200,
        evaluation={"every": 0, "final": False},
    )
    weights = [find_checkpoint(run.folder, with_replay=False).weights() for run in (whole, longer, quiet)]
    assert tensors_differ(weights[0], weights[1]) == ""
    assert tensors_differ(weights[0], weights[2]) == ""  # evaluations leave the trials of training as they are
    lines = [[without_clock(line) for line in run.metrics()] for run in (whole, longer)]
    assert lines[0] == lines[1]
    last = whole.evaluations()[-1]
    assert last["protocol"] == "A-eval after 2 episodes" and last["adapting"] == 2
    assert len(last["summary"]["adaptation"]) == 3
    assert {episode.get("number", 0) for episode in last["episodes"]} == {0, 1, 2}
    assert whole.evaluate(goals="heldout", count=2).label(200).startswith("A-heldout after 2 episodes")
    assert name in mtrl.compare(tmp_path, tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actor": NetworkConfig("one_hot", width=8)}, "algorithm.actor.task.code hidden"),
        ({"critic": dataclasses.replace(NETWORK, name="multi_head")}, "parts of each task's own"),
        ({"memory": 0}, "memory"),
        ({"precision": "bfloat16"}, "leave it at float32"),
        ({"hold": 0}, "hold"),
        ({"hold": 3}, "rollout-steps 10 are no whole decisions"),
        ({"unseen": ("3-",)}, "unseen 3- names no places"),
        ({"unseen": ("0", "1-0")}, "unseen 1-0 names no places"),
        ({"unseen": ("0-1",)}, "place 1 of an observation of 1 numbers"),
    ],
)
def test_what_cannot_learn_to_learn_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        loop_of(**changes)


@pytest.mark.parametrize(("unseen", "same"), [((), False), (("0",), True), (("0-0",), True)])
def test_what_networks_do_not_see_changes_nothing(unseen, same):
    loop = loop_of(unseen=unseen, normalize_obs=True)
    agent, digest, rows = loop.algorithm, loop.algorithm.digest, []
    agent.digest = lambda *given: rows.append(digest(*given)) or rows[-1]
    for _ in range(EPISODES):
        loop.advance()
    assert not rows[0]["obs"][..., 1 : 1 + ARMS].eq(0.0).all()
    first = loop.env.reset(seed=0)[0][:1].repeat(2, 1)
    first[1, 0] += 3.0
    actions = agent.player().act(first, torch.zeros(2, dtype=torch.int64), mode=True)
    assert torch.equal(actions[0], actions[1]) == same


def test_sizes_that_do_not_fit_are_named():
    loop = loop_of(minibatches=WORLDS + 1)
    with pytest.raises(UserError, match="more --slots-per-task"):
        for _ in range(EPISODES):
            loop.advance()


def test_values_are_those_of_one_pass_over_the_rollouts_and_what_comes_after():
    loop = loop_of(arms(4), rollout_steps=6, minibatches=1, gae_lambda=0.0, gamma=0.5, advantages="none")
    agent, digest, found = loop.algorithm, loop.algorithm.digest, []
    agent.update = lambda rows: {}
    memory = torch.zeros(1, WORLDS, 32)

    def watched(rollout, last, progress):
        nonlocal memory
        values, wanted = [], []
        for number, obs in enumerate((*rollout.obs, last)):
            given = agent._normal(obs[None], agent._groups.task_id)
            outputs, after = agent.critics.step(given, memory, agent._groups.task_id)
            memory = after if number < 6 else memory  # what comes after is the first step of the next rollout
            values.append(agent.critic.values(outputs, agent._groups.task_id).mean(dim=0)[0])
        for step in range(6):
            goes_on = float((6 * len(found) + step) % 4 != 3)  # trials of four steps
            wanted.append(rollout.reward[step] + 0.5 * goes_on * values[step + 1])
        rows = digest(rollout, last, progress)
        found.append((rows["target"].reshape(WORLDS, 6).T, torch.stack(wanted)))
        return rows

    agent.digest = watched
    for _ in range(3 * 6):
        loop.advance()
    assert len(found) == 3 and all(torch.allclose(*each, atol=1e-5) for each in found)


def test_all_tasks_are_normalised_alike_and_so_is_what_they_pay():
    loop = loop_of(normalize_obs=True, normalize_obs_steps=EPISODES * WORLDS, minibatches=1, epochs=1)
    agent, told, shown = loop.algorithm, ARMS + 3, loop.env.obs_mask.shape[1] - ARMS - 3
    seen, known = [], [*range(shown), shown + ARMS]  # and the reward of the step before
    act = agent.explore
    agent.explore = lambda obs, task_id: seen.append(obs.clone()) or act(obs, task_id)
    for _ in range(2 * EPISODES):
        loop.advance()
    early = torch.cat(seen[:EPISODES])[:, known]
    obs = 5.0 * torch.rand(1, 4, shown + told)
    normal = agent._normal(obs, torch.tensor([3]))  # a task never met
    right = (obs[..., known] - early.mean(dim=0)) / early.std(dim=0, correction=0).clamp(min=1e-2)
    assert torch.allclose(normal[..., known], right.clamp(-10.0, 10.0), atol=1e-4)
    others = [place for place in range(shown + told) if place not in known]
    assert torch.equal(normal[..., others], obs[..., others])


def test_compiling_is_refused():
    with pytest.raises(UserError, match="leave it out for agents with memory"):
        loop_of().algorithm.compile()


def test_films_show_whole_trials_with_what_came_before(tmp_path, monkeypatch):
    tiny_config(tmp_path)
    register_tiny_rl2()
    run = mtrl.train("ML1:dot-a-v0", "tiny-rl2", run_folder=str(tmp_path / "a"), steps_per_task=40)
    seen = []
    act = RL2.act
    monkeypatch.setattr(
        RL2, "act", lambda agent, obs, *more, **named: seen.append(obs) or act(agent, obs, *more, **named)
    )
    (file,) = film_run(run.path, every=1)
    assert file.stat().st_size > 0 and len(seen) == 3 * 10  # two episodes to adapt, and one that counts
    rows = torch.cat(seen)
    assert rows[:, -1].tolist() == [1.0] + [0.0] * 29
    assert rows[:, -2].nonzero().flatten().tolist() == [10, 20]
    assert (rows[1:, -3] < 0).all() and (rows[0, -6:-1] == 0).all()


def test_tasks_never_met_are_played_and_other_sizes_refused(tmp_path, capsys):
    tiny_config(tmp_path)
    register_tiny_rl2()
    if "dots-to-wires" not in SUITES:
        new = {"dots-to-wires": ("wire-a-v0", "wire-b-v0"), "dots-to-more": ("dot-b-v0",)}
        for name, tasks in new.items():
            suite = Suite(name, ("dot-a-v0",), tasks, goal_visible=False, goals_per_task=4)
            SUITES.register(name, suite, "toy")
    run = mtrl.train("dots-to-wires", "tiny-rl2", run_folder=str(tmp_path / "a"), steps_per_task=40)
    assert main(["eval", str(run.path), "--goals", "heldout", "--count", "1"]) == 0
    assert "\nepisode 3 of a trial" in capsys.readouterr().out
    result = run.evaluate(goals="test", workers=1)
    assert result.label(40).startswith("A-test after 2 episodes") and len(result.episodes) == 2 * 4 * 3
    other = mtrl.train("dots-to-more", "tiny-rl2", run_folder=str(tmp_path / "b"), steps_per_task=40)
    with pytest.raises(UserError, match="sees 4 numbers and gives 2, and the test tasks have 6 and 3"):
        other.evaluate(goals="test")
