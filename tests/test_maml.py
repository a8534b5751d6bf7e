"""MAML and its trust regions, against closed forms, finite differences and runs without interruption."""

import dataclasses

import pytest
import torch
from runner_toys import tensors_differ

from mtrl.agents.maml import MAML, Lesson, _ages
from mtrl.agents.maml_config import MAMLConfig
from mtrl.agents.trial_memory import TrialMemory
from mtrl.agents.trust_region import TrustRegion, conjugate_gradient
from mtrl.algorithm import Problem
from mtrl.config import RunConfig, validate
from mtrl.errors import UserError
from mtrl.evaluation import evaluate
from mtrl.goals import make_goal_sets
from mtrl.parts.network import ConditioningConfig, NetworkConfig
from mtrl.runner.on_policy import OnPolicyLoop
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.trials import Trials, taken_apart

POLICY = NetworkConfig("one_hot", width=16, depth=1, activation="tanh", task=ConditioningConfig("hidden"))
EPISODES, OUTER, WORLDS, HORIZON = 3, 2, 6, 20


def points(episodes=EPISODES + OUTER, adapting=0, worlds=WORLDS, goals=30, tasks=("point-robot-v0",)):
    train, _ = make_goal_sets([TASKS.get(name) for name in tasks], goals, 0)
    return Trials(make_vector_env(tasks, goal_set=train, slots_per_task=worlds, goal_visible=False), episodes, adapting)


def agent_of(env, **changes):
    settings = dataclasses.replace(MAMLConfig(actor=POLICY, outer_episodes=OUTER), **changes)
    settings.check()
    names, device = tuple(task.name for task in env.tasks), torch.device("cpu")
    sizes = {"trial_episodes": EPISODES, "horizon": HORIZON}
    return MAML(settings, Problem(names, env.obs_mask, env.action_mask, device, 0, **sizes))


def loop_of(env=None, **changes):
    env = env or points()
    loop = OnPolicyLoop(agent_of(env, **changes), env, RunConfig(warmup_steps=0, steps_per_task=10**6))
    loop.start()
    return loop


def rows_of(loop):
    """What the first outer step is learned from, before it is made."""
    found = []
    loop.algorithm.update = lambda rows: found.append(rows) or {}
    while not found:
        loop.advance()
    del loop.algorithm.update
    return found[0]


def test_conjugate_gradients_solve_the_system():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix, right = root @ root.T + 0.1 * torch.eye(12, dtype=torch.float64), torch.arange(12.0, dtype=torch.float64)
    found = conjugate_gradient(lambda vector: matrix @ vector, right, 40)
    assert torch.allclose(matrix @ found, right, atol=1e-8)
    assert torch.equal(conjugate_gradient(lambda vector: matrix @ vector, 0.0 * right, 5), 0.0 * right)
    fewer = conjugate_gradient(lambda vector: matrix @ vector, right, 3)
    assert float((matrix @ fewer - right).norm()) < float(right.norm())


def quadratic(matrix, slope):
    """A loss that falls along a line, and a divergence that is a parabola."""

    def measure(parameters):
        moved = parameters[0] - 1.0
        return slope @ moved, 0.5 * moved @ matrix @ moved

    return measure


def test_a_step_is_the_best_within_the_limit():
    # Of all steps x with x A x / 2 <= d, the one that makes g x least is -sqrt(2 d / (g A^-1 g)) A^-1 g.
    matrix = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    slope = torch.tensor([1.0, -3.0], dtype=torch.float64)
    place = torch.ones(2, dtype=torch.float64, requires_grad=True)
    report = TrustRegion(limit=0.01, damping=0.0).step([place], quadratic(matrix, slope))
    inverse = torch.linalg.solve(matrix, slope)
    wanted = -(2.0 * 0.01 / (slope @ inverse)).sqrt() * inverse
    share = float(report["share"])  # the limit itself may be missed by rounding
    assert share in (1.0, 0.8) and torch.allclose(place.detach() - 1.0, share * wanted, atol=1e-9)
    assert float(report["kl"]) == pytest.approx(0.01 * share**2) and float(report["gain"]) > 0.0


