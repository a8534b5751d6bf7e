"""Stable-Baselines3 on our vector environments."""

import numpy as np
import pytest
import torch
from toy_envs import toy_task

from mtrl.errors import UserError
from mtrl.goals import make_goal_sets
from mtrl.vector.processes import ProcessVectorEnv

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="the extra sb3 is not installed")
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback  # noqa: E402
from stable_baselines3.common.vec_env import VecMonitor  # noqa: E402

import mtrl.sb3  # noqa: E402
from mtrl.sb3 import SB3VecEnv  # noqa: E402
from mtrl.scenes.vector import SceneVectorEnv  # noqa: E402


@pytest.fixture
def build():
    made = []

    def build(task_input="append_one_hot", **task):
        tasks = [toy_task("toy-a-v0", **task), toy_task("toy-b-v0", **task)]
        env = ProcessVectorEnv(tasks, goal_set=make_goal_sets(tasks, 3, 0)[0], slots_per_task=2, workers=1)
        made.append(env)
        return SB3VecEnv(env, task_input)

    yield build
    for env in made:
        env.close()


def test_steps_are_those_of_the_environment_with_the_task_added(build):
    adapted, plain = build(), build().env
    adapted.seed(3)
    first, expected = adapted.reset(), plain.reset(seed=3)[0].numpy()
    size = expected.shape[1]
    assert np.array_equal(first[:, :size], expected)
    assert first[:, size:].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    generator, ends, solved = np.random.default_rng(0), 0, np.zeros(4, bool)
    for _ in range(60):
        action = generator.uniform(-1, 1, (4, adapted.action_space.shape[0])).astype(np.float32)
        obs, reward, done, infos = adapted.step(action)
        expected, plain_reward, terminated, truncated, info = plain.step(torch.from_numpy(action))
        assert np.array_equal(obs[:, :size], expected.numpy())
        assert np.array_equal(reward, plain_reward.numpy())
        assert np.array_equal(done, info["final_mask"].numpy())
        solved |= info["success"].numpy()
        for slot in np.flatnonzero(done):
            ends += 1
            assert np.array_equal(infos[slot]["terminal_observation"][:size], info["final_obs"][slot].numpy())
            assert infos[slot]["TimeLimit.truncated"] == bool(truncated[slot] and not terminated[slot])
            assert infos[slot]["is_success"] == solved[slot]
            solved[slot] = False
    assert ends > 4


@pytest.mark.parametrize("task_input", ["append_one_hot", "dict", "hidden"])
def test_observations_lie_in_their_space(build, task_input):
    env = build(task_input)
    obs = env.reset()
    rows = [{name: part[i] for name, part in obs.items()} if task_input == "dict" else obs[i] for i in range(4)]
    assert all(env.observation_space.contains(row) for row in rows)


def test_resets_repeat_under_a_seed_and_differ_without(build):
    env = build()
    env.seed(5)
    first = env.reset()
    other = env.reset()
    env.seed(5)
    assert np.array_equal(first, env.reset())
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("algorithm", "policy"), [("SAC", "MlpPolicy"), ("PPO", "MultiInputPolicy")])
def test_its_agents_train_are_saved_and_loaded(build, tmp_path, algorithm, policy):
    env = VecMonitor(build("dict" if policy == "MultiInputPolicy" else "append_one_hot"), info_keywords=("is_success",))
    options = {"learning_starts": 20} if algorithm == "SAC" else {"n_steps": 16, "batch_size": 32}
    agent = getattr(stable_baselines3, algorithm)(policy, env, device="cpu", seed=0, **options)
    agent.learn(120)
    assert agent.num_timesteps >= 120
    assert len(agent.ep_success_buffer) > 0
    agent.save(tmp_path / "agent.zip")
    obs = env.reset()
    loaded = getattr(stable_baselines3, algorithm).load(tmp_path / "agent.zip", device="cpu")
    expected = agent.predict(obs, deterministic=True)[0]
    assert np.array_equal(loaded.predict(obs, deterministic=True)[0], expected)


@pytest.mark.parametrize("algorithm", ["SAC", "PPO"])
def test_its_agents_train_natively_with_callbacks_and_go_on_after_loading(tmp_path, algorithm):
    env, other = (VecMonitor(mtrl.sb3.make("MT3", slots_per_task=2, workers=1)) for _ in range(2))
    assert isinstance(env.unwrapped.env, SceneVectorEnv)
    options = {"learning_starts": 12} if algorithm == "SAC" else {"n_steps": 8, "batch_size": 16}
    kind = getattr(stable_baselines3, algorithm)
    callbacks = [
        CheckpointCallback(4, str(tmp_path), name_prefix="model"),
        EvalCallback(other, n_eval_episodes=6, eval_freq=5, best_model_save_path=str(tmp_path / "best"), verbose=0),
    ]
    kind("MlpPolicy", env, device="cpu", seed=0, **options).learn(48, callback=callbacks)
    newest = max(tmp_path.glob("model_*.zip"), key=lambda path: int(path.stem.split("_")[1]))
    assert (tmp_path / "best" / "best_model.zip").is_file()
    loaded = kind.load(newest, env=env, device="cpu")
    before = loaded.num_timesteps
    loaded.learn(24, reset_num_timesteps=False)
    assert loaded.num_timesteps >= before + 24
    assert callbacks[1].last_mean_reward > 0
    env.close(), other.close()


def test_wrong_use_is_one_clear_line(build):
    with pytest.raises(UserError, match="'append_one_hot', 'dict' or 'hidden'"):
        SB3VecEnv(build().env, "embedding")
    with pytest.raises(UserError, match="cannot be set"):
        build().set_attr("gravity", 0)
