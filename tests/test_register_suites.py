"""Suites, agents, networks and trackers of the user's, and tasks of different sizes trained together."""

import itertools
import json
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import user_envs

import mtrl
from mtrl.algorithm import AGENTS, Problem
from mtrl.config import RunConfig
from mtrl.errors import UserError
from mtrl.logger import RunInfo, Tracker
from mtrl.parts.network import Network, NetworkConfig, NetworkShape, TaskSpecific
from mtrl.suites import SUITES, resolve_suite

_numbers = itertools.count()


def fresh(word: str) -> str:
    return f"{word}-{next(_numbers)}"


def register(env, **options) -> str:
    name = fresh("member")
    mtrl.register_task(name, env, **{"description": "for a test", "horizon": 6, "goals": ([-1], [1]), **options})
    return name


@pytest.fixture
def small_run(tmp_path):
    network = {"width": 16, "depth": 1}
    return {
        "steps_per_task": 40,
        "warmup_steps": 20,
        "workers": 1,
        "device": "cpu",
        "run_folder": str(tmp_path / "run"),
        "evaluation": {"every": 0, "goals": 2},
        "tracking": {"log_every": 10},
        "algorithm": {"batch_per_task": 8, "actor": network, "critic": network},
    }


def test_a_suite_holds_built_in_and_own_tasks():
    mine, name = register(user_envs.Simple), fresh("suite")
    mtrl.register_suite(
        name, [mine, "reach-v3"], description="mixed", test_tasks=["push-v3"], goal_visible=False, goals_per_task=7
    )
    suite = resolve_suite(name)
    assert (suite.name, suite.train_tasks, suite.test_tasks) == (name, (mine, "reach-v3"), ("push-v3",))
    assert (suite.goal_visible, suite.goals_per_task) == (False, 7)
    assert name in SUITES and SUITES.describe(name) == "mixed"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MT11", "unknown suite 'MT11': did you mean MT10"),
        ("reach-v4", "unknown task 'reach-v4': did you mean reach-v3"),
        ("pusch", "unknown task 'pusch': did you mean push-v3"),
        ("qqqqqq", "unknown suite 'qqqqqq': known: .*MODULE:qqqqqq"),
    ],
)
def test_the_nearest_name_of_either_kind_is_told(text, message):
    with pytest.raises(UserError, match=message):
        resolve_suite(text)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ("reach-v3", {}, "as a list of names"),
        ([], {}, "has no tasks"),
        (["reach-v3", "reach-v3"], {}, "lists task 'reach-v3' twice"),
        (["reach-v3"], {"goals_per_task": 0}, "goals_per_task 0 is impossible"),
    ],
)
def test_impossible_suites_are_refused(tasks, options, message):
    with pytest.raises(UserError, match=message):
        mtrl.register_suite(fresh("suite"), tasks, description="bad", **options)


def test_a_suite_with_an_unknown_task_says_so_at_its_first_use():
    name = fresh("suite")
    mtrl.register_suite(name, ["reach-v3", "pusch-v3"], description="bad")
    with pytest.raises(UserError, match=f"suite '{name}': unknown task 'pusch-v3': did you mean .*push-v3"):
        resolve_suite(name)


def test_actions_of_different_sizes_have_their_own_log_probability_and_target_entropy():
    """One task with one action number, one with four: the densities are those of the real numbers alone."""
    action_mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
    problem = Problem(("one", "four"), torch.ones(2, 3, dtype=torch.bool), action_mask, torch.device("cpu"), 0)
    preset = AGENTS.get("quick")
    network = NetworkConfig("multi_head", width=16, depth=1)
    config = replace(preset.defaults.algorithm, actor=network, critic=network, target_entropy_per_action=-1.0)
    agent = preset.build(config, problem)
    task_id = torch.arange(2)
    obs = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in agent.actor.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        found = (
            *agent._sample_actions(obs, 0.5 * torch.randn(4, 4, generator=torch.Generator().manual_seed(3)), None),
            *agent._policy.parameters(agent.actor(obs, task_id)[0]),
        )
        action, log_prob, mean, log_std = (entry.flatten(0, 1) for entry in found)
    assert (action[:2, 1:] == 0).all() and (action[2:] != 0).all()
    for row, size in enumerate((1, 1, 4, 4)):
        expected = 0.0
        for number in range(size):
            taken = float(action[row, number].double())
            std = math.exp(float(log_std[row, number]))
            score = (math.atanh(taken) - float(mean[row, number])) / std
            expected += -0.5 * score**2 - math.log(std * math.sqrt(2 * math.pi)) - math.log(1 - taken**2)
        assert float(log_prob[row]) == pytest.approx(expected, abs=1e-3)
    # Where entropy is on target the temperature rests: at log-probability 1 and 4, one nat for each real number.
    agent.log_temperature.requires_grad_(True)
    losses = agent.temperature_losses(torch.tensor([-1.0, -4.0]))
    assert torch.autograd.grad(losses.sum(), agent.log_temperature)[0].tolist() == [0.0, 0.0]


