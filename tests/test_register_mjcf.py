"""MuJoCo models with Python functions as tasks, against MuJoCo stepped by hand."""

import itertools

import numpy as np
import pytest

import mtrl  # before mujoco, which chooses its GL library when it is imported
from mtrl.errors import UserError
from mtrl.tasks import TASKS

XML = """
<mujoco>
  <option timestep="0.01"/>
  <worldbody>
    <camera name="side" pos="0 -3 0" xyaxes="1 0 0 0 0 1"/>
    <body name="block">
      <joint name="slide" type="slide" axis="1 0 0" damping="0.5"/>
      <geom size="0.1" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor name="push" joint="slide" ctrlrange="-1 3"/></actuator>
</mujoco>
"""
_numbers = itertools.count()


def observe(model, data, goal):
    return np.concatenate([data.qpos, data.qvel, data.body("block").xpos[:1], goal])


def reward(model, data, goal):
    return -abs(data.qpos[0] - goal[0]) - 0.01 * data.ctrl[0] ** 2


def success(model, data, goal):
    return abs(data.qpos[0] - goal[0]) < 0.05


def set_up(model, data, goal, generator):
    data.qpos[0] = generator.uniform(-0.1, 0.1)


def far_out(model, data, goal):
    return data.qpos[0] > 0.2


def explode(model, data, action):
    data.qvel[0] = 1e12 if data.time > 0.05 else 0.0


def pull(model, data, action):
    data.xfrc_applied[1, 0] = 5 * action.sum()


def register(xml=XML, **options) -> str:
    name = f"mjcf-{next(_numbers)}"
    given = {
        "description": "for a test",
        "observe": observe,
        "reward": reward,
        "success": success,
        "frame_skip": 3,
        "horizon": 8,
        "goals": ([-0.5], [0.5]),
        "reset": set_up,
    }
    mtrl.register_mjcf_task(name, xml, **{**given, **options})
    return name


def begin(name: str, goal: float = 0.3, seed: int = 0):
    env = TASKS.get(name).make(True)
    return env, env.reset(seed=seed, options={"goal": np.array([goal])})[0]


@pytest.mark.parametrize("as_file", [True, False])
def test_a_model_moves_as_mujoco_moves_it(tmp_path, as_file):
    path = tmp_path / "slide.xml"
    path.write_text(XML)
    task = TASKS.get(name := register(path if as_file else path.read_text()))
    assert (task.obs_dim, task.action_dim, task.horizon) == (4, 1, 8)
    env, obs = begin(name)
    import mujoco

    model = mujoco.MjModel.from_xml_path(str(path))
    data = mujoco.MjData(model)
    data.qpos[0] = obs[0]
    assert -0.1 <= obs[0] <= 0.1 and obs[0] != 0 and obs[3] == np.float32(0.3)
    for step, action in enumerate((1.0, -1.0, 0.0, 0.5, 7.0, 1.0, 1.0, 1.0)):
        data.ctrl[0] = {1.0: 3, -1.0: -1, 0.0: 1, 0.5: 2, 7.0: 3}[action]
        mujoco.mj_step(model, data, 3)
        mujoco.mj_kinematics(model, data)
        obs, reward, terminated, truncated, info = env.step(np.array([action], np.float32))
        np.testing.assert_allclose(obs, [data.qpos[0], data.qvel[0], data.qpos[0], 0.3], rtol=1e-5)
        assert reward == pytest.approx(-abs(data.qpos[0] - 0.3) - 0.01 * data.ctrl[0] ** 2, rel=1e-6)
        assert info["success"] is bool(abs(data.qpos[0] - 0.3) < 0.05)
        assert (terminated, truncated) == (False, step == 7)


def test_resets_follow_from_seed_and_goal():
    name = register()
    _, first = begin(name, seed=5)
    env, other = begin(name, seed=6)
    env.step(np.ones(1))
    again = env.reset(seed=5, options={"goal": np.array([0.3])})[0]
    np.testing.assert_array_equal(first, again)
    assert first[0] != other[0]


def test_goals_may_be_seeds():
    name = register(goals="seed", observe=lambda model, data, goal: data.qpos, reward=lambda *_: 0.0)
    task = TASKS.get(name)
    rows = task.sample_goals(2, 0)
    env = task.make(True)
    starts = [env.reset(seed=9, options={"goal": row})[0][0] for row in (*rows, rows[0])]
    assert starts[0] == starts[2] != starts[1]


def test_terminal_states_and_controls_of_your_own():
    env, _ = begin(register(terminated=far_out, control=pull, action_dim=2, frame_skip=20))
    assert env.action_space.shape == (2,)
    ends = [env.step(np.array([1.0, 1.0]))[2] for _ in range(3)]
    assert ends[-1] and env._env.data.ctrl[0] == 0


def test_failing_physics_ends_the_episode_without_reward(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log into the working folder
    env, _ = begin(register(control=explode, action_dim=1))
    for _ in range(8):
        obs, reward, terminated, truncated, info = env.step(np.zeros(1))
        if info.get("unstable"):
            break
    assert (reward, terminated, truncated, info["success"]) == (0.0, False, True, False)
    assert np.isfinite(obs).all() and abs(obs[0]) < 1
    assert np.isfinite(env.reset(seed=0, options={"goal": np.zeros(1)})[0]).all()


def test_images_come_from_the_camera():
    env, _ = begin(register(camera="side"))
    try:
        image = env.render()
    except UserError as error:
        pytest.skip(str(error))
    assert image.shape == (480, 480, 3) and image.dtype == np.uint8 and image.std() > 1
    env.step(np.ones(1))
    assert (env.render() != image).any()
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"xml": "no/such/file.xml"}, "there is no MJCF file .*no/such/file.xml"),
        ({"xml": "<mujoco><worldbod/></mujoco>"}, "MJCF text cannot be read.*worldbod"),
        ({"xml": XML.replace("ctrlrange", "gear")}, "(no control range|cannot be read)"),
        ({"xml": XML.replace(' ctrlrange="-1 3"', "")}, "actuator 'push' has no control range"),
        ({"xml": "<mujoco><worldbody><geom size='1'/></worldbody></mujoco>"}, "no actuators"),
        ({"observe": lambda model, data, goal: 3.0}, "gave shape"),
        ({"observe": lambda model, data, goal: data.body("cube").xpos}, "cannot be built: KeyError.*cube"),
    ],
)
def test_what_is_wrong_with_a_model_shows_at_its_first_use(options, message):
    name = register(**options)
    with pytest.raises(UserError, match=f"task '{name}'.*{message}"):
        TASKS.get(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_skip": 0}, "frame_skip 0 is impossible"),
        ({"control": pull}, "control and action_dim go together"),
        ({"action_dim": 2}, "control and action_dim go together"),
        ({"goals": "none"}, "goals='none'"),
    ],
)
def test_impossible_arguments_are_refused_at_once(options, message):
    with pytest.raises(UserError, match=message):
        register(**options)
