"""Records what metaworld 3.1.1 does on MuJoCo 3.3.0, its own choice: files by which later versions are judged.

Needs an environment of its own, since this package needs a later MuJoCo:

    python3.11 -m venv oracle
    oracle/bin/pip install metaworld==3.1.1 mujoco==3.3.0 packaging
    python tests/golden/list_views.py
    oracle/bin/python tests/golden/make_golden.py

`list_views.py`, which runs in this package's environment, writes `views.json`: what our tasks read of a simulation.

Of every task, `EPISODES` goals are drawn from its own distribution; the first is played by the expert, the second by
the expert with noise, the third at random. The goal is visible, rewards are version 2.

`metaworld-3.1.1.npz`, by task in the order of `tasks`:
    goals     [task, episode, goal], upstream's rand_vec; NaN beyond `goal_widths` numbers
    resets    [task, episode, 39], observations of the reset
    actions   [task, episode, step, 4]
    frames    [task, episode, step, 18] float32, the current part of each observation
    rewards   [task, episode, step]
    successes [task, episode, step]

`states-3.1.1.npz`, single states of longer episodes, for rules that are fed with them, and no physics:
    actions   [task, row, 4]
    outcomes  [task, row, 7]: reward, success and `INFO`, for the action in double precision
    rows/NAME [row, 39 + views]: the observation, then the views in the order of `views.json`
    reset/NAME [episode, 39 + views]: the same at the reset
    start/NAME [episode, pause, 2 nq + nv]: whenever upstream's reset pauses after physics steps, qpos before the last
              of them (of which everything computed is), then qpos and qvel after it
`episodes` and `steps` say of each row where it comes from.

How far versions of MuJoCo are from each other is seen where the same upstream plays the same goals and actions on later
ones: 3.16.0, the last that it runs on unchanged, and 3.17.0, where its weld needs mending:

    python3.11 -m venv later
    later/bin/pip install mujoco==3.16.0 gymnasium scipy imageio packaging
    later/bin/pip install --no-deps metaworld==3.1.1
    later/bin/python tests/golden/make_golden.py --replay
    later/bin/pip install mujoco==3.17.0
    later/bin/python tests/golden/make_golden.py --replay

They write `replayed-mujoco-VERSION.npz`: `resets`, `rewards`, `successes` and `versions` as above, and `frames` after
the steps `AFTER`. Installing them, pip warns that metaworld asks for 3.3.0.
"""

import argparse
import contextlib
import json
import zlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import mujoco
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerMocapBase

HERE = Path(__file__).parent
EPISODES = 3
"""Goals a task; also the kinds of players."""
STEPS = 100
"""Steps whose frames, rewards and successes are kept."""
AFTER = (1, 10, 100)
"""Steps after which a replay keeps frames."""
STATES = (0, 1, 2, *range(14, 251, 12))
"""Steps whose states are kept; the first three follow each other, as latches and earlier frames need."""
INFO = ("near_object", "grasp_success", "grasp_reward", "in_place_reward", "obj_to_target")
PAD_GEOMS = {"left_force": "leftpad_geom", "right_force": "rightpad_geom"}
SEED = 311


def mend_weld(env) -> None:
    """Upstream's eleven numbers of the weld, where MuJoCo has twelve."""
    welds = env.model.eq_type == mujoco.mjtEq.mjEQ_WELD
    env.model.eq_data[welds] = [0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5, 0]


def make(name: str):
    """Upstream's environment with the goal visible."""
    if mujoco.mjNEQDATA == 12:
        SawyerMocapBase.reset_mocap_welds = mend_weld
    env = ALL_V3_ENVIRONMENTS[name]()
    env._set_task_called = True
    env._partially_observable = False
    env.__dict__.pop("sawyer_observation_space", None)  # cached with the goal's bounds at zero
    return env


