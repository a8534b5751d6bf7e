"""How networks are told the task: every code, where it comes from, and who learns it."""

import copy
import dataclasses
import json

import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import mtrl
from mtrl.agents.networks.bronet import BroNetConfig
from mtrl.agents.networks.build import build_network
from mtrl.agents.networks.conditioning import TaskCode, code_dim, lend_code
from mtrl.agents.sac import SAC
from mtrl.agents.sac_config import SACConfig
from mtrl.algorithm import Batch, Problem
from mtrl.errors import UserError
from mtrl.parts.combiner import Objective
from mtrl.parts.network import ConditioningConfig, NetworkConfig, NetworkShape, call_network
from mtrl.runner.experiment import make_problem
from mtrl.tasks import TASKS

CPU = torch.device("cpu")
KNOWN = torch.tensor([[0.5, 2.0], [1.0, 3.0], [1.5, 4.0]])
NAMES = ("a", "b", "c")
LENT = ConditioningConfig("embedding", dim=4, norm="unit", shared=True)


def code_of(code, *, copies=2, **settings):
    shape = NetworkShape(3, 5, 2, copies, 0.5, descriptors=KNOWN, task_names=NAMES)
    config = ConditioningConfig(code, **settings)
    built = TaskCode(shape, config, torch.Generator().manual_seed(0))
    assert built.dim == code_dim(shape, config)
    return built


def agent_of(seed=0, critic_code=LENT, actor_code=None):
    problem = Problem(
        NAMES, torch.ones(3, 5, dtype=torch.bool), torch.ones(3, 2, dtype=torch.bool), CPU, seed, descriptors=KNOWN
    )
    actor = BroNetConfig(width=16, blocks=1, task=actor_code or ConditioningConfig("critic"))
    critic = BroNetConfig(width=16, blocks=1, task=critic_code)
    return SAC(dataclasses.replace(SACConfig(actor=actor, critic=critic), batch_per_task=4), problem)


def batch():
    generator = torch.Generator().manual_seed(7)
    obs, action, reward, next_obs = (torch.randn(12, n, generator=generator) for n in (5, 2, 1, 5))
    task_id = torch.arange(3).repeat_interleave(4)
    return Batch(obs, action.tanh(), reward[:, 0], next_obs, torch.zeros(12), task_id, torch.full((12,), 0.9))


def embedding_of(agent):
    return next(module for module in agent.critics.modules() if isinstance(module, TaskCode)).embedding.weight


# what the codes are


@pytest.mark.parametrize("code", ["default", "one_hot"])
def test_one_hot_codes(code):
    found = code_of(code)(torch.tensor([2, 0]))
    assert torch.equal(found, torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]))


def test_hidden_codes_are_empty():
    assert code_of("hidden")(torch.tensor([2, 0])).shape == (1, 2, 0)
    network = build_network(
        NetworkShape(3, 5, 2, 1, 0.5), NetworkConfig("one_hot", task=ConditioningConfig("hidden")), torch.Generator()
    )
    x = torch.randn(1, 4, 5).expand(3, -1, -1)
    found = network(x, torch.arange(3))[0]
    torch.testing.assert_close(found[0], found[2])


@pytest.mark.parametrize(("shared", "rows"), [(False, 2), (True, 1)])
def test_embeddings_are_rows_of_each_task(shared, rows):
    code = code_of("embedding", dim=4, shared=shared)
    assert [tuple(p.shape) for p in code.parameters()] == [(rows, 3, 4)]
    task_id = torch.tensor([2, 0])
    assert torch.equal(code(task_id), code.embedding.weight[:, [2, 0]])
    code(task_id[:1]).sum().backward()
    assert (code.embedding.weight.grad[:, 2] == 1).all() and (code.embedding.weight.grad[:, :2] == 0).all()


def test_embeddings_have_32_numbers_and_about_length_1_where_nothing_is_said():
    shape = NetworkShape(500, 5, 2, 2, 0.5)
    code = TaskCode(shape, ConditioningConfig("embedding"), torch.Generator().manual_seed(0))
    lengths = code(torch.arange(500)).norm(dim=-1)
    assert code.dim == 32
    assert lengths.square().mean().item() == pytest.approx(1.0, rel=0.05)


def test_descriptors_are_given_with_the_tasks():
    assert torch.equal(code_of("descriptor")(torch.tensor([1, 2])), KNOWN[None, 1:])
    with pytest.raises(UserError, match="no task has a descriptor"):
        TaskCode(NetworkShape(3, 5, 2, 1, 0.5), ConditioningConfig("descriptor"), torch.Generator())


@pytest.mark.parametrize("code", ["one_hot", "descriptor"])
def test_a_learned_layer_maps_codes_that_are_given(code):
    mapped = code_of(code, dim=4)
    given = code_of(code)(torch.arange(3))[0]
    found = mapped(torch.arange(3))
    for copy_id in range(2):
        torch.testing.assert_close(found[copy_id], given @ mapped.map.weight[copy_id] + mapped.map.bias[copy_id])
    assert not torch.allclose(found[0], found[1])
    assert code_of(code, dim=4, shared=True)(torch.arange(3)).shape == (1, 3, 4)


