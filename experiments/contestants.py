# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false
# MuJoCo's bindings come without type stubs.
"""Whom experiments/bench_envs.py compares: functions that build what is timed."""

import copy
import functools
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import mujoco
import numpy as np
import torch

from mtrl.envs.metaworld.weld import write_weld
from mtrl.envs.suites import MT10, MT50
from mtrl.goals import GoalSet
from mtrl.scenes.bank import load_snapshots
from mtrl.scenes.scene import stripped_model
from mtrl.scenes.task import SceneTask
from mtrl.tasks import TASKS
from mtrl.types import State
from mtrl.vector.build import make_vector_env

SUITES = {"MT1": ("pick-place-v3",), "MT10": MT10, "MT50": MT50}
GOALS = 4
"""Goals a task, each with actions of its own, dealt over its worlds."""
STEPS = 150
"""Steps of an episode that are played; then all begin anew, which is not timed."""
FRAME_SKIP = 5
FEW = 8
"""Worlds a task up to which the rules are also measured compiled."""

Stepper = Callable[[str, int], int]
"""Plays a step of an episode with a kind of actions (step 0 begins anew, untimed); returns its number of env steps."""


@dataclass(frozen=True)
class Case:
    """What is timed, with both kinds of actions: two rows of the table."""

    suite: str
    worlds: int
    threads: int


KINDS = ("random", "expert")


class Actions:
    """Actions of every task and goal by kind, `[task, goal, step, 4]` float32: random ones, and the experts'.

    Args:
        tasks: Names.
        goals: The goals that the experts play.
    """

    def __init__(self, tasks: Sequence[str], goals: GoalSet) -> None:
        generator = np.random.default_rng(0)
        experts = [[_expert_actions(name, row) for row in goals.rows[task]] for task, name in enumerate(tasks)]
        self.tables = {
            "random": generator.uniform(-1, 1, (len(tasks), GOALS, STEPS, 4)).astype(np.float32),
            "expert": np.array(experts),
        }

    def at(self, kind: str, step: int, worlds: int) -> np.ndarray:
        """For so many worlds of each task, sorted by task, `[world, 4]`."""
        return self.tables[kind][:, np.arange(worlds) % GOALS, step].reshape(-1, 4)


def _expert_actions(name: str, goal: np.ndarray) -> np.ndarray:
    from metaworld.policies import ENV_POLICY_MAP

    env, expert, actions = TASKS.get(name).make(True), ENV_POLICY_MAP[name](), []
    observation, _ = env.reset(options={"goal": goal})
    for _ in range(STEPS):
        actions.append(np.clip(expert.get_action(observation.copy()), -1, 1).astype(np.float32))
        observation = env.step(actions[-1])[0]
    return np.stack(actions)


@dataclass
class OwnGoal:
    """Each world plays the goal for which its actions were made, again and again; see `mtrl.goals.GoalSchedule`."""

    worlds: int

    def first(self, slot: int) -> int:
        """The goal of that slot."""
        return slot % self.worlds % GOALS

    following = first

    def get_state(self) -> State:
        """Nothing changes."""
        return {}

    def set_state(self, state: State) -> None:
        """Nothing changes."""


def native(
    tasks: Sequence[str], case: Case, actions: Actions, goals: GoalSet, *, compiled_rules: bool = False
) -> Stepper:
    """Our vector environment, whole: physics, observations, rewards, episodes."""
    env = make_vector_env(tasks, goal_set=goals, slots_per_task=case.worlds, workers=case.threads, engine="native")
    if compiled_rules:
        env.compile()
    tables = {kind: [torch.from_numpy(actions.at(kind, step, case.worlds)) for step in range(STEPS)] for kind in KINDS}

    def play(kind: str, step: int) -> int:
        if step == 0:
            env.reset(options={"schedule": OwnGoal(case.worlds)})
            return 0
        env.step(tables[kind][step - 1])
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

    def play(kind: str, step: int) -> int:
        for task, env in enumerate(environments):
            if step == 0:
                env._last_rand_vec, env._freeze_rand_vec = goals.rows[task][0], True
                env.reset()
            else:
                env.step(actions.tables[kind][task, 0, step - 1])
        return len(tasks) if step else 0

    return play