def draw_goals(env, name: str) -> np.ndarray:
    """Goals `[episode, goal]` as upstream's own reset draws and rejects them."""
    np.random.seed([SEED, zlib.crc32(name.encode())])  # upstream draws from NumPy's global generator
    env._freeze_rand_vec = False
    rows = []
    for _ in range(EPISODES):
        env.reset()
        rows.append(env._last_rand_vec.copy())
    env._freeze_rand_vec = True
    return np.array(rows)


@contextlib.contextmanager
def recorded_pauses(env) -> Iterator[list[np.ndarray]]:
    """Within it, a reset fills the list with the state whenever it pauses after physics steps."""
    pauses: list[np.ndarray] = []
    step, reset_hand = mujoco.mj_step, env._reset_hand

    def recorded_step(model, data, nstep=1):
        for _ in range(nstep):
            before = data.qpos.copy()
            step(model, data)
            pauses[-1:] = [np.concatenate((before, data.qpos, data.qvel))]

    def recorded_reset_hand(*arguments, **keywords):
        pauses[:] = [np.zeros(0)]  # anew: a reset runs twice
        reset_hand(*arguments, **keywords)
        pauses.append(np.zeros(0))  # for steps that the task itself takes

    mujoco.mj_step, env._reset_hand = recorded_step, recorded_reset_hand
    try:
        yield pauses
    finally:
        mujoco.mj_step = step
        del env._reset_hand
        pauses[:] = [pause for pause in pauses if len(pause)]


def pad_force(env, pad: str) -> float:
    """Upstream's own sum of the normal forces between a pad and the main object."""
    pair = {env.data.geom(pad).id, env._get_id_main_object()}
    contacts = [contact for contact in env.data.contact if {contact.geom1, contact.geom2} == pair]
    return float(sum(env.data.efc_force[contact.efc_address] for contact in contacts))


def read_view(env, name: str, field: str, owner: str, width: int) -> np.ndarray:
    """`[width]` numbers of the simulation."""
    if name in PAD_GEOMS:
        return np.array([pad_force(env, PAD_GEOMS[name])])
    kind = {"site_xpos": "site", "site_xmat": "site", "geom_xpos": "geom", "geom_xmat": "geom"}.get(field)
    if field in ("qpos", "qvel"):
        kind = "joint"
    part = getattr(env.data, kind or "body")(owner)
    return np.array(getattr(part, field.split("_")[-1])).reshape(-1)[:width]


def play(name: str, views: dict[str, tuple[str, str, int]]) -> dict[str, np.ndarray]:
    """Everything that is kept of a task."""
    env, generator = make(name), np.random.default_rng([SEED, zlib.crc32(name.encode())])
    goals = draw_goals(env, name)
    kept: dict[str, list] = {key: [] for key in ("resets", "actions", "frames", "rewards", "successes")}
    states: dict[str, list] = {key: [] for key in ("actions", "outcomes", "rows", "reset", "start")}

    def state(observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, *(read_view(env, view, *place) for view, place in views.items())])

    for kind, goal in enumerate(goals):
        expert = ENV_POLICY_MAP[name]()
        env._last_rand_vec = goal.copy()
        with recorded_pauses(env) as pauses:
            observation, _ = env.reset()
        states["start"].append(np.array(pauses))
        kept["resets"].append(observation)
        states["reset"].append(state(observation))
        episode = []
        for step in range(max(STATES) + 1):
            action = action_of(expert, observation, kind, generator)
            observation, reward, _, _, info = env.step(action)
            episode.append((action, observation[:18], reward, info["success"]))
            if step in STATES:
                # Upstream computes in the precision of the action; judged once more, it is double precision throughout.
                reward, info = env.evaluate_state(observation, action.astype(np.float64))
                states["actions"].append(action)
                states["outcomes"].append([reward, info["success"], *(info[key] for key in INFO)])
                states["rows"].append(state(observation))
        for key, values in zip(("actions", "frames", "rewards", "successes"), zip(*episode, strict=True), strict=True):
            kept[key].append(np.array(values[:STEPS]))
    env.close()
    arrays = {"goals": goals, **{key: np.array(rows) for key, rows in kept.items()}}
    return arrays | {f"states/{key}": np.array(rows) for key, rows in states.items()}


