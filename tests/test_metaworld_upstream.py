"""Our environments against upstream's plain classes, on which nothing but the weld is mended: equal to the last bit."""

import platform

import metaworld
import mujoco
import numpy as np
import pytest
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerMocapBase, SawyerXYZEnv
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

from mtrl.envs.metaworld import lean
from mtrl.envs.metaworld.catalogue import DESCRIPTIONS
from mtrl.tasks import TASKS

WALL = "button-press-topdown-wall-v3"
# Elsewhere a compiler may fuse multiplication and addition in scipy, which moves the last bit of a quaternion.
EXACT = platform.machine() in ("x86_64", "AMD64")


pytestmark = pytest.mark.filterwarnings("ignore:Constant.s. may be too high")  # the experts, which we clip


def same(ours, theirs):
    return np.array_equal(ours, theirs) if EXACT else np.allclose(ours, theirs, rtol=0, atol=1e-9)


class WeldMended:
    def reset_mocap_welds(self):
        welds = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD
        self.model.eq_data[welds] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5, 0]


def oracle(name):
    environment = type("Oracle", (WeldMended, ALL_V3_ENVIRONMENTS[name]), {})()
    environment._set_task_called = True
    environment._partially_observable = False
    del environment.sawyer_observation_space
    return environment


def drawn_goal(environment, generator):
    """A goal that a reset of upstream's own draws, twice as it does, with rejections and simulation."""
    environment._freeze_rand_vec, environment.seeded_rand_vec = False, True
    environment._np_random = generator
    environment.reset()
    environment._freeze_rand_vec = True
    return environment._last_rand_vec.copy()


def compare_steps(name, ours, theirs, observation, expert_steps, random_steps, generator):
    """Steps both alike: first as the expert says, so that contacts occur, then at random, beyond [-1, 1] as well."""
    expert = ENV_POLICY_MAP[name]()
    for step in range(expert_steps + random_steps):
        action = (
            np.clip(expert.get_action(observation), -1, 1) if step < expert_steps else generator.uniform(-1.2, 1.2, 4)
        ).astype(np.float32)
        observation, reward, terminated, truncated, info = theirs.step(action)
        our_observation, our_reward, *our_ends, our_info = ours.step(action)
        assert same(our_observation, observation), step
        assert our_ends == [terminated, truncated]
        assert our_info.keys() == info.keys()
        if name != WALL:  # whose reward is mended, see below
            assert same(our_reward, reward), step
            assert all(same(our_info[key], value) for key, value in info.items()), (step, our_info, info)
        assert same(our_info["success"], info["success"])


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_goals_resets_and_steps_equal_upstream(name):
    ours, theirs = TASKS.get(name).make(True), oracle(name)
    ours_random, theirs_random = np.random.default_rng(7), np.random.default_rng(7)
    for _ in range(2):
        goal = drawn_goal(theirs, theirs_random)
        ours._upstream.draw_goal(ours_random)  # upstream keeps the second of the two goals that it draws
        assert np.array_equal(ours._upstream.draw_goal(ours_random), goal)
        observation, _ = theirs.reset()  # now on the goal drawn before, as benchmarks have it
        our_observation, info = ours.reset(options={"goal": goal})
        assert np.array_equal(info["goal"], goal)
        assert same(our_observation, observation)
    compare_steps(name, ours, theirs, observation, 45, 15, ours_random)


@pytest.mark.slow
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_long_episodes_equal_upstream(name):
    definition, generator = TASKS.get(name), np.random.default_rng(0)
    ours, theirs = definition.make(True), oracle(name)
    for goal in definition.sample_goals(3, 5):
        theirs._last_rand_vec, theirs._freeze_rand_vec = goal.copy(), True
        observation, _ = theirs.reset()
        assert same(ours.reset(options={"goal": goal})[0], observation)
        compare_steps(name, ours, theirs, observation, 300, 200, generator)


def test_upstream_is_left_as_it_was():
    """Other users of the package in this process see its own classes and modules."""
    TASKS.get("button-press-topdown-wall-v3").make(True)
    assert SawyerMocapBase.reset_mocap_welds.__module__ == "metaworld.sawyer_xyz_env"
    assert SawyerXYZEnv.step.__module__ == "metaworld.sawyer_xyz_env"
    module = __import__("metaworld.envs.sawyer_reach_v3", fromlist=["Rotation"])
    assert module.Rotation is Rotation
    assert module.reward_utils is reward_utils
    with pytest.raises(ValueError, match="broadcast"):
        metaworld.env_dict.ALL_V3_ENVIRONMENTS["reach-v3"]()