class _Mended:
    """Upstream's weld, on current MuJoCo."""

    def reset_mocap_welds(self) -> None:
        """Writes it."""
        write_weld(self.model)  # type: ignore[attr-defined]


def bare(tasks: Sequence[str], case: Case, actions: Actions, goals: GoalSet) -> Stepper:
    """`mj_step` x5 and `mj_forward` on the stripped scenes, from the same starts, the hand sent the same way.

    Four worlds a task stand for all of them, since each has memory of its own.
    """
    scene_tasks = [TASKS.get(name).scene_task for name in tasks]
    starts = load_snapshots(scene_tasks, goals.rows)
    worlds = []
    for number, task in enumerate(scene_tasks):
        for goal in range(GOALS):
            model = copy.copy(stripped_model(task.scene))
            model.body_pos[:] = starts[number].body_pos[goal]
            worlds.append((model, mujoco.MjData(model), starts[number].state[goal]))
    targets = {kind: _hand_targets(scene_tasks, table) for kind, table in actions.tables.items()}
    shares = [share.tolist() for share in np.array_split(np.arange(len(worlds)), case.threads)]
    pool = ThreadPoolExecutor(case.threads)

    def run(share: list[int], kind: str, step: int) -> None:
        for world in share:
            model, data, start = worlds[world]
            if step == 0:
                mujoco.mj_setState(model, data, start, mujoco.mjtState.mjSTATE_INTEGRATION)
                continue
            place = (world // GOALS, world % GOALS, step - 1)
            effort = float(actions.tables[kind][place][3])
            data.mocap_pos[0] = targets[kind][place]
            data.ctrl[:] = (effort, -effort)
            mujoco.mj_step(model, data, nstep=FRAME_SKIP)
            mujoco.mj_forward(model, data)

    def play(kind: str, step: int) -> int:
        if case.threads == 1:
            run(shares[0], kind, step)
        else:
            list(pool.map(run, shares, [kind] * len(shares), [step] * len(shares)))
        return len(worlds) if step else 0

    return play


def _hand_targets(scene_tasks: Sequence[SceneTask], table: np.ndarray) -> np.ndarray:
    """Where the hand is sent in each step, `[task, goal, step, 3]`."""
    targets = np.zeros((*table.shape[:3], 3))
    for number, task in enumerate(scene_tasks):
        low, high = (np.array(task.constants[name]) for name in ("hand_low", "hand_high"))
        place = np.tile(task.start.args[0], (GOALS, 1))
        for step in range(STEPS):
            place = np.clip(place + table[number, :, step, :3] * np.float32(0.01), low, high)
            targets[number, :, step] = place
    return targets


def envpool(task: str, case: Case, actions: Actions) -> Stepper:
    """EnvPool's environment of one task of the suite; it draws its own goals.

    One task at a time, since each of its worlds takes about 18 MB.

    Raises:
        ModuleNotFoundError: EnvPool is not installed.
    """
    import envpool as package  # pyright: ignore[reportMissingImports] - an extra

    words = task.removesuffix("-v3").split("-")
    pool = package.make_gymnasium(
        "MetaWorld/" + "".join(word.capitalize() for word in words) + "-v3",
        num_envs=case.worlds,
        batch_size=case.worlds,
        num_threads=case.threads,
        seed=0,
        partially_observable=False,
    )
    number = SUITES[case.suite].index(task)
    tables = {kind: table[number, np.arange(case.worlds) % GOALS] for kind, table in actions.tables.items()}

    def play(kind: str, step: int) -> int:
        if step == 0:
            pool.reset()
            return 0
        pool.step(tables[kind][:, step - 1])
        return case.worlds

    return play


CONTESTANTS: dict[str, Callable[[Sequence[str], Case, Actions, GoalSet], Stepper]] = {
    "native": native,
    "upstream": upstream,
    "bare": bare,
}
"""Those that play all tasks of a suite at once."""


def contestants_of(case: Case) -> dict[str, Callable[[Sequence[str], Case, Actions, GoalSet], Stepper]]:
    """They, and ours compiled where that matters and a compiler is there."""
    if case.threads > 1 or case.worlds > FEW or shutil.which("g++") is None:
        return CONTESTANTS
    return {**CONTESTANTS, "compiled": functools.partial(native, compiled_rules=True)}
