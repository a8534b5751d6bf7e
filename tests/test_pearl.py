"""PEARL: posteriors, trials drawn from the replay, and what is inferred while acting, against known answers."""

import dataclasses
import itertools

import pytest
import torch
from runner_toys import tensors_differ

from mtrl.agents.pearl import PEARL
from mtrl.agents.pearl_config import PEARLConfig
from mtrl.agents.posterior import Posterior, factors
from mtrl.algorithm import Problem
from mtrl.buffers import ReplayBuffer
from mtrl.config import RunConfig
from mtrl.errors import UserError
from mtrl.evaluation import evaluate
from mtrl.goals import make_goal_sets
from mtrl.parts.combiner import CombinerConfig
from mtrl.parts.network import ConditioningConfig, NetworkConfig
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.tasks import TASKS
from mtrl.trial_index import TrialIndex
from mtrl.vector.build import make_vector_env
from mtrl.vector.trials import Trials, taken_apart

NETWORK = NetworkConfig("one_hot", width=16, depth=1, task=ConditioningConfig("hidden"))
EPISODES, WORLDS, HORIZON = 2, 4, 20
CPU = torch.device("cpu")


def points(episodes=EPISODES, tasks=("point-robot-v0",), worlds=WORLDS, goals=30, adapting=0):
    train, _ = make_goal_sets([TASKS.get(name) for name in tasks], goals, 0)
    env = make_vector_env(tasks, goal_set=train, slots_per_task=worlds, goal_visible=False)
    return Trials(env, episodes, adapting)


def agent_of(env, **changes):
    given = {"actor": NETWORK, "critic": NETWORK, "encoder": NETWORK, "batch_per_task": 32, "goals": 4, "context": 6}
    settings = PEARLConfig(**{**given, "latent": 3, **changes})
    settings.check()
    names = tuple(task.name for task in env.tasks)
    sizes = {"trial_episodes": EPISODES, "horizon": HORIZON}
    return PEARL(settings, Problem(names, env.obs_mask, env.action_mask, CPU, 0, **sizes))


def loop_of(env=None, updates=1.0, **changes):
    env = env or points()
    config = RunConfig(warmup_steps=0, steps_per_task=10**6, updates_per_step=updates)
    loop = OffPolicyLoop(agent_of(env, **changes), env, config)
    loop.start()
    return loop