def action_of(expert, observation: np.ndarray, kind: int, generator: np.random.Generator) -> np.ndarray:
    """Of the expert (0), the expert with noise (1), or random (2), `[4]` float32; some lie outside [-1, 1]."""
    if kind == 2:
        return generator.uniform(-1.2, 1.2, 4).astype(np.float32)
    # Some experts write into what they are given.
    action = np.clip(expert.get_action(observation.copy()), -1, 1) + generator.normal(0, 0.4, 4) * (kind == 1)
    return action.astype(np.float32)


def replay(output: Path) -> None:
    """Plays the recorded goals by the recorded actions, and writes what comes of it."""
    with np.load(HERE / "metaworld-3.1.1.npz") as file:
        names, goals, widths, actions = (file[key] for key in ("tasks", "goals", "goal_widths", "actions"))
    tables: dict[str, list] = {key: [] for key in ("resets", "frames", "rewards", "successes")}
    for name, rows, width, task_actions in zip(names.tolist(), goals, widths, actions, strict=True):
        env, resets, results = make(name), [], []
        for goal, episode in zip(rows[:, :width], task_actions, strict=True):
            env._last_rand_vec = goal.copy()
            resets.append(env.reset()[0])
            results.append([env.step(action) for action in episode])
        env.close()
        tables["resets"].append(resets)
        tables["frames"].append([[row[step - 1][0][:18] for step in AFTER] for row in results])
        tables["rewards"].append([[result[1] for result in row] for row in results])
        tables["successes"].append([[result[4]["success"] for result in row] for row in results])
    kinds = {"resets": np.float64, "frames": np.float32, "rewards": np.float64, "successes": np.bool_}
    arrays = {key: np.array(tables[key], dtype) for key, dtype in kinds.items()}
    np.savez_compressed(output / f"replayed-mujoco-{mujoco.__version__}.npz", versions=versions(), **arrays)


def versions() -> np.ndarray:
    """Of what takes part."""
    return np.array([f"{package} {version(package)}" for package in ("metaworld", "mujoco", "numpy", "scipy")])


def record(output: Path) -> None:
    """Writes both files of the oracle."""
    views = json.loads((HERE / "views.json").read_text())
    names = sorted(ALL_V3_ENVIRONMENTS)
    played = {}
    for name in names:
        played[name] = play(name, views.get(name, {}))
        print(name, flush=True)
    widths = [played[name]["goals"].shape[1] for name in names]
    goals = np.full((len(names), EPISODES, max(widths)), np.nan)
    for row, name, width in zip(goals, names, widths, strict=True):
        row[:, :width] = played[name]["goals"]

    def stacked(key: str, dtype: type) -> np.ndarray:
        return np.array([played[name][key] for name in names], dtype)

    np.savez_compressed(
        output / "metaworld-3.1.1.npz",
        versions=versions(),
        tasks=np.array(names),
        goals=goals,
        goal_widths=np.array(widths),
        resets=stacked("resets", np.float64),
        actions=stacked("actions", np.float32),
        frames=stacked("frames", np.float32),
        rewards=stacked("rewards", np.float64),
        successes=stacked("successes", np.bool_),
    )
    np.savez_compressed(
        output / "states-3.1.1.npz",
        versions=versions(),
        tasks=np.array(names),
        episodes=np.repeat(np.arange(EPISODES), len(STATES)),
        steps=np.tile(STATES, EPISODES),
        actions=stacked("states/actions", np.float32),
        outcomes=stacked("states/outcomes", np.float64),
        **{f"{key}/{name}": played[name][f"states/{key}"] for name in names for key in ("rows", "reset", "start")},
    )


def main() -> None:
    """Records, or replays."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument("--replay", action="store_true", help="play again what is recorded, on another MuJoCo")
    arguments = parser.parse_args()
    (replay if arguments.replay else record)(arguments.output)


if __name__ == "__main__":
    main()
