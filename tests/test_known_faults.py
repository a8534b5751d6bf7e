"""Faults found in published multi-task code, each with the test that would catch it here.

`FAULTS` is the list; `tests/...` names are of other files. `test_every_fault_has_its_test` holds it to the truth.
"""

import ast
import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from agent_toys import CPU, batch_of, problem, setting, small

from mtrl.agents.sac import SAC, _Update
from mtrl.algorithm import AGENTS
from mtrl.buffers import ReplayBuffer
from mtrl.config import from_dict, to_dict, validate
from mtrl.errors import UserError
from mtrl.goals import ResampleGoals
from mtrl.parts.combiner import COMBINERS, CombinerConfig
from mtrl.parts.network import split_parameters
from mtrl.rollouts import gae
from mtrl.tasks import TASKS

ROOT = Path(__file__).parent.parent
HERE = "test_known_faults"
FAULTS = {
    # fault: (test file, tests)
    "next actions drawn at the state instead of the next one": (HERE, ["test_next_actions_are_drawn_at_next_states"]),
    "one noise for the rows of all tasks": (HERE, ["test_every_row_has_noise_of_its_own"]),
    "the actor's losses weighted as the critics'": (HERE, ["test_each_side_has_its_own_weights"]),
    "examples that pass settings that were removed": (HERE, ["test_every_preset_builds_and_updates"]),
    "an example for ten tasks that runs fifty": (HERE, ["test_experiments_run_the_suites_of_their_names"]),
    "a script whose main misses its argument": (HERE, ["test_scripts_call_main_with_what_it_needs"]),
    "a setting misspelt in its file": (HERE, ["test_settings_that_do_not_exist_are_refused"]),
    "a debugger left in": (HERE, ["test_no_debugger_is_left"]),
    "a ring that is never full": (HERE, ["test_a_ring_that_is_full_is_sampled_whole"]),
    "advantages divided by their variance": (HERE, ["test_advantages_follow_the_size_of_rewards"]),
    "advantages normalised by their variance": (
        "test_ppo",
        ["test_advantages_are_brought_to_one_scale_for_each_task"],
    ),
    "GradNorm's target moved by the weights that it is a target for": (
        "test_combiners_weights",
        ["test_gradnorm_learns_along_the_slope_of_its_sum_with_the_target_held"],
    ),
    "one temperature for all tasks, none of them told apart": (
        HERE,
        ["test_presets_tell_tasks_apart", "test_presets_have_a_temperature_for_each_task"],
    ),
    "projections in one order for all tasks, and off themselves": (
        HERE,
        ["test_projections_of_each_task_have_an_order_of_their_own"],
    ),
    "first losses overwritten, learned weights lost, a step of a millionth": (
        HERE,
        ["test_learned_weights_remember_first_losses_and_are_kept"],
    ),
    "the last task never drawn": (HERE, ["test_every_task_is_drawn"]),
    "a norm divided by its bound instead of brought to it": (HERE, ["test_a_bargain_is_as_long_as_its_bound_allows"]),
    "parts restored from the place of another": (HERE, ["test_every_part_is_restored_from_its_own_place"]),
    "goals frozen at the first one": (HERE, ["test_goals_are_drawn_anew_each_episode"]),
    "horizons of 150 or 200 steps compared with 500": (HERE, ["test_episodes_last_five_hundred_steps"]),
    "values clipped by default": (HERE, ["test_values_are_not_clipped"]),
    "no bootstrap where an episode was only cut off": (
        "test_agents",
        ["test_targets_bootstrap_at_truncation_and_not_at_termination"],
    ),
    "the state after a reset stored as what followed": (
        "test_probes",
        ["test_the_loop_bootstraps_from_where_a_truncated_episode_ended"],
    ),
    "last observations of full rings": ("test_buffers", ["test_whole_episodes_never_lose_their_last_observation"]),
    "single tasks cannot be evaluated": ("test_evaluate", ["test_one_goal_in_four_solved_gives_exactly_a_quarter"]),
    "one evaluation episode of each task": (
        "test_evaluate",
        ["test_every_goal_is_played_exactly_once_whatever_the_slots_and_lengths"],
    ),
    "a return of all worlds of a task together": (
        "test_scales",
        [
            "test_worlds_of_a_task_are_not_mixed_into_one_return",
            "test_the_return_of_an_episode_does_not_go_on_into_the_next",
        ],
    ),
    "a reset that refers to what is not there": (
        "test_resets",
        ["test_after_a_reset_all_that_is_learned_is_fresh_and_statistics_are_kept"],
    ),
}


