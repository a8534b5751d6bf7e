"""Whom experiments/bench_envs.py compares: functions that build what is timed."""

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from mtrl.envs.suites import MT10, MT50
from mtrl.goals import EachGoalOnce, GoalSet
from mtrl.scenes.bank import load_snapshots
from mtrl.scenes.scene import compiled
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env

SUITES = {"MT1": ("pick-place-v3",), "MT10": MT10, "MT50": MT50}
GOALS = 4
"""Goals a task, each with actions of its own, dealt over its worlds."""
STEPS = 150
"""Steps of an episode that are played; then all begin anew, which is not timed."""
FRAME_SKIP = 5

Stepper = Callable[[int], int]
"""Plays the step of that number in an episode (0 begins anew, untimed); returns how many env steps it was."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    suite: str
    worlds: int
    threads: int
    actions: str


class Actions:
    """Actions of every task and goal, `[task, goal, step, 4]` float32: random ones, or an expert's.

    Args:
        tasks: Names.
        kind: `random` or `expert`.
        goals: The goals that the experts play.
    """

    def __init__(self, tasks: Sequence[str], kind: str, goals: GoalSet) -> None:
        generator = np.random.default_rng(0)
        shape = (len(tasks), GOALS, STEPS, 4)
        self.table = generator.uniform(-1, 1, shape).astype(np.float32)
        if kind == "expert":
            for task, name in enumerate(tasks):
                for goal, row in enumerate(goals.rows[task]):
                    self.table[task, goal] = _expert_actions(name, row)

    def at(self, step: int, worlds: int) -> np.ndarray:
        """For so many worlds of each task, sorted by task, `[world, 4]`."""
        return self.table[:, np.arange(worlds) % GOALS, step].reshape(-1, 4)


def _expert_actions(name: str, goal: np.ndarray) -> np.ndarray:
    from metaworld.policies import ENV_POLICY_MAP

    env, expert, actions = TASKS.get(name).make(True), ENV_POLICY_MAP[name](), []
    observation, _ = env.reset(options={"goal": goal})
    for _ in range(STEPS):
        actions.append(np.clip(expert.get_action(observation.copy()), -1, 1).astype(np.float32))
        observation = env.step(actions[-1])[0]
    return np.stack(actions)


def native(tasks: Sequence[str], case: Case, actions: Actions, goals: GoalSet) -> Stepper:
    """Our vector environment, whole: physics, observations, rewards, episodes."""
    env = make_vector_env(tasks, goal_set=goals, slots_per_task=case.worlds, workers=case.threads, engine="native")
    queues = EachGoalOnce(env.task_id.tolist(), goals.counts)
    queues._queues = {slot: [slot % case.worlds % GOALS] * 2 for slot in range(env.num_envs)}
    tables = [torch.from_numpy(actions.at(step, case.worlds)) for step in range(STEPS)]

    def play(step: int) -> int:
        if step == 0:
            env.reset(options={"schedule": queues})
            return 0
        env.step(tables[step - 1])
        return env.num_envs

    return play


def upstream(tasks: Sequence[str], case: Case, actions: Actions, goals: GoalSet) -> Stepper:
    """Upstream's classes in a plain loop, the weld mended; one environment a task stands for all its worlds."""
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    environments = []
    for name in tasks:
        environments.append(type("Upstream", (_Mended, ALL_V3_ENVIRONMENTS[name]), {})())
        environments[-1]._set_task_called, environments[-1]._partially_observable = True, False
        del environments[-1].sawyer_observation_space

    def play(step: int) -> int:
        for task, env in enumerate(environments):
            if step == 0:
                env._last_rand_vec, env._freeze_rand_vec = goals.rows[task][0], True
                env.reset()
            else:
                env.step(actions.table[task, 0, step - 1])
        return len(tasks) if step else 0

    return play


class _Mended:
    """Upstream's 11 weld numbers where MuJoCo has 12."""

    def reset_mocap_welds(self) -> None:
        """Writes them."""
        welds = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD  # type: ignore[attr-defined]
        self.model.eq_data[welds] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5, 0]  # type: ignore[attr-defined]


def bare(tasks: Sequence[str], case: Case, actions: Actions, goals: GoalSet) -> Stepper:
    """`mj_step` x5 and `mj_forward` on the stripped scenes, from the same starts, the hand sent the same way."""
    scene_tasks = [TASKS.get(name).scene_task for name in tasks]
    starts = load_snapshots(scene_tasks, goals.rows)
    worlds = []
    for number, task in enumerate(scene_tasks):
        models = [copy.copy(compiled(task.scene)) for _ in range(GOALS)]
        for goal, model in enumerate(models):
            model.body_pos[:] = starts[number].body_pos[goal]
        worlds += [(models[w % GOALS], starts[number], w % GOALS, mujoco.MjData(models[0])) for w in range(case.worlds)]
    shares = [share.tolist() for share in np.array_split(np.arange(len(worlds)), case.threads)]
    pool = ThreadPoolExecutor(case.threads)
    targets = _hand_targets(scene_tasks, actions)

    def run(share: list[int], step: int) -> None:
        for world in share:
            model, snapshots, goal, data = worlds[world]
            if step == 0:
                mujoco.mj_setState(model, data, snapshots.state[goal], mujoco.mjtState.mjSTATE_INTEGRATION)
                continue
            task = world // case.worlds
            effort = float(actions.table[task, goal, step - 1, 3])
            data.mocap_pos[0] = targets[task, goal, step - 1]
            data.ctrl[:] = (effort, -effort)
            mujoco.mj_step(model, data, nstep=FRAME_SKIP)
            mujoco.mj_forward(model, data)

    def play(step: int) -> int:
        if case.threads == 1:
            run(shares[0], step)
        else:
            list(pool.map(run, shares, [step] * len(shares)))
        return len(worlds) if step else 0

    return play


def _hand_targets(scene_tasks: Sequence, actions: Actions) -> np.ndarray:
    """Where the hand is sent in each step, `[task, goal, step, 3]`."""
    targets = np.zeros((*actions.table.shape[:3], 3))
    for number, task in enumerate(scene_tasks):
        low, high = (np.array(task.constants[name]) for name in ("hand_low", "hand_high"))
        place = np.tile(task.start.args[0], (GOALS, 1))
        for step in range(STEPS):
            place = np.clip(place + actions.table[number, :, step, :3] * np.float32(0.01), low, high)
            targets[number, :, step] = place
    return targets


def envpool(tasks: Sequence[str], case: Case, actions: Actions, goals: GoalSet) -> Stepper:
    """EnvPool's Meta-World: a pool a task, stepped one after another; it draws its own goals."""
    import envpool as package

    pools = [
        package.make_gymnasium(_envpool_id(name), num_envs=case.worlds, num_threads=case.threads, seed=0)
        for name in tasks
    ]
    tables = actions.table[:, np.arange(case.worlds) % GOALS]

    def play(step: int) -> int:
        for task, pool in enumerate(pools):
            if step == 0:
                pool.reset()
            else:
                pool.step(tables[task, :, step - 1])
        return len(pools) * case.worlds if step else 0

    return play


def _envpool_id(name: str) -> str:
    words = name.removesuffix("-v3").split("-")
    return "MetaWorld/" + "".join(word.capitalize() for word in words) + "-v3"


CONTESTANTS: dict[str, Callable[[Sequence[str], Case, Actions, GoalSet], Stepper]] = {
    "native": native,
    "upstream": upstream,
    "envpool": envpool,
    "bare": bare,
}