def test_lengths_of_codes():
    free = code_of("descriptor")(torch.arange(3))
    unit = code_of("descriptor", norm="unit")(torch.arange(3))
    torch.testing.assert_close(unit, free / free.norm(dim=-1, keepdim=True))
    code = code_of("embedding", dim=4, norm="max_unit", copies=1)
    with torch.no_grad():
        code.embedding.weight.copy_(torch.tensor([[[0.3, 0, 0, 0], [3.0, 4.0, 0, 0], [0, 0, 0, 0]]]))
    found = code(torch.arange(3))
    torch.testing.assert_close(found[0, :, :2], torch.tensor([[0.3, 0], [0.6, 0.8], [0, 0]]))
    found.sum().backward()
    assert code.embedding.weight.grad.isfinite().all()


def test_networks_have_a_code_of_their_own_that_settings_may_change():
    care = NetworkConfig("care").resolved()
    assert (care.code.code, care.code.dim, care.code.norm) == ("embedding", 50, "free")
    brc = NetworkConfig("bronet", task=ConditioningConfig(dim=8, shared=True)).resolved()
    assert (brc.code.code, brc.code.dim, brc.code.norm, brc.code.shared) == ("embedding", 8, "unit", True)
    told = NetworkConfig("care", task=ConditioningConfig("one_hot")).resolved()
    assert (told.code.code, told.code.dim) == ("one_hot", 0)


def test_code_rows_learn_from_their_own_task_alone_also_in_one_pass_over_all_tasks():
    shape = NetworkShape(3, 5, 2, 2, 0.5)
    config = NetworkConfig("multi_head", width=8, depth=1, task=ConditioningConfig("embedding", dim=4))
    network = build_network(shape, config, torch.Generator().manual_seed(0)).double()
    x, task_id = torch.randn(3, 4, 5, dtype=torch.float64), torch.arange(3)

    def losses(parameters):
        return call_network(network, x, task_id, parameters).square().mean(dim=(0, 2, 3))

    found = Objective(network, 3, losses).task_gradients().specific["code.embedding.weight"]
    for task in range(3):
        (alone,) = torch.autograd.grad(losses(None)[task], [network.code.embedding.weight])
        torch.testing.assert_close(found[:, task], alone[:, task])
        assert (alone[:, [other for other in range(3) if other != task]] == 0).all()


# from a file


def write(path, table):
    if path.suffix == ".json":
        path.write_text(json.dumps(table))
    else:
        save_file({name: torch.tensor(row) for name, row in table.items()}, path)
    return str(path)


