"""Tasks of tensor functions: contract, random numbers, registration; the small tasks against known answers."""

import math

import numpy as np
import pytest
import torch

import mtrl
from mtrl.cli import main
from mtrl.envs.teaching import GOALS, SIZES, SUITE_TASKS, known, rules
from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.suites import resolve_suite
from mtrl.tasks import TASKS
from mtrl.tensors.task import Moved, mixed, uniforms
from mtrl.vector.build import make_vector_env
from mtrl.vector.checker import check_vector_env


def build(*names, slots=2, goals=20, visible=False):
    train, _ = make_goal_sets([TASKS.get(name) for name in names], goals, 0)
    return make_vector_env(names, goal_set=train, slots_per_task=slots, goal_visible=visible)


@pytest.mark.parametrize("name", SIZES)
def test_the_contract_holds(name):
    env = build(name)
    assert check_vector_env(env) == []
    env.close()


def test_the_contract_holds_for_all_of_them_together():
    env = build(*SIZES)
    assert check_vector_env(env) == []
    env.close()


def test_two_tasks_with_the_same_functions_share_one_environment():
    env = build("point-robot-v0", "sparse-point-robot-v0")
    assert type(env).__name__ == "CompositeVectorEnv"
    env = build("point-robot-v0")
    assert (
        type(env).__name__ == "TensorVectorEnv"
        and env.kind_of(TASKS.get("point-robot-v0")) == rules.RULES["point-robot-v0"]
    )


def test_draws_are_uniform_and_depend_on_world_and_step_alone():
    key, step = mixed(3, torch.arange(2000)), torch.full((2000,), 7)
    drawn = uniforms(key, step, 5)
    assert drawn.shape == (2000, 5) and float(drawn.min()) >= 0.0 and float(drawn.max()) < 1.0
    assert abs(float(drawn.mean()) - 0.5) < 0.01 and abs(float(drawn.var()) - 1 / 12) < 0.002
    correlation = torch.corrcoef(torch.cat([drawn, uniforms(key, step + 1, 5), uniforms(key + 1, step, 5)], dim=1).T)
    assert float((correlation - torch.eye(15)).abs().max()) < 0.1
    assert torch.equal(uniforms(key[5:6], step[5:6], 5), drawn[5:6])
    counts = torch.histc(drawn, 16, 0.0, 1.0)
    assert float(((counts - 625.0) ** 2 / 625.0).sum()) < 38.0  # chi-square with 15 degrees of freedom, 0.1 %


def test_mixing_is_split_mix():
    # The first outputs of SplitMix64 with seed 1234567, as its authors' C code gives them.
    golden = -7046029254386353131
    state, found = torch.tensor(1234567), []
    for _ in range(3):
        state = state + golden
        word = state
        for places, factor in ((30, -4658895280553007687), (27, -7723592293110705685)):
            word = (word ^ ((word >> places) & ((1 << (64 - places)) - 1))) * factor
        found.append(int(word ^ ((word >> 31) & ((1 << 33) - 1))) % (1 << 64))
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert int(mixed(1)) == int(mixed(torch.tensor(1))) != int(mixed(2))


def test_a_single_world_plays_by_the_same_functions():
    env = TASKS.get("point-robot-v0").make(False)
    goal = np.array([0.3, -0.4])
    obs, info = env.reset(seed=1, options={"goal": goal})
    assert obs.tolist() == [0.0] * 4 and info["goal"].tolist() == goal.tolist()
    obs, reward, terminated, truncated, info = env.step(np.array([1.0, -5.0]))
    assert obs[:2] == pytest.approx([0.1, -0.1]) and obs[2:].tolist() == [0.0, 0.0]
    assert (
        reward == pytest.approx(-math.hypot(0.2, 0.3)) and not terminated and not truncated and info["success"] == 0.0
    )
    assert TASKS.get("point-robot-v0").make(True).reset(options={"goal": goal})[0][2:] == pytest.approx(goal)
    with pytest.raises(UserError, match="nothing to draw"):
        build("point-robot-v0").render_slot(0)


def test_arms_pay_as_often_as_they_should():
    env = build("bernoulli-arms-v0", slots=4000, goals=1)
    env.reset(seed=0)
    chances = env.goal_set.rows[0][0]
    for arm, chance in enumerate(chances):
        action = torch.zeros(4000, 5)
        action[:, arm] = 0.5
        steps = [env.step(action) for _ in range(5)]
        pulled = torch.nn.functional.one_hot(torch.tensor(arm), 5)
        assert all(bool((step[4]["final_obs"] == pulled).all()) for step in steps)
        paid = torch.stack([step[1] for step in steps])
        assert abs(float(paid.mean()) - chance) < 4.0 * math.sqrt(chance * (1 - chance) / 20_000) + 1e-9
        assert bool(env.step(action)[4]["success"].all()) == (arm == int(chances.argmax()))


def test_the_best_of_a_bandit_is_known():
    # One pull wins a half; of two arms the better of one's luck: closed forms for the first pulls.
    assert known.best_bandit_total(5, 1) == 0.5
    assert known.best_bandit_total(1, 7) == pytest.approx(3.5)
    # Two arms, two pulls: after a win (chance 1/2) the same arm pays 2/3, after a loss the other pays 1/2.
    assert known.best_bandit_total(2, 2) == pytest.approx(0.5 + 0.5 * 2 / 3 + 0.5 * 0.5)
    best = known.best_bandit_total(5, 10)
    chances = rules.sample_arms(20_000, 0)
    assert 10 * 0.5 < known.thompson_bandit_total(chances, 10, 0) < best < 10 * chances.max(axis=1).mean()
    assert best == pytest.approx(6.66, abs=0.01)  # Gittins' strategy wins 6.6, RL2 6.7: Duan et al., 2016, table 1


