"""RL2 on small problems with known answers: near the best on bandits, and better from its second try on."""

import pytest
import torch

import mtrl
from mtrl.envs.teaching import known
from mtrl.goals import make_goal_sets
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.trials import Trials

PULLS, NEW = 10, 4_000
ALGORITHM = {
    "epochs": 4,
    "minibatches": 4,
    "memory": 64,
    "entropy_weight": 0.0,
    "normalize_obs": False,
    "final_learning_rate": 1.0,
    "hold": 1,
    "scale": {"name": "none"},
    "reward_seen": 1.0,
    "actor_learning_rate": 1e-3,
    "critic_learning_rate": 1e-3,
}


def learned(suite, folder, episodes, slots, steps, **algorithm):
    return mtrl.train(
        suite,
        "rl2-small",
        run_folder=str(folder),
        steps_per_task=steps,
        slots_per_task=slots,
        trial={"episodes": episodes, "judged": 1, "learned": 0},
        evaluation={"every": 0, "final": False},
        tracking={"log_every": steps // 10},
        algorithm={**ALGORITHM, **algorithm},
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_regret_falls_over_the_pulls_of_a_bandit_and_comes_close_to_the_best(tmp_path):
    run = learned("Bandits", tmp_path, 1, 500, 2_000_000, rollout_steps=PULLS, gamma=1.0, gae_lambda=1.0)
    _, new = make_goal_sets([TASKS.get("bernoulli-arms-v0")], NEW, 7)
    chances = torch.from_numpy(new.rows[0]).float()
    best = known.best_bandit_total(chances.shape[1], PULLS)
    env = Trials(make_vector_env(["bernoulli-arms-v0"], goal_set=new, slots_per_task=NEW, goal_visible=False), 1)
    policy = run.policy()
    obs, info = env.reset(seed=0)
    begun, paid, regret = info["active"], torch.zeros(NEW), []
    for _ in range(PULLS):
        policy.begin_episodes(begun)
        obs, reward, _, _, info = env.step(policy.act(obs, env.task_id, mode=True))
        own, begun = chances[info["goal_index"]], info["final_mask"]
        pulled = own.gather(1, info["final_obs"][:, : own.shape[1]].argmax(dim=1, keepdim=True))[:, 0]
        regret.append(float((own.amax(dim=1) - pulled).mean()))
        paid += reward
    print(f"won {float(paid.mean()):.3f} of {best:.3f}; regret {[round(one, 3) for one in regret]}")
    assert best - 0.3 < float(paid.mean()) < best + 0.15  # a standard error is 0.04
    assert float(paid.mean()) > known.thompson_bandit_total(chances.numpy(), PULLS, 0) + 0.3
    assert regret[-1] < 0.55 * regret[0] and max(regret[7:]) < min(regret[:3])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_second_try_at_a_hidden_goal_is_better_unless_the_first_is_forgotten(tmp_path):
    run = learned("Points", tmp_path, 2, 100, 1_500_000, rollout_steps=40, gamma=0.95, gae_lambda=0.97)
    curves = {
        context: [row["return"] for row in run.evaluate(goals="heldout", context=context).adaptation]
        for context in ("own", "other", "none")
    }
    print(curves)
    assert curves["own"][1] > curves["own"][0] + 0.5
    assert max(curves["none"]) < curves["none"][0] + 0.3
    assert curves["other"][2] < min(curves["own"][1:]) - 1.0