@pytest.mark.parametrize("name", ["codes.json", "codes.safetensors"])
def test_codes_from_a_file_go_by_the_names_of_the_tasks(tmp_path, name):
    table = {"c": [5.0, 6.0], "a": [1.0, 2.0], "more": [9.0, 9.0], "b": [3.0, 4.0]}
    found = code_of("file", file=write(tmp_path / name, table))(torch.arange(3))
    assert torch.equal(found, torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a": [1.0], "b": [2.0]}, "no code of task 'c'"),
        ({"a": [1.0], "b": [2.0], "c": [3.0, 4.0]}, "task 'c' has 2 numbers and 'a' 1"),
        ({"a": [1.0], "b": [], "c": [3.0]}, "the code of task 'b' is not a list of numbers"),
        ({"a": [1.0], "b": ["x"], "c": [3.0]}, "the code of task 'b' is not a list of numbers"),
        ({"a": [1.0], "b": [float("nan")], "c": [3.0]}, "not finite"),
        ([1.0, 2.0], "holds a list"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path, table, words):
    with pytest.raises(UserError, match=words):
        code_of("file", file=write(tmp_path / "codes.json", table))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read task codes from"):
        code_of("file", file=str(tmp_path / "none.json"))
    for name in ("torn.json", "torn.safetensors"):
        (tmp_path / name).write_bytes(b"{")
        with pytest.raises(UserError, match=name):
            code_of("file", file=str(tmp_path / name))


@pytest.mark.parametrize("task", [ConditioningConfig("file"), ConditioningConfig(file="codes.json")])
def test_code_and_file_go_together(task):
    with pytest.raises(UserError, match=r"--algorithm\.actor\.task\.code file and --algorithm\.actor\.task\.file"):
        NetworkConfig(task=task).check("algorithm.actor.")


# the critics' code


@pytest.mark.parametrize("shared", [True, False])
def test_an_actor_borrows_the_code_of_the_first_critic(shared):
    agent = agent_of(critic_code=dataclasses.replace(LENT, shared=shared))
    lent = torch.nn.functional.normalize(embedding_of(agent)[:1], dim=-1)
    torch.testing.assert_close(agent.actor.code(torch.arange(3)), lent)
    own = {id(parameter) for parameter in agent.critics.parameters()}
    assert not own & {id(parameter) for parameter in agent.actor.parameters()}
    assert not any("embedding" in name for name in agent.actor.state_dict())


def test_the_critics_alone_learn_the_code_that_is_lent():
    agent = agent_of()
    x, task_id = torch.randn(3, 4, 5), torch.arange(3)
    agent.actor(x, task_id).square().sum().backward()
    assert embedding_of(agent).grad is None
    before, answers = embedding_of(agent).detach().clone(), agent.actor.code(task_id).detach().clone()
    for _ in range(3):
        agent.update(batch())
    assert not torch.equal(embedding_of(agent), before)
    after = torch.nn.functional.normalize(embedding_of(agent), dim=-1)
    torch.testing.assert_close(agent.actor.code(task_id), after)
    assert not torch.allclose(answers, after)


def test_per_task_gradients_of_an_actor_that_borrows():
    agent = agent_of()
    x, task_id = torch.randn(3, 4, 5), torch.arange(3)

    def losses(parameters):
        return call_network(agent.actor, x, task_id, parameters).square().mean(dim=(0, 2, 3))

    found = Objective(agent.actor, 3, losses).task_gradients()
    alone = torch.autograd.grad(losses(None)[1], list(agent.actor.parameters()))
    assert found.specific == {}
    for gradient, expected in zip(found.shared.values(), alone, strict=True):
        torch.testing.assert_close(gradient[1], expected, rtol=1e-4, atol=1e-5)


def test_a_copied_agent_borrows_from_its_own_critics():
    agent = agent_of()
    actor, critics = copy.deepcopy((agent.actor, agent.critics))
    alone = copy.deepcopy(agent.actor)
    x, task_id = torch.randn(3, 4, 5), torch.arange(3)
    first = agent.actor(x, task_id)
    with torch.no_grad():
        embedding_of(agent).add_(torch.randn(1, 3, 4))
    assert not torch.allclose(agent.actor(x, task_id), first)
    torch.testing.assert_close(actor(x, task_id), first)
    torch.testing.assert_close(alone(x, task_id), first)
    with torch.no_grad():
        critics.code.embedding.weight.add_(torch.randn(1, 3, 4))
    assert not torch.allclose(actor(x, task_id), first)


def test_saved_weights_bring_the_code_along():
    trained, other = agent_of(0), agent_of(1)
    trained.update(batch())
    other.load_weights({name: value.clone() for name, value in trained.weights().items()})
    obs, task_id = torch.randn(3, 5), torch.arange(3)
    torch.testing.assert_close(other.act(obs, task_id, mode=True), trained.act(obs, task_id, mode=True))
    torch.testing.assert_close(other.actor.code(task_id), trained.actor.code(task_id))


def test_a_lent_code_may_be_given_and_mapped():
    agent = agent_of(critic_code=ConditioningConfig("descriptor"), actor_code=ConditioningConfig("critic", dim=7))
    assert agent.actor.code.dim == 7
    weight, bias = agent.actor.code.map.weight, agent.actor.code.map.bias
    torch.testing.assert_close(agent.actor.code(torch.arange(3)), KNOWN @ weight + bias)


def test_a_code_that_is_not_there_cannot_be_borrowed():
    for code in ("critic", "hidden"):
        with pytest.raises(UserError, match=r"task\.code critic"):
            agent_of(critic_code=ConditioningConfig(code))
    shape = NetworkShape(3, 5, 2, 1, 0.5, critic_code=3)
    borrower = build_network(shape, BroNetConfig(width=8, task=ConditioningConfig("critic")), torch.Generator())
    with pytest.raises(UserError, match="no code that the actor could borrow"):
        lend_code(build_network(shape, NetworkConfig("moore", width=8), torch.Generator()), borrower)
    with pytest.raises(RuntimeError, match="lend_code"):
        borrower(torch.randn(3, 4, 5), torch.arange(3))


# descriptors of tasks


class Line(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.zeros(2, np.float32), 0.0, False, False, {"success": False}


def test_descriptors_reach_agents_padded_with_zeros():
    mtrl.register_task("light", Line, description="light", horizon=5, descriptor=[0.1, 2])
    mtrl.register_task("heavy", Line, description="heavy", horizon=5, descriptor=(3.5,))
    mtrl.task("plain", description="no descriptor", horizon=5)(Line)
    assert TASKS.get("light").descriptor == TASKS.get("light").spec.descriptor == (0.1, 2.0)
    problem = make_problem(("light", "heavy", "plain"), CPU, 0)
    torch.testing.assert_close(problem.descriptors, torch.tensor([[0.1, 2.0], [3.5, 0.0], [0.0, 0.0]]))
    assert make_problem(("plain",), CPU, 0).descriptors is None


@pytest.mark.parametrize("descriptor", [[[1.0]], ["x"], [float("nan")], 3.0])
def test_descriptors_are_flat_and_finite(descriptor):
    with pytest.raises(UserError, match="task 'odd': its descriptor"):
        mtrl.register_task("odd", Line, description="odd", horizon=5, descriptor=descriptor)