def test_processes_move_and_pay_as_they_should():
    env = build("tabular-mdp-v0", slots=5000, goals=1)
    env.reset(seed=0)
    transitions, means = (part[0] for part in rules.process_of(torch.from_numpy(env.goal_set.rows[0])))
    action = torch.zeros(5000, 5)
    action[:, 3] = 1.0
    _, reward, _, _, info = env.step(action)
    reached = info["final_obs"][:, :10].mean(dim=0)
    assert torch.allclose(reached.double(), transitions[0, 3], atol=0.03)
    assert abs(float(reward.mean() - means[0, 3])) < 0.06 and abs(float(reward.std()) - 1.0) < 0.05


def test_the_best_of_a_process_is_what_its_best_policy_gets():
    goals = torch.from_numpy(rules.sample_processes(3, 5))
    transitions, rewards = rules.process_of(goals)
    value, policy = torch.zeros(3, 10, dtype=torch.float64), []
    for _ in range(10):
        worth = rewards + (transitions * value[:, None, None]).sum(dim=3)
        policy.insert(0, worth.argmax(dim=2))
        value = worth.amax(dim=2)
    assert torch.allclose(known.best_process_total(goals, 10), value[:, 0])
    env = build("tabular-mdp-v0", slots=3000, goals=1)
    goal = torch.from_numpy(env.goal_set.rows[0])
    transitions, rewards = rules.process_of(goal)
    value, policy = torch.zeros(1, 10, dtype=torch.float64), []
    for _ in range(10):
        worth = rewards + (transitions * value[:, None, None]).sum(dim=3)
        policy.insert(0, worth.argmax(dim=2)[0])
        value = worth.amax(dim=2)
    obs, total = env.reset(seed=0)[0], torch.zeros(3000)
    for step in range(10):
        choice = policy[step][obs[:, :10].argmax(dim=1)]
        obs, reward, *_ = env.step(torch.nn.functional.one_hot(choice, 5).float())
        total += reward
    assert float(total.mean()) == pytest.approx(float(known.best_process_total(goal, 10)[0]), abs=0.3)


def test_a_point_that_knows_its_goal_gets_what_is_known():
    env = build("point-robot-v0", slots=1, goals=8, visible=True)
    obs, _ = env.reset(seed=3)
    goal, total = obs[:, 2:].clone(), 0.0
    for _ in range(20):
        obs, reward, _, _, info = env.step(10.0 * (obs[:, 2:] - obs[:, :2]))
        total += float(reward)
    assert total == pytest.approx(float(known.known_goal_return(goal.double(), 20)), abs=1e-4)
    assert bool(info["success"])


@pytest.mark.parametrize("suite", SUITE_TASKS)
def test_suites_hide_their_goals(suite, capsys):
    found = resolve_suite(suite)
    assert not found.goal_visible and found.goals_per_task == GOALS and found.train_tasks == found.test_tasks
    assert main(["check", suite]) == 0


def test_a_task_of_ones_own_is_registered(capsys):
    def step(state, action, goal, draws):
        moved = state + 0.1 * action + 0.01 * (draws - 0.5)
        return Moved(moved, -(moved - goal).abs()[:, 0], ((moved - goal).abs() < 0.1)[:, 0])

    def begin(goal, draws):
        return draws - 0.5

    def observe(state, goal):
        return torch.cat([state, goal], dim=1)

    given = {"description": "toy", "action_dim": 1, "horizon": 5, "goals": ([-1.0], [1.0]), "goal_part": (1, 2)}
    functions = {"begin": begin, "step": step, "observe": observe}
    mtrl.register_tensor_task("line-v0", draws=1, **given, **functions)
    assert TASKS.get("line-v0").obs_dim == 2
    assert main(["check", "line-v0"]) == 0
    result = mtrl.evaluate(suite="line-v0,point-robot-v0", agent="repeat")
    assert set(result.per_task) == {"line-v0", "point-robot-v0"}
    broken = {
        "bad-1": (functions | {"step": lambda *_: 1 / 0}, "fail for two worlds: ZeroDivisionError"),
        "bad-2": (functions | {"begin": lambda goal, draws: draws[:1]}, "begin is"),
        "bad-3": (functions | {"observe": lambda state, goal: state.double()}, "observe is"),
    }
    for name, (wrong, message) in broken.items():
        mtrl.register_tensor_task(name, draws=1, **given, **wrong)
        with pytest.raises(UserError, match=message):
            TASKS.get(name)
    with pytest.raises(UserError, match="horizon 0"):
        mtrl.register_tensor_task("bad-4", **{**given, "horizon": 0}, **functions)
    with pytest.raises(UserError, match="'reach-v3' has no functions of tensors"):
        build_on_tensor("reach-v3")


def build_on_tensor(name):
    train, _ = make_goal_sets([TASKS.get(name)], 2, 0)
    make_vector_env([name], goal_set=train, engine="tensor")