def test_every_fault_has_its_test():
    defined = {
        path.stem: {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        for path in Path(__file__).parent.glob("test_*.py")
    }
    for fault, (file, tests) in FAULTS.items():
        assert tests, fault
        assert set(tests) <= defined[file], fault


def drawn_at(agent, objective):
    """The observations at which `objective` draws actions, and the noise that it draws them with."""
    seen = []
    plain = agent._sample_actions

    def watched(obs, noise, parameters):
        seen.append((obs, noise))
        return plain(obs, noise, parameters)

    agent._sample_actions = watched
    objective()
    return seen


@pytest.mark.parametrize("combiner", ["mean", "pcgrad"])
def test_next_actions_are_drawn_at_next_states(combiner):
    """Also where the losses of tasks are differentiated apart, which is where the fault was."""
    p = problem()
    config = CombinerConfig().renamed(combiner)
    agent = SAC(small(actor_combiner=config, critic_combiner=config), p)
    batch = batch_of(p)
    (next_obs, _), (obs, _) = drawn_at(agent, lambda: agent.update(batch))[:2]
    assert torch.equal(next_obs.flatten(0, 1), batch.next_obs)
    assert torch.equal(obs.flatten(0, 1), batch.obs)
    moved = dataclasses.replace(batch, obs=batch.obs + 1.0)
    targets = []
    for given in (batch, moved, dataclasses.replace(batch, next_obs=batch.next_obs + 1.0)):
        agent._generator.manual_seed(0)
        with torch.no_grad():
            targets.append(agent.targets(agent._grouped(given)))
    assert torch.equal(targets[0], targets[1])
    assert not torch.allclose(targets[0], targets[2])


def test_every_row_has_noise_of_its_own():
    p = problem()
    agent = SAC(small(), p)
    (_, first), (_, second) = drawn_at(agent, lambda: agent.update(batch_of(p, per_task=400)))
    for noise in (first, second):
        assert len(noise.unique()) == noise.numel()
        of_task = noise.unflatten(0, (3, 400)).flatten(1)
        assert torch.corrcoef(of_task).fill_diagonal_(0).abs().max() < 0.15
        assert of_task.mean(dim=1).abs().max() < 0.15
    assert not torch.equal(first, second)


@pytest.mark.parametrize("combiner", list(COMBINERS))
def test_each_side_has_its_own_weights(combiner):
    """Whatever weighs the critics' losses, the actor's gradient is that of its own equal weights."""
    p, found = problem(), []
    for choice in (CombinerConfig(), CombinerConfig().renamed(combiner)):
        agent = SAC(small(critic_combiner=choice, critic_learning_rate=0.0), p)
        for i in range(2):
            agent._generator.manual_seed(i)
            agent.update(batch_of(p, seed=i))
        found.append({name: value.grad for name, value in agent.actor.named_parameters()})
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-7), name


def narrow(config):
    """The same network with layers that are quick to build."""
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name == "width":
            changes["width"] = min(value, 16)
        elif dataclasses.is_dataclass(value):
            changes[field.name] = narrow(value)
    return dataclasses.replace(config, **changes)


def tiny(name):
    """A preset's own agent over three tasks, with all its settings but the width of its networks."""
    preset = AGENTS.get(name)
    settings = preset.defaults.algorithm
    settings = dataclasses.replace(
        settings, actor=narrow(settings.actor), critic=narrow(settings.critic), batch_per_task=4
    )
    return preset.build(settings, problem())


TRAINABLE = [name for name in AGENTS if isinstance(AGENTS.get(name).build, type) and AGENTS.get(name).build is SAC]


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_preset_builds_and_updates(name):
    defaults = AGENTS.get(name).defaults
    assert from_dict(defaults, to_dict(validate(defaults))) == defaults
    agent = tiny(name)
    metrics = agent.update(batch_of(agent.problem, per_task=4))
    assert all(torch.isfinite(value).all() for value in metrics.values())


@pytest.mark.parametrize("name", TRAINABLE)
def test_presets_tell_tasks_apart(name):
    agent = tiny(name)
    task_id, obs = torch.arange(3), torch.randn(1, 4, 5).expand(3, 4, 5)
    for network, x in ((agent.actor, obs), (agent.critics, torch.cat([obs[..., :2], obs], dim=-1))):
        outputs = network(x, task_id)
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert not torch.equal(outputs[:, one], outputs[:, other])


