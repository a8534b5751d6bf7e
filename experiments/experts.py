"""How often upstream's scripted experts solve each Meta-World task through our environments.

    python experiments/experts.py --output docs/experts.md

`warp_experts.py` compares the warp engine with the native one.

Expected: a mean of at least 97 % on either engine, less than one point apart, and no task below 70 %. It takes about
ten minutes on two cores. The experts read the goal from the observation and know the reset observation's faults.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from mtrl.envs.suites import MT50
from mtrl.goals import EachGoalOnce, GoalSet
from mtrl.scenes.warp.vector import WarpVectorEnv
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.contract import StepInfo, TaskVectorEnv


@dataclass(frozen=True)
class Episodes:
    """What an expert did, each episode on a goal of its own.

    Attributes:
        ever: Whether it succeeded at any step, `[goal]` bool.
        last: Whether it did at the last.
        returns: Sums of rewards, `[goal]`.
        observations: Before the first step and after each, `[1 + step, goal, obs]` float32.
        faults: Of the physics, by kind; an episode with one was cut short.
        peaks: The most of what the warp engine had to make room for.
    """

    ever: np.ndarray
    last: np.ndarray
    returns: np.ndarray
    observations: np.ndarray
    faults: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)

    def means(self) -> dict[str, float]:
        """Means over episodes: `any`, `end` and `return`."""
        return {"any": float(self.ever.mean()), "end": float(self.last.mean()), "return": float(self.returns.mean())}


def play(task: str, engine: str, episodes: int, goal_seed: int) -> Episodes:
    """Plays a task's expert, each episode on a goal of its own, all of them side by side.

    Args:
        task: Task, such as `reach-v3`.
        engine: `native`, `warp` or `official`.
        episodes: How many.
        goal_seed: Fixes the goals.
    """
    env, obs = _begun([task], engine, episodes, goal_seed)
    seen, rewards, successes = [obs.numpy()], [], []
    for reward, info in _steps(env, obs):
        seen.append(info["final_obs"].numpy())
        rewards.append(reward.numpy())
        successes.append(info["success"].numpy())
    outcome = np.any(successes, axis=0), successes[-1], np.sum(rewards, axis=0, dtype=float), np.stack(seen)
    peaks = env._engine.peaks()[0] if isinstance(env, WarpVectorEnv) else {}
    faults = _faults(env)
    env.close()
    return Episodes(*outcome, faults, {name: peak for name, peak in peaks.items() if isinstance(peak, int)})


def reach(
    tasks: Sequence[str],
    engine: str,
    episodes: int,
    goal_seed: int,
    settled: Callable[[np.ndarray], bool] = lambda _: False,
) -> tuple[np.ndarray, dict[str, int]]:
    """Plays the experts of several tasks side by side in one environment, for success alone.

    Args:
        tasks: Tasks.
        engine: See `play`.
        episodes: Of each task.
        goal_seed: Fixes the goals.
        settled: Told which goals have been reached so far, whether that is enough.

    Returns:
        Which goals were reached at any step, `[task, goal]` bool, and faults of the physics by kind.
    """
    env, obs = _begun(tasks, engine, episodes, goal_seed)
    reached = np.zeros((len(tasks), episodes), bool)
    for _, info in _steps(env, obs):
        reached |= info["success"].numpy().reshape(reached.shape)
        if settled(reached):
            break
    faults = _faults(env)
    env.close()
    return reached, faults


def _begun(tasks: Sequence[str], engine: str, episodes: int, goal_seed: int) -> tuple[TaskVectorEnv, torch.Tensor]:
    """An environment in which each goal is about to be played once, and its observations."""
    torch.set_num_threads(1)
    goals = GoalSet("experts", tuple(TASKS.get(task).sample_goals(episodes, goal_seed) for task in tasks))
    env = make_vector_env(tasks, goal_set=goals, slots_per_task=episodes, workers=1, engine=engine)
    schedule = EachGoalOnce(env.task_id.tolist(), [episodes] * len(tasks))
    return env, env.reset(options={"schedule": schedule})[0]


def _steps(env: TaskVectorEnv, obs: torch.Tensor) -> Iterator[tuple[torch.Tensor, StepInfo]]:
    """Reward and info of each step of the experts, to the end of the episodes."""
    from metaworld.policies import ENV_POLICY_MAP

    warnings.filterwarnings("ignore", "Constant.s. may be too high")  # of the experts, whose actions are clipped here
    experts = [ENV_POLICY_MAP[env.tasks[task].name]() for task in env.task_id.tolist()]
    for _ in range(env.tasks[0].horizon):
        rows = [expert.get_action(row) for expert, row in zip(experts, obs.double().numpy(), strict=True)]
        obs, reward, _, _, info = env.step(torch.from_numpy(np.clip(rows, -1, 1).astype(np.float32)))
        yield reward, info


def _faults(env: TaskVectorEnv) -> dict[str, int]:
    if isinstance(env, WarpVectorEnv):
        return env.fault_reasons
    failed = int(env.faults.sum())
    return {"failed physics": failed} if failed else {}


def _play(job: tuple[str, str, int, int]) -> tuple[str, str, dict[str, float]]:
    return job[0], job[1], play(*job).means()


def play_all(
    tasks: Sequence[str], engines: Sequence[str], episodes: int, goal_seed: int, processes: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Plays the experts of several tasks in parallel; engine to task to means over episodes."""
    jobs = [(task, engine, episodes, goal_seed) for task in tasks for engine in engines]
    results: dict[str, dict[str, dict[str, float]]] = {engine: {} for engine in engines}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for task, engine, result in pool.imap(_play, jobs):
            results[engine][task] = result
            line = f"any {result['any']:6.1%}  end {result['end']:6.1%}  return {result['return']:7.1f}"
            print(f"{task:32s} {engine:8s} {line}", flush=True)
    return results


