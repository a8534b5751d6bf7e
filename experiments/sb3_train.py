"""Trains an agent of Stable-Baselines3 on a suite, with its own policy or a network of ours, and evaluates it here.

    python experiments/sb3_train.py MT3 --algorithm SAC --steps 100000
    python experiments/sb3_train.py MT3 --algorithm PPO --network moore --steps 300000

The model is saved beside the run, and the run stands on the dashboard beside all others: `mtrl compare runs`. Expected
time: SAC makes an update for every step of all worlds, about 10 minutes for 100,000 environment steps on one CPU core.
"""

import argparse
import sys
from pathlib import Path

import checkout  # noqa: F401 - makes mtrl importable
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import VecMonitor

import mtrl
import mtrl.sb3
from mtrl.agents.sb3_policies import TaskPPOPolicy, TaskSACPolicy
from mtrl.errors import UserError

POLICIES = {"PPO": TaskPPOPolicy, "SAC": TaskSACPolicy}


def train(arguments: argparse.Namespace, file: Path) -> None:
    """Trains a model and saves it."""
    inside = bool(arguments.network)
    task_input = "dict" if inside else "append_one_hot"
    env = VecMonitor(mtrl.sb3.make(arguments.suite, slots_per_task=arguments.slots, task_input=task_input))
    options = {"policy_kwargs": {"network": arguments.network}} if inside else {}
    policy = POLICIES[arguments.algorithm] if inside else "MlpPolicy"
    kind = getattr(stable_baselines3, arguments.algorithm)
    model = kind(policy, env, device="cpu", seed=arguments.seed, verbose=1, **options)
    model.learn(arguments.steps)
    file.parent.mkdir(parents=True, exist_ok=True)
    model.save(file)
    env.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", default="MT3")
    parser.add_argument("--algorithm", choices=sorted(POLICIES), default="PPO")
    parser.add_argument("--network", default="", help="a registered network; empty: Stable-Baselines3's own")
    parser.add_argument("--steps", type=int, default=100_000, help="environment steps over all tasks")
    parser.add_argument("--slots", type=int, default=8, help="worlds of each task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    label = "-".join(word for word in ("sb3", arguments.algorithm.lower(), arguments.network) if word)
    file = arguments.runs / "models" / f"{arguments.suite}-{label}-{arguments.seed}.zip"
    folder = arguments.runs / arguments.suite / label / f"seed-{arguments.seed}"
    try:
        train(arguments, file)
        model = {"model": str(file), "kind": arguments.algorithm, "label": label}
        mtrl.train(arguments.suite, "sb3", seed=arguments.seed, algorithm=model, run_folder=str(folder))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
