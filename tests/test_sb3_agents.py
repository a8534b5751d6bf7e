"""Networks of this suite inside Stable-Baselines3's agents, and its models as agents here."""

import numpy as np
import pytest
import torch
from runner_toys import InlineVectorEnv, tiny_config
from toy_envs import toy_task

import mtrl
from mtrl.cli import main
from mtrl.errors import UserError
from mtrl.parts.groups import Groups
from mtrl.parts.network import NETWORKS
from mtrl.run_folder import read_json

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
from stable_baselines3.common.vec_env import VecNormalize  # noqa: E402

import mtrl.sb3  # noqa: E402
from mtrl.agents.sb3_policies import TaskPPOPolicy, TaskSACPolicy  # noqa: E402
from mtrl.goals import make_goal_sets  # noqa: E402

PPO, SAC = stable_baselines3.PPO, stable_baselines3.SAC
SIZES = {
    "PPO": {"n_steps": 8, "batch_size": 16, "n_epochs": 2},
    "SAC": {"learning_starts": 8, "batch_size": 16},
}
SMALL = {"width": 16, "depth": 2}


def toy_env(task_input="dict"):
    tasks = [toy_task("toy-a-v0"), toy_task("toy-b-v0")]
    env = InlineVectorEnv(tasks, goal_set=make_goal_sets(tasks, 3, 0)[0], slots_per_task=2)
    return mtrl.sb3.SB3VecEnv(env, task_input)


def small(name):
    widths = {"hypernet": {"main_width": 16}, "soft_modules": {"width": 16}, "simba_v2": {"width": 16}}
    return {**SMALL, **widths.get(name, {})}


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_is_a_policy_that_learns_and_is_saved(tmp_path, name, algorithm):
    policy = TaskPPOPolicy if algorithm == "PPO" else TaskSACPolicy
    env, kind = toy_env(), getattr(stable_baselines3, algorithm)
    options = {"network": name, "settings": small(name)}
    agent = kind(policy, env, device="cpu", seed=0, policy_kwargs=options, **SIZES[algorithm])
    before = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    agent.learn(64)
    after = agent.policy.state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in after if "actor" in key)
    assert any(not torch.equal(before[key], after[key]) for key in after if "critic." in key)
    agent.save(tmp_path / "agent")
    obs = env.reset()
    expected, _ = agent.predict(obs, deterministic=True)
    loaded = kind.load(tmp_path / "agent", device="cpu")
    assert np.array_equal(loaded.predict(obs, deterministic=True)[0], expected)
    policy_alone = type(agent.policy)(**agent.policy._get_constructor_parameters())
    assert [value.shape for value in policy_alone.state_dict().values()] == [value.shape for value in after.values()]


@pytest.mark.parametrize("policy", ["PPO", "SAC"])
def test_rows_of_any_order_go_through_the_layers_of_their_task(policy):
    kind, name = (PPO, "PPO") if policy == "PPO" else (SAC, "SAC")
    agent = kind({"PPO": TaskPPOPolicy, "SAC": TaskSACPolicy}[name], toy_env(), seed=0, **SIZES[name])
    body = agent.policy.mlp_extractor.actor if policy == "PPO" else agent.policy.actor.body
    tasks = torch.tensor([1, 0, 1, 1, 0])
    obs = torch.randn(5, body._obs_dim)
    rows = torch.cat([obs, torch.eye(2)[tasks]], dim=1)
    with torch.no_grad():
        found = body(rows)[0]
        for row, task in enumerate(tasks):
            groups = Groups.of(tasks[row : row + 1])
            alone = groups.join(body.network(groups.split(obs[row : row + 1]), groups.task_id)[0])[0]
            assert torch.allclose(found[row], alone, atol=1e-6), task


def test_policies_of_the_same_seed_are_the_same_and_others_differ():
    agents = [PPO(TaskPPOPolicy, toy_env(), seed=seed, **SIZES["PPO"]) for seed in (1, 1, 2)]
    weights = [next(iter(agent.policy.mlp_extractor.actor.parameters())) for agent in agents]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_wrong_policies_are_one_clear_line():
    with pytest.raises(UserError, match="task_input='dict'"):
        PPO(TaskPPOPolicy, toy_env("append_one_hot"))
    with pytest.raises(UserError, match="did you mean moore"):
        PPO(TaskPPOPolicy, toy_env(), policy_kwargs={"network": "mooore"})
    with pytest.raises(UserError, match="widht"):
        SAC(TaskSACPolicy, toy_env(), policy_kwargs={"settings": {"widht": 3}})


def test_agents_of_sb3_contrib_train_on_suites():
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    contrib.TQC("MlpPolicy", toy_env("append_one_hot"), **SIZES["SAC"]).learn(24)
    contrib.TRPO(TaskPPOPolicy, toy_env(), n_steps=8, batch_size=16).learn(32)
    contrib.RecurrentPPO("MlpLstmPolicy", toy_env("append_one_hot"), n_steps=8, batch_size=16).learn(32)


@pytest.fixture
def suite(tmp_path):
    tiny_config(tmp_path)  # registers it
    return "dot-suite"


def suite_env(name, task_input):
    return mtrl.sb3.make(name, slots_per_task=2, task_input=task_input)