def test_presets_have_a_temperature_for_each_task():
    shared = {name for name in TRAINABLE if AGENTS.get(name).defaults.algorithm.shared_temperature}
    assert shared <= {"brc"}, "BRC alone was published with one temperature"
    agent = SAC(small(), problem())
    assert agent.log_temperature.shape == (3,)


def test_each_presets_settings_are_of_the_parts_that_it_names():
    for name in TRAINABLE:
        algorithm = AGENTS.get(name).defaults.algorithm
        for part in ("actor", "critic", "value", "actor_combiner", "critic_combiner", "scale"):
            config = getattr(algorithm, part)
            assert type(config) is config.kind.get(config.name).config, (name, part)


def scripts():
    return sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("suite", ["mt3", "mt10", "mt50"])
def test_experiments_run_the_suites_of_their_names(suite):
    tree = ast.parse((ROOT / "experiments" / f"{suite}.py").read_text())
    trained = [
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "train"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert set(trained) == {suite.upper()}


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.stem)
def test_scripts_call_main_with_what_it_needs(path):
    tree = ast.parse(path.read_text())
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    for block in tree.body:
        if not (isinstance(block, ast.If) and "__main__" in ast.unparse(block.test)):
            continue
        for node in ast.walk(block):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
                own = functions[node.func.id]
                positional = [*own.posonlyargs, *own.args]
                needed = {a.arg for a in positional[: len(positional) - len(own.defaults)]}
                needed |= {a.arg for a, d in zip(own.kwonlyargs, own.kw_defaults, strict=True) if d is None}
                given = {a.arg for a in positional[: len(node.args)]} | {word.arg for word in node.keywords}
                assert needed <= given, f"{path.name} calls {node.func.id} without {needed - given}"


def test_settings_that_do_not_exist_are_refused():
    defaults = AGENTS.get("mtsac").defaults
    for values, message in (
        ({"algorithm": {"max_q_value": 5000}}, "configuration field 'max_q_value' is unknown"),
        ({"algorithm": {"critic": {"should_detach_task-encoding": True}}}, "'should_detach_task-encoding' is unknown"),
    ):
        with pytest.raises(UserError, match=message):
            from_dict(defaults, values)


