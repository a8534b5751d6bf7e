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
from collections.abc import Sequence
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
    from metaworld.policies import ENV_POLICY_MAP

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Constant.s. may be too high")  # of the experts, whose actions are clipped here
    goals = GoalSet("experts", (TASKS.get(task).sample_goals(episodes, goal_seed),))
    env = make_vector_env([task], goal_set=goals, slots_per_task=episodes, workers=1, engine=engine)
    obs, _ = env.reset(options={"schedule": EachGoalOnce([0] * episodes, [episodes])})
    experts = [ENV_POLICY_MAP[task]() for _ in range(episodes)]
    seen, rewards, successes = [obs.numpy()], [], []
    for _ in range(env.tasks[0].horizon):
        rows = [expert.get_action(row) for expert, row in zip(experts, obs.double().numpy(), strict=True)]
        obs, reward, _, _, info = env.step(torch.from_numpy(np.clip(rows, -1, 1).astype(np.float32)))
        seen.append(info["final_obs"].numpy())
        rewards.append(reward.numpy())
        successes.append(info["success"].numpy())
    outcome = np.any(successes, axis=0), successes[-1], np.sum(rewards, axis=0, dtype=float), np.stack(seen)
    failed = int(env.faults.sum())
    faults, peaks = {"failed physics": failed} if failed else {}, {}
    if isinstance(env, WarpVectorEnv):
        faults, peaks = env.fault_reasons, env._engine.peaks()[0]
    env.close()
    return Episodes(*outcome, faults, {name: peak for name, peak in peaks.items() if isinstance(peak, int)})


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
        "precision.",
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