def test_a_step_that_does_no_good_is_not_made():
    def measure(parameters):
        away = (parameters[0] - 1.0).abs().sum()
        return away - 3.0 * (parameters[0] - 1.0).sum(), 1e3 * (away > 1e-6) + 0.5 * (
            parameters[0] - 1.0
        ).square().sum()

    place = torch.ones(2, dtype=torch.float64, requires_grad=True)
    report = TrustRegion().step([place], measure)
    assert torch.equal(place.detach(), torch.ones(2, dtype=torch.float64))
    assert float(report["kl"]) == float(report["gain"]) == float(report["share"]) == 0.0


def test_a_shorter_step_is_taken_where_the_curvature_deceives():
    def measure(parameters):
        moved = parameters[0] - 1.0
        return -moved.sum(), 0.5 * moved.square().sum() + 1e4 * moved.square().sum() ** 2

    place = torch.ones(3, dtype=torch.float64, requires_grad=True)
    report = TrustRegion(limit=0.01).step([place], measure)
    assert 0.0 < float(report["share"]) < 1.0 and 0.0 < float(report["kl"]) <= 0.01


def test_the_divergence_is_that_of_gaussians():
    agent, generator = agent_of(points()), torch.Generator().manual_seed(1)
    before, after = (0.5 * torch.randn(4, 5, 4, generator=generator) for _ in range(2))
    mask = torch.tensor([1.0, 0.0])
    one, other = (torch.distributions.Normal(row[..., :2], row[..., 2:].exp()) for row in (before, after))
    wanted = (torch.distributions.kl_divergence(one, other) * mask).sum(dim=-1)
    assert torch.allclose(agent._policy.divergence(before, after, mask), wanted, atol=1e-5)
    assert torch.allclose(agent._policy.divergence(before, before, mask), torch.zeros(4, 5), atol=1e-6)