def means(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over tasks."""
    return {key: float(np.mean([result[key] for result in results.values()])) for key in ("any", "end", "return")}


def page(results: dict[str, dict[str, dict[str, float]]], episodes: int, goal_seed: int) -> str:
    """The results as a Markdown page."""
    engines, packages = list(results), ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    tasks = list(results[engines[0]])
    options = "" if episodes == EPISODES else f" --episodes {episodes}"
    options += "" if tuple(engines) == ENGINES else f" --engines {' '.join(engines)}"
    lines = [
        "# Scripted experts",
        "",
        "Upstream's scripted policies, played through our environments: the goal visible, actions clipped to [-1, 1],",
        f"{episodes} episodes a task, each on a goal of its own, {len(tasks)} tasks, the same goals on each engine.",
        "*any* is success at any step of an episode, *end* success at its last (the experts do not try to hold on).",
        "`official` runs upstream's own classes, `native` our definitions. The experts see observations in single",
        "precision. The warp engine beside the native one: [warp-experts.md](warp-experts.md).",
        "",
        f"Command: `python experiments/experts.py --output docs/experts.md{options}`. Goal seed {goal_seed}, commit",
        f"{_commit()}, Python {sys.version.split()[0]}, {packages}.",
        "",
    ]
    for engine in engines:
        mean, worst = means(results[engine]), min(tasks, key=lambda task: results[engine][task]["any"])
        lines.append(
            f"- **{engine}: mean {mean['any']:.1%} (any), {mean['end']:.1%} (end); worst task {worst}, "
            f"{results[engine][worst]['any']:.0%}.**"
        )
    heads = [f"{engine}: {column}" for engine in engines for column in ("any", "end", "return")]
    lines += ["", f"| task | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for task in tasks:
        rows = (results[engine][task] for engine in engines)
        cells = [f"{row['any']:.0%} | {row['end']:.0%} | {row['return']:.0f}" for row in rows]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _commit() -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


EPISODES = 50
ENGINES = ("native", "official")
PACKAGES = ("metaworld", "mujoco", "gymnasium", "numpy")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="episodes a task")
    parser.add_argument("--engines", nargs="+", default=ENGINES, help="engines to play on")
    parser.add_argument("--goal-seed", type=int, default=0, help="fixes the goals")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="tasks played at once")
    parser.add_argument("--output", type=Path, help="write a Markdown page there")
    arguments = parser.parse_args()
    results = play_all(MT50, arguments.engines, arguments.episodes, arguments.goal_seed, arguments.processes)
    print(json.dumps({f"mean success, {engine}": means(rows)["any"] for engine, rows in results.items()}))
    if arguments.output:
        arguments.output.write_text(page(results, arguments.episodes, arguments.goal_seed))


if __name__ == "__main__":
    main()
