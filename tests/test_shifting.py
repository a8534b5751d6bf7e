"""Worlds of tasks that succeed rest, and those who learn notice nothing but that steps are of fewer worlds."""

import dataclasses

import pytest
import scene_tasks
import torch
from runner_toys import TASK_NAMES, everything, register, tensors_differ, tiny_config
from test_on_policy import register_tiny_ppo
from test_rl2 import register_tiny_rl2

import mtrl
from mtrl.config import ShiftConfig
from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.runner.experiment import prepare
from mtrl.runner.loop import EpisodeStatistics
from mtrl.runner.off_policy import OffPolicyLoop
from mtrl.runner.on_policy import OnPolicyLoop
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.shifting import ShiftingWorlds

SLOTS = 4
FAILS = float("nan")


def register_all():
    register(), register_tiny_ppo(), register_tiny_rl2(), register_tiny_rl2(7)


def toys(floor=None, names=TASK_NAMES, slots=SLOTS):
    register()
    goals = make_goal_sets([TASKS.get(name) for name in names], 5, 0)[0]
    env = make_vector_env(names, goal_set=goals, slots_per_task=slots)
    return env if floor is None else ShiftingWorlds(env, floor)


def actions_of(env, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2.0 * torch.rand((steps, *env.action_space.shape), generator=generator) - 1.0


def played(env, actions, **reset):
    """All that an environment returns, from its reset on."""
    obs, info = env.reset(seed=3, **reset)
    return [[obs, info["goal_index"]], *([*env.step(action)[:4], *env.step(action)[4].values()] for action in actions)]


def test_while_all_tasks_fail_nothing_is_changed():
    plain, shifting = toys(), toys(0.25)
    assert not shifting.arrange(torch.tensor([FAILS, 0.0])) and shifting.twin is None
    actions = actions_of(plain, 30)
    assert tensors_differ(played(plain, actions), played(shifting, actions)) == ""


@pytest.mark.parametrize(
    ("floor", "slots", "success", "playing"),
    [
        (0.25, 4, [1.0, FAILS], (1, 4)),
        (0.25, 4, [0.5, 0.0], (3, 4)),  # 4 (1/4 + 3/4 / 2) = 2.5
        (0.5, 10, [1.0, 0.8], (5, 6)),
        (0.2, 10, [0.9, 0.25], (3, 8)),  # 2.8 and 8
        (0.001, 10, [1.0, 1.0], (1, 1)),
    ],
)
def test_how_many_worlds_play(floor, slots, success, playing):
    env = toys(floor, slots=slots)
    assert env.playing == (slots, slots)
    assert env.arrange(torch.tensor(success)) and env.playing == playing
    assert not env.arrange(torch.tensor(success))
    assert env.arrange(torch.zeros(2)) and env.playing == (slots, slots) and env.twin is None


KINDS = {
    "toys": lambda: toys(),
    "native": lambda: toys(names=("reach-v3", "push-v3")),
    "processes": lambda: toys(names=("wire-a-v0", "wire-b-v0")),
    "warp": lambda: scene_tasks.build(("roll", "roll-too"), SLOTS, 5, engine="warp"),
}


@pytest.fixture
def rolls(tmp_path, monkeypatch):
    monkeypatch.setenv("MTRL_CACHE", str(tmp_path))
    with scene_tasks.registered():
        scene_tasks.register("roll-too")
        yield


@pytest.mark.parametrize("kind", KINDS)
def test_a_slot_that_rests_repeats_one_that_plays(rolls, kind):
    plain, env = KINDS[kind](), ShiftingWorlds(KINDS[kind](), 0.25)
    env.arrange(torch.tensor([1.0, 0.34]))
    assert env.playing == (1, 3) and env.twin.tolist() == [0, 0, 0, 0, 4, 5, 6, 4]
    first, second = (one.reset(seed=3) for one in (plain, env))
    assert torch.equal(second[0], first[0][env.twin])
    assert second[1]["active"].tolist() == [True, False, False, False, True, True, True, False]
    for number, action in enumerate(actions_of(plain, 30)):
        other = action.clone()
        other[[1, 2, 3, 7]] = -action[[1, 2, 3, 7]]  # is not taken
        *of_all, told = plain.step(action)
        *repeated, info = env.step(other)
        for one, other in zip(of_all, repeated, strict=True):
            assert torch.equal(one[env.twin], other), number
        assert all(torch.equal(told[name][env.twin], info[name]) for name in ("success", "final_mask", "goal_index"))
        assert torch.equal(told["final_obs"][env.twin], info["final_obs"])
        assert info["active"].tolist() == second[1]["active"].tolist()
    plain.close()
    env.close()


def test_the_native_engine_does_not_simulate_worlds_that_rest():
    env = toys(0.25, ("reach-v3",))
    env.arrange(torch.ones(1))
    env.reset(seed=0)

    def times():
        return env.get_state()["env"]["simulations"][0]["state"][:, 0]  # MuJoCo's states begin with the time

    before = times()
    env.step(actions_of(env, 1)[0])
    assert ((times() - before) > 0).tolist() == [True, False, False, False]


def test_a_state_brings_back_who_plays():
    env, other = toys(0.25), toys(0.25)
    env.arrange(torch.tensor([1.0, FAILS]))
    actions = actions_of(env, 40)
    played(env, actions[:5])
    state = env.get_state()
    obs = other.set_state(state)
    assert other.playing == (1, 4) and torch.equal(obs, env.set_state(state))
    rest = [[[*one.step(action)[:4]] for action in actions[5:]] for one in (env, other)]
    assert tensors_differ(*rest) == ""


AGENTS = ("toy", "tiny", "tiny-ppo", "tiny-rl2", "tiny-rl2-7", "maml-small", "pearl-small")
TRIALS = {"episodes": 1, "judged": 1, "learned": 1}
SMALL = {
    "maml-small": {"trial": TRIALS},
    "pearl-small": {"trial": TRIALS, "warmup_steps": 20, "algorithm": {"batch_per_task": 8, "goals": 2, "context": 4}},
}


def shifting_run(folder, agent, steps=240, **changes):
    register_all()
    options = {
        "slots_per_task": SLOTS,
        "shift": {"floor": 0.25, "every": 30},
        "checkpoint": {"every": 40},
        "evaluation": {"every": 0, "final": False},
        "tracking": {"log_every": 10},
        **SMALL.get(agent, {}),
        **changes,
    }
    return mtrl.train("dot-suite", agent, run_folder=str(folder), steps_per_task=steps, device="cpu", **options)


@pytest.fixture
def first_succeeds(monkeypatch):
    """The first task always does, once it was looked at twice, and the second never."""
    looks = []

    def success(_):
        looks.append(None)
        return torch.tensor([float(len(looks) > 2), FAILS])

    monkeypatch.setattr(EpisodeStatistics, "success", success)
    return looks


@pytest.mark.parametrize("agent", AGENTS)
def test_steps_go_to_the_task_that_fails(tmp_path, first_succeeds, agent):
    steps = 1_000 if agent == "maml-small" else 240  # whose rollouts are long
    run = shifting_run(tmp_path, agent, steps)
    lines = run.metrics()
    assert lines[0][f"worlds/{TASK_NAMES[0]}"] == SLOTS and lines[-1][f"worlds/{TASK_NAMES[0]}"] == 1
    assert {line[f"worlds/{TASK_NAMES[1]}"] for line in lines} == {SLOTS}
    for line in lines:
        first, second = (line[f"steps/{name}"] for name in TASK_NAMES)
        assert first + second == line["env_step"] and (first + second) // 2 == line["steps_per_task"]
    assert second > 1.4 * first and steps <= lines[-1]["steps_per_task"] < steps + 20


@pytest.mark.parametrize("agent", ["tiny", "tiny-ppo", "tiny-rl2-7", "pearl-small"])
def test_a_run_that_was_cut_short_ends_as_if_it_had_not_been(tmp_path, monkeypatch, agent):
    def success(statistics):  # of nothing but the run itself
        counted = (statistics._recent, statistics._adapting)
        return torch.tensor([float(sum(len(episodes[TASK_NAMES[0]]) for episodes in counted) > 11), FAILS])

    monkeypatch.setattr(EpisodeStatistics, "success", success)
    every = {"shift": {"floor": 0.25, "every": 100}}  # looks at 100 and 200 steps; success comes at 120
    whole = shifting_run(tmp_path / "whole", agent, **every)
    shifting_run(tmp_path / "cut", agent, steps=170, **every)
    longer = mtrl.resume(tmp_path / "cut", 240)
    assert whole.metrics()[-1][f"worlds/{TASK_NAMES[0]}"] == 1
    if agent.startswith("tiny-"):  # has no replay
        weights = [run.policy().weights() for run in (whole, longer)]
        assert tensors_differ(*weights) == ""
    else:
        assert tensors_differ(*(everything(tmp_path / name) for name in ("whole", "cut"))) == ""


def loop_of(tmp_path, agent, kind, **changes):
    register_all()
    config = tiny_config(tmp_path, agent, slots_per_task=SLOTS, shift=ShiftConfig(0.25, 12), **changes)
    experiment = prepare(config)
    loop = kind(experiment.build_agent(), experiment.build_env(experiment.goal_sets()["train"], SLOTS), config)
    loop.start()
    return loop


def test_no_transition_leads_from_one_arrangement_to_the_next(tmp_path, first_succeeds):
    loop, after = loop_of(tmp_path, "tiny", OffPolicyLoop), []
    shifts = []
    for number in range(1, 13):
        before = loop.env.playing
        stepped = loop.env.step_wait
        loop.env.step_wait = lambda stepped=stepped: after.append(stepped()) or after[-1]
        loop.advance()
        loop.env.step_wait = stepped
        shifts += [number] if loop.env.playing != before else []
    assert shifts == [9]  # the third look, at 36 steps of each task
    assert all(
        torch.equal(loop.buffer._rings["action"][row], loop.buffer._rings["action"][row][loop.env.twin])
        for row in (9, 10, 11)
    )
    rings, step = loop.buffer._rings, torch.full((2 * SLOTS,), 8)
    assert (rings["end"][8] >= 0).all() and not rings["terminated"][8].any()
    world = torch.arange(2 * SLOTS)
    for n_step in (1, 3):  # from the step before the last one of the old arrangement
        batch = loop.buffer._batch(step - int(n_step > 1), world, 0.9, n_step)
        assert torch.equal(batch.next_obs, after[8][4]["final_obs"])
    assert torch.equal(loop.buffer._batch(step + 1, world, 0.9, 1).next_obs, after[9][4]["final_obs"])


@pytest.mark.parametrize(("agent", "steps"), [("tiny-ppo", 3), ("tiny-rl2", 3), ("tiny-rl2-7", 7)])
def test_what_was_drawn_has_the_probability_that_was_noted(tmp_path, first_succeeds, agent, steps):
    """Else the first update from a rollout would find that the policy had changed."""
    changes = {"epochs": 1, "minibatches": 1, "rollout_steps": steps, "normalize_obs": False, "overlap": False}
    register_all()
    algorithm = dataclasses.replace(tiny_config(tmp_path, agent).algorithm, **changes)
    loop = loop_of(tmp_path, agent, OnPolicyLoop, algorithm=algorithm, warmup_steps=0)
    ended, observe = [], loop.algorithm.observe
    loop.algorithm.observe = lambda step: ended.append(step.ended) or observe(step)
    for _ in range(8 * steps):
        loop.advance()
        if loop.env.twin is not None and loop.rollout.filled:
            newest = (getattr(loop.rollout, name)[loop.rollout.filled - 1] for name in ("action", "log_prob", "reward"))
            assert all(torch.equal(row, row[loop.env.twin]) for row in newest)
        if loop.metrics:
            assert loop.metrics["kl"].abs().max() < 1e-6
    assert loop.env.playing == (1, SLOTS) and loop.updates == 8
    assert [number for number, all_of in enumerate(ended) if all_of.all()] == [
        3 * steps - 1
    ]  # where worlds shift, running returns are no longer


def test_it_is_worth_nothing_where_no_world_can_rest(tmp_path):
    with pytest.raises(UserError, match=r"--shift\.floor lets worlds rest, and there is one of each task"):
        shifting_run(tmp_path, "toy", slots_per_task=1)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"--shift\.floor 0\.0 is impossible"):
        shifting_run(tmp_path, "toy", shift={"floor": 0.0})