@pytest.mark.parametrize("task_input", ["append_one_hot", "dict", "hidden"])
def test_a_model_is_evaluated_as_it_acts(suite, tmp_path, task_input):
    env = suite_env(suite, task_input)
    policy = "MultiInputPolicy" if task_input == "dict" else "MlpPolicy"
    model = PPO(policy, env, device="cpu", seed=0, **SIZES["PPO"]).learn(64)
    model.save(tmp_path / "model")
    settings = {"model": str(tmp_path / "model.zip"), "kind": "PPO", "label": f"sb3-{task_input}"}
    run = mtrl.train(suite, "sb3", algorithm=settings, run_folder=str(tmp_path / "run"), device="cpu")
    line = run.evaluations()[-1]
    assert len(line["episodes"]) == 10 and line["steps_per_task"] == model.num_timesteps // 2
    assert read_json(run.folder.config)["agent"] == f"sb3-{task_input}"
    obs = env.reset()
    rows = obs["observation"] if task_input == "dict" else obs[:, :6]
    acted = run.policy().act(torch.as_tensor(rows), env.env.task_id, mode=True)
    assert np.allclose(acted.numpy(), np.clip(model.predict(obs, deterministic=True)[0], -1, 1))


def test_a_normalised_model_sees_normalised_observations(suite, tmp_path):
    env = VecNormalize(suite_env(suite, "append_one_hot"), norm_reward=False)
    model = SAC("MlpPolicy", env, device="cpu", seed=0, **SIZES["SAC"]).learn(64)
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "normal.pkl"))
    settings = {"model": str(tmp_path / "model.zip"), "kind": "SAC", "normalizer": str(tmp_path / "normal.pkl")}
    run = mtrl.train(suite, "sb3", algorithm=settings, run_folder=str(tmp_path / "run"), device="cpu")
    raw = env.venv.reset()
    acted = run.policy().act(torch.as_tensor(raw[:, :6]), env.venv.env.task_id, mode=True)
    assert np.allclose(acted.numpy(), model.predict(env.normalize_obs(raw), deterministic=True)[0], atol=1e-6)
    assert not np.allclose(acted.numpy(), model.predict(raw, deterministic=True)[0])


def test_memory_of_recurrent_models_is_kept_and_begun_anew(suite, tmp_path):
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    env = suite_env(suite, "append_one_hot")
    model = contrib.RecurrentPPO("MlpLstmPolicy", env, device="cpu", seed=0, n_steps=8, batch_size=16).learn(16)
    model.save(tmp_path / "model")
    settings = {"model": str(tmp_path / "model.zip"), "kind": "RecurrentPPO"}
    run = mtrl.train(suite, "sb3", algorithm=settings, run_folder=str(tmp_path / "run"), device="cpu")
    policy, obs = run.policy(), env.reset()
    rows, tasks = torch.as_tensor(obs[:, :6]), env.env.task_id
    memory, starts = None, np.ones(4, bool)
    policy.begin_episodes(torch.ones(4, dtype=torch.bool))
    for step in range(4):
        expected, memory = model.predict(obs, memory, starts, deterministic=True)
        assert np.allclose(policy.act(rows, tasks, mode=True).numpy(), np.clip(expected, -1, 1), atol=1e-6)
        starts = np.array([step == 1] * 2 + [False] * 2)
        policy.begin_episodes(torch.as_tensor(starts))


def test_models_stand_on_the_dashboard_beside_others(suite, tmp_path, capsys):
    PPO("MlpPolicy", suite_env(suite, "append_one_hot"), device="cpu", **SIZES["PPO"]).learn(64).save(
        tmp_path / "model"
    )
    words = ["--algorithm.model", str(tmp_path / "model.zip"), "--algorithm.kind", "PPO", "--device", "cpu"]
    main(
        [
            "train",
            suite,
            "--agent",
            "sb3",
            *words,
            "--algorithm.label",
            "theirs",
            "--run-folder",
            str(tmp_path / "runs/a"),
        ]
    )
    main(["train", suite, "--agent", "random", "--device", "cpu", "--run-folder", str(tmp_path / "runs/b")])
    main(["compare", str(tmp_path / "runs"), "--output", str(tmp_path / "page.html")])
    assert "theirs" in (tmp_path / "page.html").read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "give --algorithm.model"),
        ({"model": "there-is-none.zip", "kind": "PPO"}, "no such file"),
        ({"model": __file__}, "--algorithm.kind is missing"),
        ({"model": __file__, "kind": "PPOO"}, "no such class"),
        ({"model": __file__, "kind": "PPO"}, "cannot be loaded as PPO"),
        ({"model": __file__, "kind": "PPO", "label": "a/b"}, "names a folder"),
    ],
)
def test_wrong_models_are_one_clear_line(suite, tmp_path, settings, complaint):
    with pytest.raises(UserError, match=complaint):
        mtrl.train(suite, "sb3", algorithm=settings, run_folder=str(tmp_path / "run"), device="cpu")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_model_of_another_suite_is_refused(suite, tmp_path):
    SAC("MlpPolicy", toy_env("hidden"), device="cpu", **SIZES["SAC"]).save(tmp_path / "model")
    settings = {"model": str(tmp_path / "model.zip"), "kind": "SAC"}
    with pytest.raises(UserError, match="evaluate it on the suite that it was trained on"):
        mtrl.train(suite, "sb3", algorithm=settings, run_folder=str(tmp_path / "run"), device="cpu")
