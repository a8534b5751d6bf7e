"""How often upstream's scripted experts solve each Meta-World task through our environments.

    python experiments/experts.py --output docs/experts.md

Expected: a mean of at least 97 %, no task below 70 %. It takes about two minutes on two cores. The experts read the
goal from the observation and know the reset observation's faults, so that this holds the wrapper against upstream.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

import mtrl.envs  # noqa: F401 - registers the tasks
from mtrl.tasks import TASKS


def play(task: str, episodes: int, goal_seed: int) -> dict[str, float]:
    """Plays a task's expert, each episode on a goal of its own.

    Args:
        task: Task, such as `reach-v3`.
        episodes: How many.
        goal_seed: Fixes the goals.

    Returns:
        Means over episodes: `any` and `end` (success at any step, and at the last), `return`.
    """
    from metaworld.policies import ENV_POLICY_MAP

    definition = TASKS.get(task)
    environment = definition.make(True)
    outcomes = []
    for goal in definition.sample_goals(episodes, goal_seed):
        expert = ENV_POLICY_MAP[task]()
        observation, _ = environment.reset(options={"goal": goal})
        rewards, successes, truncated = [], [], False
        while not truncated:
            action = np.clip(expert.get_action(observation), -1, 1)
            observation, reward, _, truncated, info = environment.step(action)
            rewards.append(reward)
            successes.append(float(info["success"]))
        outcomes.append((max(successes), successes[-1], sum(rewards)))
    environment.close()
    means = np.mean(outcomes, axis=0)
    return {"any": float(means[0]), "end": float(means[1]), "return": float(means[2])}


def _play(job: tuple[str, int, int]) -> tuple[str, dict[str, float]]:
    return job[0], play(*job)


def play_all(tasks: Sequence[str], episodes: int, goal_seed: int, processes: int) -> dict[str, dict[str, float]]:
    """Plays the experts of several tasks in parallel; see `play`."""
    jobs = [(task, episodes, goal_seed) for task in tasks]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        results: dict[str, dict[str, float]] = {}
        for task, result in pool.imap(_play, jobs):
            results[task] = result
            print(f"{task:32s} any {result['any']:6.1%}  end {result['end']:6.1%}  return {result['return']:7.1f}")
    return results


def page(results: dict[str, dict[str, float]], episodes: int, goal_seed: int) -> str:
    """The results as a Markdown page."""
    mean = {key: np.mean([result[key] for result in results.values()]) for key in ("any", "end", "return")}
    worst = min(results, key=lambda task: results[task]["any"])
    packages = ", ".join(f"{name} {version(name)}" for name in ("metaworld", "mujoco", "gymnasium", "numpy"))
    lines = [
        "# Scripted experts",
        "",
        "Upstream's scripted policies, played through our environments: the goal visible, actions clipped to [-1, 1],",
        f"{episodes} episodes a task, each on a goal of its own, {len(results)} tasks. *any* is success at any step of",
        "an episode, *end* success at its last step (the experts do not try to hold on).",
        "",
        "Command: `python experiments/experts.py --output docs/experts.md"
        + (f" --episodes {episodes}" if episodes != EPISODES else "")
        + f"`. Goal seed {goal_seed}, commit {_commit()}, Python {sys.version.split()[0]}, {packages}.",
        "",
        f"**Mean {mean['any']:.1%} (any), {mean['end']:.1%} (end); worst task {worst}, {results[worst]['any']:.0%}.**",
        "",
        "| task | any | end | mean return |",
        "|---|---|---|---|",
    ]
    lines += [f"| {task} | {r['any']:.0%} | {r['end']:.0%} | {r['return']:.0f} |" for task, r in results.items()]
    return "\n".join(lines) + "\n"


def _commit() -> str:
    folder = Path(__file__).parent
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


EPISODES = 10


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=EPISODES, help="episodes a task")
    parser.add_argument("--goal-seed", type=int, default=0, help="fixes the goals")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="tasks played at once")
    parser.add_argument("--output", type=Path, help="write a Markdown page there")
    arguments = parser.parse_args()
    tasks = [task for task in TASKS if TASKS.get(task).engine == "official"]
    results = play_all(tasks, arguments.episodes, arguments.goal_seed, arguments.processes)
    print(json.dumps({"mean success": float(np.mean([result["any"] for result in results.values()]))}))
    if arguments.output:
        arguments.output.write_text(page(results, arguments.episodes, arguments.goal_seed))


if __name__ == "__main__":
    main()