def test_a_posterior_is_the_product_of_its_factors():
    generator = torch.Generator().manual_seed(0)
    mean, precision = factors(torch.randn(7, 4, generator=generator, dtype=torch.float64))
    found = Posterior(torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    deviations = [found.deviation]
    for row in range(7):
        found = found.with_factors(mean[row : row + 1], precision[row : row + 1])
        deviations.append(found.deviation)
    # Along a line: the product of the densities, normalised by summation.
    place = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    for number in range(2):
        log = -0.5 * place**2 - 0.5 * (precision[:, number, None] * (place - mean[:, number, None]) ** 2).sum(dim=0)
        weight = torch.softmax(log, dim=0)
        middle = (weight * place).sum()
        assert float(found.mean[0, number]) == pytest.approx(float(middle), abs=1e-6)
        spread = (weight * (place - middle) ** 2).sum().sqrt()
        assert float(found.deviation[0, number]) == pytest.approx(float(spread), rel=1e-5)
    assert all(bool((after < before).all()) for before, after in itertools.pairwise(deviations))


def test_the_divergence_is_that_of_gaussians():
    posterior = Posterior(torch.tensor([[0.5, -1.0], [0.0, 0.0]]), torch.tensor([[4.0, 0.5], [1.0, 1.0]]))
    one = torch.distributions.Normal(posterior.mean, posterior.deviation)
    wanted = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(posterior.divergence(), wanted, atol=1e-6) and float(posterior.divergence()[1]) == 0.0


def test_batches_are_of_goals_and_their_contexts_of_one_trial():
    # Two tasks of two worlds and three goals; an observation is world, trial and goal, an action the step.
    task_id, lengths = torch.tensor([0, 0, 1, 1]), torch.tensor([5, 7, 5, 9])
    buffer, index = ReplayBuffer(2, 2, 60, 3, 1, CPU, shortest_episode=5), TrialIndex(task_id, 3, CPU)
    trial = torch.zeros(4, dtype=torch.int64)
    goal = lambda: (trial + torch.arange(4)) % 3  # noqa: E731
    seen = lambda: torch.stack([torch.arange(4), trial, goal()], dim=1).float()  # noqa: E731
    buffer.start(seen())
    generator = torch.Generator().manual_seed(0)
    for step in range(50):
        ended, obs, played = (step + 1) % lengths == 0, seen(), goal()
        index.add(buffer.steps, ended, played)
        trial = trial + ended
        no = torch.zeros(4, dtype=torch.bool)
        buffer.add(torch.full((4, 1), float(step)), played.float(), no, ended, obs, seen())
        if step == 2:  # before any trial is over
            rows = buffer.sample_trials(index, 6, 3, 4, generator, 0.9).obs.view(12, 7, 3)
            assert torch.equal(rows, rows[:, :1].expand_as(rows))
    batch = buffer.sample_trials(index, 100, 20, 40, generator, 0.9)
    obs, action = batch.obs.view(200, 60, 3), batch.action.view(200, 60)
    assert batch.task_id.tolist() == [0] * 6000 + [1] * 6000
    assert torch.equal(obs[:, :, 2], obs[:, :1, 2].expand(-1, 60))  # one goal each
    context = obs[:, :20]
    assert torch.equal(context, context[:, :1].expand_as(context))  # one world and one trial each
    trials = [len(set(map(tuple, row.tolist()))) for row in obs]
    assert max(trials) >= 4 and sum(trials) / len(trials) > 2.0
    for row, steps in zip(obs.view(-1, 3).tolist(), action.flatten().tolist(), strict=True):
        length = int(lengths[int(row[0])])
        assert int(steps) // length == int(row[1]) and steps >= 20  # what is held
    found = set(map(tuple, obs[:, :, :2].reshape(-1, 2).int().tolist()))
    held = {(w, n) for w, length in enumerate(lengths.tolist()) for n in range(50 // length) if n * length >= 20}
    assert held <= found
    assert torch.equal(batch.discount, torch.full((12_000,), 0.9))


def test_trials_that_end_together_get_places_of_their_own():
    index = TrialIndex(torch.zeros(5, dtype=torch.int64), 2, CPU)
    for step in range(3):
        index.add(step, torch.full((5,), step == 2), torch.tensor([0, 1, 0, 0, -1]))
    first, last, world, there = index.draw_trials(
        torch.zeros(200, dtype=torch.int64), 1, 0, torch.Generator().manual_seed(0)
    )
    assert there.all() and set(world.flatten().tolist()) == {0, 2, 3}
    assert set(first.flatten().tolist()) == {0} and set(last.flatten().tolist()) == {2}
    assert set(index.draw_goals(50, torch.Generator().manual_seed(0)).tolist()) == {0, 1}
    other = TrialIndex(torch.zeros(5, dtype=torch.int64), 2, CPU)
    other.set_state(index.get_state())
    assert tensors_differ(other.get_state(), index.get_state()) == ""


def test_what_is_inferred_while_acting_is_the_posterior_of_the_trial():
    env = points()
    agent = agent_of(env)
    obs, _ = env.reset(seed=0)
    steps, latents = [], []
    for step in range(EPISODES * HORIZON + 1):
        told = taken_apart(obs, 2)
        action = agent.act(obs, env.task_id, mode=False)
        latents.append(agent._living.latent)
        if step == 0 or step == EPISODES * HORIZON:
            assert torch.equal(agent._living.posterior.mean, torch.zeros(WORLDS, 3))  # nothing is known yet
        else:
            rows = torch.cat([torch.stack(part, dim=1) for part in zip(*steps, strict=True)], dim=2)
            outputs = agent.encoder(rows.flatten(0, 1)[None], torch.zeros(1, dtype=torch.int64))[0, 0]
            mean, precision = (part.view(WORLDS, step, 3) for part in factors(outputs))
            total = 1.0 + precision.sum(dim=1)
            assert torch.allclose(agent._living.posterior.precision, total, rtol=1e-4)
            assert torch.allclose(agent._living.posterior.mean, (mean * precision).sum(dim=1) / total, atol=1e-5)
        obs, reward, *_ = env.step(action)
        steps.append([told.obs, action, 0.1 * reward[:, None]])
    for one, other in itertools.pairwise(range(HORIZON)):
        assert torch.equal(latents[one], latents[other])  # the same for an episode
    assert not torch.equal(latents[HORIZON - 1], latents[HORIZON])
    assert not torch.equal(latents[-2], latents[-1])


def test_after_adapting_the_mean_is_played():
    env = points(EPISODES + 2)
    agent = agent_of(env)
    obs, _ = env.reset(seed=0)
    for step in range((EPISODES + 2) * HORIZON):
        obs = env.step(agent.act(obs, env.task_id, mode=True))[0]
        if step in (EPISODES * HORIZON, (EPISODES + 1) * HORIZON):
            assert torch.equal(agent._living.latent, agent._living.posterior.mean)
        if step == HORIZON:
            assert not torch.equal(agent._living.latent, agent._living.posterior.mean)


def test_the_encoder_sees_the_context_alone():
    loop = loop_of(points(tasks=("point-robot-v0", "sparse-point-robot-v0")))
    agent = loop.algorithm
    for _ in range(60):
        loop.advance()
    seen = []
    posterior = agent._posterior
    agent._posterior = lambda rows: seen.append(rows) or posterior(rows)
    batch = agent.draw(loop.buffer, loop._index, torch.Generator().manual_seed(0))
    assert len(batch.reward) == 2 * 4 * (6 + 8)
    agent.update(batch)
    assert seen[0]["obs"].shape == (8, 6, 4 + 2 + 3)
    assert torch.equal(seen[0]["reward"], batch.reward.view(8, 14)[:, :6])


def encoder_gradient(weight):
    """Of the first update after some steps, where the divergence has that weight."""
    loop = loop_of(kl_weight=weight, max_gradient_norm=1e12)
    agent, found = loop.algorithm, []
    optimizer = agent._optimizers["encoder"]
    optimizer.step = lambda: found.append([parameter.grad.clone() for parameter in agent.encoder.parameters()])
    loop.advance()
    while not found:
        loop.advance()
    return torch.cat([gradient.flatten() for gradient in found[0]])


def test_the_encoder_learns_from_the_critics_and_from_its_divergence():
    none, once, twice = (encoder_gradient(weight) for weight in (0.0, 0.1, 0.2))
    assert bool(none.any())  # from the critics alone
    assert bool((once - none).abs().max() > 1e-6) and torch.allclose(twice - none, 2.0 * (once - none), atol=1e-6)


def test_the_actors_loss_reaches_no_encoder():
    loop = loop_of()
    for _ in range(3):
        loop.advance()
    agent, seen = loop.algorithm, []
    objective = agent.actor_objective
    agent.actor_objective = lambda update: seen.append(update) or objective(update)
    agent.update(agent.draw(loop.buffer, loop._index, torch.Generator().manual_seed(0)))
    assert not seen[0].batch.obs.requires_grad


@pytest.mark.slow
def test_it_infers_the_goal_and_the_better_the_longer_it_tries():
    rates = {f"{name}_learning_rate": 1e-3 for name in ("actor", "critic", "encoder")}
    wide = dataclasses.replace(NETWORK, width=64, depth=2)
    given = {"actor": wide, "critic": wide, "encoder": wide, "latent": 5, "goals": 32, "context": 20}
    env = points(worlds=64, goals=500)
    more = {"batch_per_task": 256, "reward_seen": 1.0, "kl_weight": 1e-4, "gamma": 0.9, "initial_temperature": 0.1}
    loop = loop_of(env, updates=4.0, **given, **rates, **more)
    for _ in range(600):
        loop.advance()
    judged = points(EPISODES + 1, worlds=50, goals=100, adapting=EPISODES)
    curve = [row["return"] for row in evaluate(loop.algorithm.player(), judged).adaptation]
    assert curve[0] + 2.0 < curve[1] and curve[0] + 3.0 < curve[2]
    blind = [row["return"] for row in evaluate(Forgetful(loop.algorithm.player()), judged).adaptation]
    assert max(blind) < curve[2] - 2.0


class Forgetful:
    """Nothing that was inferred is kept."""

    def __init__(self, agent):
        self.agent = agent

    def begin_episodes(self, mask):
        self.agent.begin_episodes(mask)

    def act(self, obs, task_id, *, mode):
        living = self.agent._living
        if living is not None:
            empty = Posterior.prior(len(obs), living.latent.shape[1], CPU)
            self.agent._living = dataclasses.replace(living, posterior=empty)
        return self.agent.act(obs, task_id, mode=mode)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": NetworkConfig("one_hot", width=8)}, "algorithm.encoder.task.code hidden"),
        ({"critic": dataclasses.replace(NETWORK, name="multi_head")}, "parts of each task's own"),
        ({"batch_per_task": 33}, "not divisible by --algorithm.goals 4"),
        ({"normalize_obs": True}, "normalize-obs"),
        ({"n_step": 3}, "n-step 3"),
        ({"latent": 0}, "latent"),
        ({"critic_combiner": CombinerConfig("pcgrad")}, "the encoder learns from the same losses"),
    ],
)
def test_what_cannot_infer_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        agent_of(points(), **changes)