def test_weld_keeps_upstreams_pose_when_constants_are_set_anew():
    upstream = TASKS.get("reach-v3").make(True)._upstream
    weld = upstream.model.eq_data[0].copy()
    assert weld.tolist() == [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5, 0]
    mujoco.mj_setConst(upstream.model, upstream.data)
    assert np.array_equal(upstream.model.eq_data[0], weld)


def test_wall_button_reward_is_that_of_release_3_1_1():
    """By hand: gripper 0.3 open, near 0.5, pressed 0.25; the Hamacher product of 0.3 and 0.5 is 0.15 / 0.65."""
    environment = TASKS.get(WALL).make(True)
    environment.reset(seed=0)
    upstream = environment._upstream
    hand = upstream.tcp_center
    observation = np.zeros(39)
    observation[3] = 0.3

    # x is 1 margin away where the reward is 0.1, and (x / margin)^2 * 9 + 1 = 2 where it is 0.5.
    # With x beyond the bounds by d margins the reward is 1 / (9 d^2 + 1): d = 1/3 gives 0.5, d = 3^-0.5 gives 0.25.
    observation[4:7] = hand + np.array([0.0, 0.0, 0.015])
    upstream.init_tcp = observation[4:7] + np.array([0.015, 0.0, 0.0])
    upstream._target_pos = np.array([0.0, 0.0, observation[6] + 0.005 + 0.03 / np.sqrt(3)])
    upstream._obj_to_target_init = 0.03
    action = np.zeros(4, np.float32)
    reward, distance, opening, _, near, pressed = upstream.compute_reward(action, observation)
    assert distance == pytest.approx(0.015)
    assert opening == 0.3
    assert near == pytest.approx(0.5)
    assert pressed == pytest.approx(0.25)
    assert reward == pytest.approx(5 * 0.15 / 0.65 + 5 * 0.25)

    observation[4] += 0.5  # too far away for the pressed button to count
    reward, _, _, _, near, _ = upstream.compute_reward(action, observation)
    assert reward == pytest.approx(5 * 0.3 * near / (0.3 + near - 0.3 * near))


def random_rotations(count):
    generator = np.random.default_rng(0)
    quaternions = generator.normal(size=(count, 4))
    quaternions[: count // 4, generator.integers(4, size=count // 4)] *= 1e-9  # near the cases' borders
    matrices = np.zeros((count, 9))
    for quaternion, matrix in zip(quaternions / np.linalg.norm(quaternions, axis=1)[:, None], matrices, strict=True):
        mujoco.mju_quat2Mat(matrix, quaternion)
    axes = [np.eye(3), np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1])]
    return [*matrices.reshape(-1, 3, 3), *axes, np.eye(3)[[1, 2, 0]], np.eye(3) * 1.001]


def test_quaternions_equal_scipys():
    for matrix in random_rotations(2000):
        assert same(lean.LeanRotation.from_matrix(matrix).as_quat(), Rotation.from_matrix(matrix).as_quat()), matrix


def test_tolerance_equals_upstreams():
    generator = np.random.default_rng(0)
    for x, upper, margin in generator.uniform(0, 1, (2000, 3)):
        for value in (x, np.float64(x), -x, 0.0, upper):
            for sigmoid in ("long_tail", "gaussian"):
                arguments = {"bounds": (0, upper), "margin": margin, "sigmoid": sigmoid}
                assert lean.tolerance(value, **arguments) == reward_utils.tolerance(value, **arguments)
    assert lean.tolerance(0.5, bounds=(0, 0.1), margin=0, sigmoid="long_tail") == 0
    with pytest.raises(ValueError, match="non-negative"):
        lean.tolerance(0.5, bounds=(0, 0.1), margin=-1, sigmoid="long_tail")


def test_touching_equals_upstreams_where_both_pads_press():
    """The expert of pick-place grasps its puck; both answers occur."""
    ours = TASKS.get("pick-place-v3").make(True)
    expert = ENV_POLICY_MAP["pick-place-v3"]()
    upstream = ours._upstream
    puck = upstream._get_id_main_object()
    observation, _ = ours.reset(seed=0)
    answers = set()
    for _ in range(150):
        observation, *_ = ours.step(np.clip(expert.get_action(observation), -1, 1))
        answer = upstream.touching_object(puck)
        assert answer == SawyerXYZEnv.touching_object(upstream, puck)
        answers.add(bool(answer))
    assert answers == {True, False}