@pytest.mark.parametrize("first_order, adapt", [(False, "all"), (True, "all"), (False, "head"), (True, "head")])
def test_the_meta_gradient_is_that_of_finite_differences(first_order, adapt):
    loop = loop_of(first_order=first_order, adapt=adapt)
    agent = loop.algorithm
    rows = {name: row.double() for name, row in rows_of(loop).items()}
    agent.actor.double()
    agent._mask = agent._mask.double()
    inner, outer = (lessons(agent, rows, name) for name in ("inner", "outer"))
    task_id = torch.zeros(WORLDS, dtype=torch.int64)

    def objective(weights, steps=None):
        own = agent._adapted(weights, inner, task_id) if steps is None else moved(weights, steps)
        return agent._surrogate(agent._outputs(own, outer.obs, task_id), outer, task_id).mean()

    def moved(weights, steps):
        """With the inner step taken for a constant."""
        return {name: value + steps[name] for name, value in agent._expanded(weights, WORLDS).items()}

    weights = {name: value.detach().clone().requires_grad_() for name, value in agent._shared.items()}
    found = torch.autograd.grad(objective(weights), list(weights.values()))
    adapted = agent._adapted(weights, inner, task_id)
    steps = {name: (adapted[name] - value).detach() for name, value in weights.items()} if first_order else None
    for name, gradient in zip(weights, found, strict=True):
        for place in range(0, gradient.numel(), max(1, gradient.numel() // 5)):
            values = []
            for sign in (1.0, -1.0):
                other = {key: value.detach().clone() for key, value in weights.items()}
                other[name].view(-1)[place] += sign * 1e-5
                given = {key: value.requires_grad_() for key, value in other.items()}
                values.append(float(objective(given, steps).detach()))
            slope = (values[0] - values[1]) / 2e-5
            assert float(gradient.view(-1)[place]) == pytest.approx(slope, rel=1e-4, abs=1e-8), name
    if not first_order:  # what the step through the inner gradient adds is there
        loop.algorithm.config = dataclasses.replace(agent.config, first_order=True)
        other = torch.autograd.grad(objective(weights), list(weights.values()))
        assert any(not torch.allclose(one, two, rtol=1e-3) for one, two in zip(found, other, strict=True))


def test_the_last_layer_may_be_all_that_is_adapted():
    loop, whole = loop_of(adapt="head", inner_learning_rate=2.0), loop_of(inner_learning_rate=2.0)
    agent, rows = loop.algorithm, rows_of(loop)
    inner, task_id = lessons(agent, rows, "inner"), torch.zeros(WORLDS, dtype=torch.int64)
    weights = {name: value.detach().requires_grad_() for name, value in agent._shared.items()}
    adapted, others = (one.algorithm._adapted(weights, inner, task_id) for one in (loop, whole))
    head = {"body.head.weight", "body.head.bias"}
    for name, value in adapted.items():
        kept = value[0] if name in head else weights[name]
        assert torch.equal(value, kept.expand_as(value)) == (name not in head)
        assert torch.equal(value, others[name]) == (name in head)


def lessons(agent, rows, name):
    return Lesson(*(rows[f"{name}/{field}"].flatten(0, 1) for field in Lesson._fields))


def test_all_worlds_at_once_are_as_one_after_the_other():
    loop = loop_of(points(tasks=("point-robot-v0", "sparse-point-robot-v0"), worlds=3))
    agent, rows = loop.algorithm, rows_of(loop)
    inner, task_id = lessons(agent, rows, "inner"), torch.tensor([0, 0, 0, 1, 1, 1])
    weights = {name: value.detach().requires_grad_() for name, value in agent._shared.items()}
    together = agent._adapted(weights, inner, task_id)
    for world in range(6):
        alone = type(inner)(*(value[world : world + 1] for value in inner))
        for name, value in agent._adapted(weights, alone, task_id[world : world + 1]).items():
            assert torch.allclose(value[0], together[name][world], atol=1e-6), name


@pytest.mark.parametrize("hold", [1, 5])
def test_what_is_played_with_is_what_is_learned_from(hold):
    loop = loop_of(hold=hold)
    agent, rows = loop.algorithm, rows_of(loop)
    told = rows["inner/weight"].sum(dim=2), rows["outer/weight"].sum(dim=2)
    decisions = [[[episodes * HORIZON // hold] * WORLDS] for episodes in (EPISODES, OUTER)]
    assert [weights.tolist() for weights in told] == decisions
    inner, outer = (lessons(agent, rows, name) for name in ("inner", "outer"))
    task_id = torch.zeros(WORLDS, dtype=torch.int64)
    weights = {name: value.detach().requires_grad_() for name, value in agent._shared.items()}
    adapted = agent._adapted(weights, inner, task_id)
    for name, value in adapted.items():
        assert not torch.equal(value[0], weights[name])
    for own, lesson in ((agent._expanded(weights, WORLDS), inner), (adapted, outer)):
        log_prob = agent._policy.log_prob(
            agent._outputs(own, lesson.obs, task_id), lesson.action, agent._mask_of(task_id)
        )
        assert torch.allclose(log_prob, lesson.log_prob, atol=1e-4)
    report = agent.update(rows)
    assert float(report["kl"]) <= agent.config.kl and float(report["gain"]) >= 0.0
    assert report["return/before"].shape == (1,)


def test_decisions_that_stand_for_several_steps_go_on_where_they_were():
    loop, other = loop_of(hold=5), loop_of(hold=5)
    acted = []
    for agent_loop in (loop, other):
        explore = agent_loop.algorithm.explore
        agent_loop.algorithm.explore = lambda *given, explore=explore: acted.append(explore(*given)) or acted[-1]
    for _ in range(EPISODES * HORIZON - 2):  # within a decision, before the inner step
        loop.advance()
    repeated = [step.action for step in acted]
    assert all(torch.equal(one, repeated[number // 5 * 5]) for number, one in enumerate(repeated))
    assert not torch.equal(repeated[0], repeated[5])
    other.algorithm.load_weights(loop.algorithm.weights())
    other.set_state(loop.get_state())
    acted.clear()
    for _ in range(2 * HORIZON):
        loop.advance()
        other.advance()
    assert all(torch.equal(one.action, same.action) for one, same in zip(acted[::2], acted[1::2], strict=True))


def test_advantages_are_rewards_to_go_less_a_baseline():
    agent = agent_of(points(), gae_lambda=1.0, gamma=0.5)
    obs, reward = torch.zeros(1, 4, 4), torch.tensor([[1.0, 2.0, 4.0, 100.0]])
    obs[0, 1, 0] = 1.0
    ended, held = torch.tensor([[False, True, False, False]]), torch.tensor([[True, True, True, False]])
    found = agent._advantages(obs, reward, ended, held)[0]
    # Rewards to go are 2, 2 and 4; the first and the last look alike, so the baseline is 3, 2 and 3.
    wanted = torch.tensor([2.0 - 3.0, 0.0, 4.0 - 3.0])
    assert torch.allclose(found[:3], wanted / wanted.square().mean().sqrt(), atol=1e-2) and float(found[3]) == 0.0
    assert _ages(ended)[0].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_memory_holds_the_episodes_that_are_adapted_in_and_no_others():
    env = points(episodes=4)
    memory = TrialMemory(WORLDS, 2, 2 * HORIZON, 4, 2, torch.device("cpu"))
    obs, _ = env.reset(seed=0)
    rewards, ready = [], []
    for step in range(6 * HORIZON):
        told = taken_apart(obs, 2)
        ready += [step] if bool(memory.learn(told).all()) else []
        action = torch.full((WORLDS, 2), 0.01 * (step % (4 * HORIZON)))
        memory.keep(told.obs, action, -action[:, 0])
        if step == 4 * HORIZON - 1:
            assert memory.count.tolist() == [2 * HORIZON] * WORLDS and not memory.adapting.any()
            kept = memory.reward.clone()
            assert torch.equal(kept, torch.stack(rewards[: 2 * HORIZON], dim=1))
            assert memory.ended[0].nonzero().flatten().tolist() == [HORIZON - 1, 2 * HORIZON - 1]
            assert torch.allclose(memory.action[0, :, 0], 0.01 * torch.arange(2.0 * HORIZON))
            assert torch.equal(memory.log_prob, -memory.action[:, :, 0])
        obs, reward, *_ = env.step(action)
        rewards.append(reward)
    assert ready == [2 * HORIZON]  # of the first trial; what the last step did is not told yet
    assert memory.count.tolist() == [2 * HORIZON] * WORLDS  # of the second trial


@pytest.mark.slow
def test_it_learns_to_adapt_and_to_the_goal_that_was_met():
    loop = loop_of(points(worlds=20, goals=200), kl=0.02)
    for _ in range(40 * loop.algorithm.rollout_steps):
        loop.advance()
    env = points(EPISODES + 2, EPISODES, worlds=30, goals=60)
    curve = [row["return"] for row in evaluate(loop.algorithm.player(), env).adaptation]
    assert min(curve[EPISODES:]) > max(curve[:EPISODES]) + 1.5
    elsewhere = [row["return"] for row in evaluate(loop.algorithm.player(), env, context="other").adaptation]
    assert max(elsewhere[EPISODES:]) < min(curve[EPISODES:]) - 1.5


def test_a_policy_for_all_worlds_learns_without_the_inner_step_and_takes_it_where_it_plays():
    plain, never = loop_of(pretrain=1.0), loop_of(pretrain=1.0, inner_learning_rate=0.0)
    for loop in (plain, never):
        for _ in range(2 * loop.algorithm.rollout_steps):
            loop.advance()
    assert tensors_differ(plain.algorithm.weights(), never.algorithm.weights()) == ""
    assert tensors_differ(plain.algorithm.weights(), agent_of(points()).weights()) != ""
    moved = {
        name: [len(torch.unique(own, dim=0)) for own in agent._own.values()]
        for name, agent in (
            ("learns", plain.algorithm),
            ("plays", played(plain.algorithm)),
            ("never", played(never.algorithm)),
        )
    }
    assert set(moved["learns"]) == set(moved["never"]) == {1} and set(moved["plays"]) == {WORLDS}


def test_the_inner_step_may_be_left_out_at_first():
    rollout = loop_of().algorithm.rollout_steps
    loop, whole, other = (loop_of(pretrain=share) for share in (0.5, 1.0, 0.5))
    for one in (loop, whole, other):
        one._config = RunConfig(warmup_steps=0, steps_per_task=4 * rollout * WORLDS)
    for _ in range(2 * rollout):
        loop.advance(), whole.advance()
    assert tensors_differ(loop.algorithm.weights(), whole.algorithm.weights()) == ""
    other.algorithm.load_weights(loop.algorithm.weights())
    other.set_state(loop.get_state())
    for _ in range(EPISODES * HORIZON + 1):
        loop.advance(), whole.advance(), other.advance()
    moved = [len(torch.unique(one.algorithm._own["body.head.bias"], dim=0)) for one in (loop, whole, other)]
    assert moved == [WORLDS, 1, WORLDS]
    for _ in range(rollout):
        loop.advance(), whole.advance(), other.advance()
    assert tensors_differ(loop.algorithm.weights(), other.algorithm.weights()) == ""
    assert tensors_differ(loop.algorithm.weights(), whole.algorithm.weights()) != ""


@pytest.mark.parametrize(("pretrain", "episodes"), [(0.0, OUTER), (1.0, EPISODES + OUTER)])
def test_without_the_inner_step_the_outer_one_looks_at_all_episodes(pretrain, episodes):
    loop, rows = loop_of(pretrain=pretrain), []
    digest = loop.algorithm.digest
    loop.algorithm.digest = lambda *given: rows.append(digest(*given)) or rows[-1]
    while not rows:
        loop.advance()
    assert rows[0]["outer/weight"].shape == (1, WORLDS, episodes * HORIZON)
    assert bool((rows[0]["outer/weight"] == 1.0).all()) and bool((rows[0]["inner/weight"] == 1.0).all())
    mean = rows[0]["outer/advantage"].mean(dim=2)
    assert torch.allclose(mean, torch.zeros_like(mean), atol=1e-5)


def played(agent):
    """It as it plays, after the episodes that it adapts on."""
    player, env = agent.player(), points()
    obs, _ = env.reset(seed=3)
    for _ in range(EPISODES * HORIZON + 1):
        obs = env.step(player.act(obs, env.task_id, mode=True))[0]
    return player


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actor": NetworkConfig("one_hot", width=8)}, "algorithm.actor.task.code hidden"),
        ({"actor": dataclasses.replace(POLICY, name="multi_head")}, "parts of each task's own"),
        ({"kl": 0.0}, "algorithm.kl"),
        ({"outer_episodes": 0}, "outer-episodes"),
        ({"hold": 3}, "hold 3 does not divide the 20 steps of an episode"),
    ],
)
def test_what_cannot_learn_to_adapt_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        agent_of(points(), **changes)


def test_trials_that_begin_late_are_refused():
    with pytest.raises(UserError, match="whole trials of all worlds: leave --random-progress off"):
        validate(RunConfig(agent="maml", random_progress=True, algorithm=MAMLConfig()))