def test_no_debugger_is_left():
    for folder in ("mtrl", "agents", "envs", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                left = isinstance(node, ast.Call) and ast.unparse(node.func) in ("breakpoint", "pdb.set_trace")
                assert not left, path


def test_a_ring_that_is_full_is_sampled_whole():
    buffer, generator = ReplayBuffer(2, 1, 5, 1, 1, CPU, shortest_episode=50), torch.Generator().manual_seed(0)
    no = torch.zeros(2, dtype=torch.bool)
    buffer.start(torch.zeros(2, 1))
    for step in range(13):
        obs = torch.full((2, 1), step + 1.0)
        buffer.add(torch.zeros(2, 1), torch.full((2,), float(step)), no, no, obs, obs)
        assert buffer.size() == min(step + 1, 5)
    assert buffer.sample(200, generator, 0.99).reward.unique().tolist() == [8.0, 9.0, 10.0, 11.0, 12.0]


def test_advantages_follow_the_size_of_rewards():
    """Nothing here normalises them; one that divided by the variance would make these a thousandth."""
    torch.manual_seed(0)
    reward, value, next_value = torch.randn(3, 20, 4, dtype=torch.float64).unbind()
    no = torch.zeros(20, 4, dtype=torch.bool)
    small_ones, _ = gae(reward, value, next_value, no, no, gamma=0.9, lam=0.9)
    large_ones, _ = gae(1e3 * reward, 1e3 * value, 1e3 * next_value, no, no, gamma=0.9, lam=0.9)
    assert torch.allclose(large_ones, 1e3 * small_ones)


def test_every_part_is_restored_from_its_own_place():
    """Each number of the saved agent is another, so that a part read from the place of another shows."""
    p = problem()
    agent = SAC(small(normalize_obs=True), p)
    for i in range(2):
        agent.update(batch_of(p, seed=i))
    saved, start = {}, 0.0
    for name, value in agent.weights().items():
        saved[name] = torch.arange(start, start + value.numel(), dtype=value.dtype).view(value.shape)
        start += value.numel()
    other = SAC(small(normalize_obs=True), problem(seed=4))
    other.load_weights(saved)
    parts = {"actor": other.actor, "critics": other.critics, "target_critics": other.target_critics}
    for part, network in parts.items():
        for name, value in network.state_dict().items():
            assert torch.equal(value, saved[f"{part}.{name}"]), (part, name)
    assert torch.equal(other.log_temperature.detach(), saved["log_temperature"])
    other.set_state(agent.get_state())
    for part in ("actor", "critic", "temperature"):
        one, two = agent._optimizers[part].state, other._optimizers[part].state
        for old, new in zip(one.values(), two.values(), strict=True):
            assert all(torch.equal(old[key], new[key]) for key in ("exp_avg", "exp_avg_sq", "step"))


def test_goals_are_drawn_anew_each_episode():
    schedule = ResampleGoals([50, 50], seed=3)
    played = [schedule.first(0), *(schedule.following(0) for _ in range(49))]
    assert len(set(played)) > 25


@pytest.mark.parametrize("name", ["reach-v3", "assembly-v3"])
def test_episodes_last_five_hundred_steps(name):
    assert TASKS.get(name).horizon == 500


def test_values_are_not_clipped():
    p = problem()
    agent, batch = SAC(small(), p), batch_of(p)
    far = dataclasses.replace(batch, reward=torch.full((24,), 1e6))
    with torch.no_grad():
        assert (agent.targets(agent._grouped(far)) > 9e5).all()
    update = _Update(agent._grouped(far))
    assert (agent.critic_objective(update).losses(None) > 1e11).all()
    assert split_parameters(agent.critics).specific


def combiner_of(name, num_tasks, **changes):
    config = dataclasses.replace(CombinerConfig().renamed(name), **changes)
    return config.build(setting(num_tasks), config)


def projected(gradients, orders):
    """PCGrad of one choice of orders, literally."""
    result = []
    for own, order in zip(gradients, orders, strict=True):
        left = own.clone()
        for other in order:
            product = left @ gradients[other]
            if product < 0:
                left -= product / gradients[other].square().sum() * gradients[other]
        result.append(left)
    return torch.stack(result).mean(dim=0)


def test_projections_of_each_task_have_an_order_of_their_own():
    """Three tasks in conflict, each with two orders of the others: all eight choices come up, and nothing else."""
    gradients = torch.tensor([[1.0, 0.0, 0.2], [-0.7, 0.9, -0.1], [-0.4, -0.8, 0.5]], dtype=torch.float64)
    others = [[(1, 2), (2, 1)], [(0, 2), (2, 0)], [(0, 1), (1, 0)]]
    possible = [projected(gradients, orders) for orders in itertools.product(*others)]
    combiner, seen = combiner_of("pcgrad", 3), set()
    for _ in range(100):
        found = combiner.weights((gradients @ gradients.T).float(), torch.ones(3)).double() @ gradients
        near = [number for number, one in enumerate(possible) if torch.allclose(found, one, atol=1e-5)]
        assert near
        seen |= set(near)
    assert seen == set(range(8))


@torch.no_grad()
def test_learned_weights_remember_first_losses_and_are_kept():
    """The first task has learned a hundred times as much since the start as the others, so it comes to weigh less."""
    combiner, gram = combiner_of("gradnorm", 3), torch.eye(3)
    first = combiner.weights(gram, torch.ones(3))
    for _ in range(30):
        learned = combiner.weights(gram, torch.tensor([0.01, 1.0, 1.0]))
        assert learned.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert first.tolist() == pytest.approx([1 / 3] * 3)
    assert learned[0] < 0.9 * learned[1]


def test_every_task_is_drawn():
    combiner, drawn = combiner_of("cagrad_fast", 6, tasks=2), torch.zeros(6)
    gram = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    for _ in range(100):
        weights = combiner.weights(gram, torch.ones(6))
        drawn += (weights - weights.median()).abs() > 1e-6
    assert (drawn > 0).all()


@pytest.mark.parametrize(("bound", "length"), [(0.5, 0.5), (1e12, 3**0.5)])
def test_a_bargain_is_as_long_as_its_bound_allows(bound, length):
    gradients = torch.tensor([[3.0, 0.0], [0.5, 0.2], [-1.0, 2.0]])
    weights = combiner_of("nash", 3, max_norm=bound).weights(gradients @ gradients.T, torch.ones(3))
    assert (weights @ gradients).norm().item() == pytest.approx(length, rel=1e-3)