def test_tasks_of_different_sizes_train_together(small_run):
    point = register(user_envs.GoalDict, goals=([-1, -1], [1, 1]))
    square = register(user_envs.Recorder, goals=([-1, -1], [1, 1]), success=user_envs.solved_by_reward)
    name = fresh("suite")
    mtrl.register_suite(name, [point, square], description="sizes 7 and 1, 6 and 4", goals_per_task=3)
    run = mtrl.train(name, agent="quick", slots_per_task=2, **small_run)
    final = [line for line in run.evaluations() if line["final"]]
    assert len(final) == 1 and set(final[0]["summary"]["per_task"]) == {point, square}
    assert len(final[0]["episodes"]) == 6
    weights = run.policy().weights()
    assert weights["critics.trunk.0.weight"].shape[1] == 4 + 7 + 2
    assert all(torch.isfinite(value).all() for value in weights.values())
    last = run.metrics()[-1]
    assert last["temperature/" + point] != last["temperature/" + square]
    obs = torch.zeros(2, 7)
    actions = run.policy().act(obs, torch.tensor([0, 1]), mode=True)
    assert (actions[0, 1:] == 0).all() and (actions[1] != 0).all()


class Constant(Network, TaskSpecific):
    """The same numbers for every input: the smallest network there is."""

    def __init__(self, shape: NetworkShape, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        draw = torch.rand(shape.copies, shape.num_tasks, 1, shape.out_dim, generator=generator)
        self.value = torch.nn.Parameter(shape.head_scale * draw)

    def forward(self, x: torch.Tensor, task_id: torch.Tensor) -> torch.Tensor:
        return self.value[:, task_id].expand(-1, -1, x.shape[1], -1)


def test_a_network_of_ones_own_is_trained(small_run):
    name = fresh("network")
    assert mtrl.register_network(name, description="for a test")(Constant) is Constant
    algorithm = {"batch_per_task": 8, "actor": {"name": name}, "critic": {"name": name}}
    run = mtrl.train(register(user_envs.Simple), agent="quick", **{**small_run, "algorithm": algorithm})
    assert run.policy().weights()["actor.value"].shape == (1, 1, 1, 2)
    assert json.loads(run.folder.config.read_text())["parameters"] == {"actor": 2, "critics": 2}


@dataclass(frozen=True)
class TiltedConfig:
    """Hyperparameters of the policy below."""

    tilt: float = 0.5
    """The action that is always taken."""


class Tilted:
    """Always the same action."""

    def __init__(self, config: TiltedConfig, problem: Problem) -> None:
        self.tilt, self.shape = config.tilt, problem.action_mask.shape[1]

    def act(self, obs: torch.Tensor, task_id: torch.Tensor, *, mode: bool) -> torch.Tensor:
        return torch.full((len(obs), self.shape), self.tilt)

    def begin_episodes(self, mask: torch.Tensor) -> None:
        pass


def test_an_agent_of_ones_own_is_evaluated():
    name = fresh("agent")
    defaults = RunConfig(steps_per_task=0, algorithm=TiltedConfig(1.0))
    mtrl.register_agent(name, Tilted, description="for a test", defaults=defaults, trainable=False)
    assert AGENTS.get(name).defaults.agent == name
    task = register(user_envs.Deaf)  # its return does not depend on the agent: the place goes from 0 to 1 by tenths
    result = mtrl.evaluate(suite=task, agent=name, count=2, workers=1)
    record = result.to_record(final=False, env_step=0, steps_per_task=0, updates=0, wall_s=0.0)
    returns = [episode["return"] for episode in record["episodes"]]
    assert returns == pytest.approx([-sum(1 - 0.1 * step for step in range(1, 7))] * 2)


def test_a_tracker_of_ones_own_is_told_and_may_fail(small_run, capsys):
    told: list[tuple[int, dict[str, float]]] = []

    class Listener(Tracker):
        def __init__(self, info: RunInfo) -> None:
            self.folder = info.folder

        def log(self, env_step: int, metrics: dict[str, float]) -> None:
            told.append((env_step, metrics))

        def close(self, exit_code: int) -> None:
            told.append((-1, {"exit": exit_code}))

    class Failing(Tracker):
        def log(self, env_step: int, metrics: dict[str, float]) -> None:
            raise OSError("the line is dead")

    listener, failing = fresh("listener"), fresh("failing")
    mtrl.register_tracker(listener, description="for a test")(Listener)
    mtrl.register_tracker(failing, description="for a test")(lambda info: Failing())
    small_run["tracking"] = {"log_every": 10, "trackers": (listener, failing)}
    mtrl.train(register(user_envs.Simple), agent="quick", slots_per_task=4, **small_run)
    assert told[-1] == (-1, {"exit": 0})
    steps = [step for step, metrics in told if any(name.startswith("train/") for name in metrics)]
    assert steps == sorted(steps) and steps[-1] == 40 and np.isfinite(told[0][0])
    assert f"tracker '{failing}' failed and is off" in capsys.readouterr().err
