"""Run folders made of numbers, in the form that training leaves them, for tests of what reads them."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MT3 = ("reach-v3", "window-close-v3", "drawer-open-v3")
MT10 = (
    "reach-v3", "push-v3", "pick-place-v3", "door-open-v3", "drawer-open-v3",
    "drawer-close-v3", "button-press-topdown-v3", "peg-insert-side-v3", "window-open-v3", "window-close-v3",
)  # fmt: skip
VERSIONS = {"python": "3.11.9", "mtrl": "0.1.0", "torch": "2.13.0", "mujoco": "4.0.1", "metaworld": "3.0.0"}


@dataclass(frozen=True)
class Spec:
    """One run: `skill` is how good the agent ends up (logit of its success on a middling task)."""

    suite: str = "MT3"
    tasks: tuple[str, ...] = MT3
    agent: str = "mtmhsac"
    seed: int = 0
    skill: float = 1.5
    steps: int = 2_000_000
    points: int = 8
    goals: int = 50
    goal_seed: int = 42
    finished: bool = True
    heldout: bool = False
    adapting: int = 0
    """Episodes of a trial before the one that counts; success grows evenly over a trial."""
    algorithm: dict[str, Any] = field(
        default_factory=lambda: {"actor_lr": 3e-4, "critic_lr": 3e-4, "layers": [400] * 3}
    )
    versions: dict[str, str] = field(default_factory=lambda: dict(VERSIONS))
    folder: str = ""


def write_run(root: Path, spec: Spec) -> Path:
    """Writes a trained run and returns its folder."""
    folder = root / (spec.folder or f"{spec.suite}/{spec.agent}/seed-{spec.seed}")
    folder.mkdir(parents=True)
    write_config(folder, spec)
    generator = np.random.default_rng([spec.seed, len(spec.agent), len(spec.tasks)])
    ease = np.linspace(-1.5, 1.5, len(spec.tasks)) + generator.normal(0, 0.5, len(spec.tasks))
    last = spec.points if spec.finished else spec.points // 2
    lines = [
        evaluation(spec, generator, ease, point / spec.points, final=False, goals=10) for point in range(1, last + 1)
    ]
    if spec.finished:
        lines.append(evaluation(spec, generator, ease, 1.0, final=True, goals=spec.goals))
        if spec.heldout:
            lines.append(evaluation(spec, generator, ease - 0.5, 1.0, final=True, goals=spec.goals, goal_set="heldout"))
        spent = {"setup_s": 2.5, "wall_s": lines[-1]["wall_s"], "evaluation_s": 31.0}
        (folder / "DONE").write_text(json.dumps({"summary": lines[-1]["summary"], **spent}))
    write_lines(folder / "eval.jsonl", lines)
    write_lines(folder / "metrics.jsonl", metrics(spec, generator, ease, last / spec.points))
    return folder


def write_floor(root: Path, spec: Spec, rate: float) -> Path:
    """Writes the evaluation of a fixed policy that succeeds with that rate, and returns its folder."""
    folder = root / (spec.folder or f"{spec.suite}/{spec.agent}/seed-{spec.seed}")
    folder.mkdir(parents=True)
    write_config(folder, spec)
    generator = np.random.default_rng(spec.seed)
    ease = np.full(len(spec.tasks), np.log(rate / (1 - rate)) - spec.skill)
    line = evaluation(spec, generator, ease, 1.0, final=True, goals=spec.goals)
    write_lines(folder / "eval.jsonl", [line | {"steps_per_task": 0, "env_step": 0, "wall_s": 0.0}])
    return folder


def write_config(folder: Path, spec: Spec) -> None:
    """Writes `config.json`."""
    config = {
        "suite": spec.suite, "agent": spec.agent, "steps_per_task": spec.steps, "seed": spec.seed,
        "goal_seed": spec.goal_seed, "engine": "auto", "slots_per_task": 1, "workers": 0, "device": "auto",
        "warmup_steps": 4000, "updates_per_step": 1.0, "run_folder": str(folder), "algorithm": spec.algorithm,
        "replay": {"capacity_per_task": 100_000}, "evaluation": {"every": 250_000, "goals": 10},
        "checkpoint": {"every": 20_000}, "tracking": {"wandb": "off"},
    }  # fmt: skip
    suite = {"name": spec.suite, "train_tasks": list(spec.tasks), "test_tasks": [], "goal_visible": True}
    record = {
        "config": config, "agent": spec.agent, "suite": {**suite, "goals_per_task": 50, "protocol": "A"},
        "versions": spec.versions, "commit": "0a89fda", "hardware": {"cpu": "EPYC", "cores": 8, "gpus": []},
        "parameters": {"actor": 334_000, "critics": 662_000}, "created": f"2026-11-21T10:00:{spec.seed:02d}",
        "command": ["mtrl", "train", spec.suite, "--agent", spec.agent],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(record, indent=1))


def evaluation(
    spec: Spec, generator: np.random.Generator, ease: np.ndarray, progress: float, *, final: bool, goals: int,
    goal_set: str = "train",
) -> dict[str, Any]:  # fmt: skip
    """One line of `eval.jsonl`."""
    episodes = []
    for task, name in enumerate(spec.tasks):
        rate = 1 / (1 + np.exp(-(spec.skill + ease[task] - 6 * (1 - progress) ** 2)))
        for goal, number in itertools.product(range(goals), range(spec.adapting + 1)):
            success = int(generator.random() < rate * (number + 1) / (spec.adapting + 1))
            end = int(success and generator.random() < 0.9)
            score = {"success_any": success, "success_end": end, "return": 4500.0 * rate, "length": 500}
            beside = {"number": number} if number else {}
            episodes.append({"task": name, "goal": goal, "slot": task, **score, **beside})
    steps = round(spec.steps * progress)
    protocol = "A-heldout" if goal_set == "heldout" else "A-eval"
    adapted = {"adapting": spec.adapting} if spec.adapting else {}
    protocol += f" after {spec.adapting} episodes" if spec.adapting else ""
    return {
        **adapted,
        "protocol": protocol, "final": final, "goals": goals, "env_step": steps * len(spec.tasks),
        "steps_per_task": steps, "updates": steps, "wall_s": steps * (0.004 + 0.0002 * (spec.seed % 5)),
        "goal_set": goal_set, "mode": True, "episodes": episodes, "summary": summary(episodes, spec.tasks),
        "label": f"{protocol}, {steps / 1e6:g} M steps/task",
    }  # fmt: skip


def summary(episodes: list[dict[str, Any]], tasks: tuple[str, ...]) -> dict[str, Any]:
    """The `summary` of some episodes."""
    names = ("success_any", "success_end", "return")
    per_task = {}
    for task in tasks:
        own = [episode for episode in episodes if episode["task"] == task]
        per_task[task] = {name: float(np.mean([e[name] for e in own])) for name in names} | {"episodes": len(own)}
    return {name: float(np.mean([per_task[task][name] for task in tasks])) for name in names} | {"per_task": per_task}


def metrics(spec: Spec, generator: np.random.Generator, ease: np.ndarray, until: float) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`; the first holds no finished episode, which is null."""
    lines = []
    for progress in np.linspace(0, until, 300):
        rates = 1 / (1 + np.exp(-(spec.skill - 0.5 + ease - 6 * (1 - progress) ** 2)))
        rates = np.clip(rates + generator.normal(0, 0.03, len(ease)), 0, 1)
        steps = round(spec.steps * progress)
        line: dict[str, Any] = {"env_step": steps * len(ease), "steps_per_task": steps, "updates": steps}
        line |= {"wall_s": steps * 0.0045, "train/success": float(rates.mean()) if progress else None}
        line |= {f"train/success/{task}": float(rates[i]) if progress else None for i, task in enumerate(spec.tasks)}
        lines.append(line)
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Writes a jsonl file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_zoo(root: Path) -> None:
    """Several suites and agents, with ten seeds and with three, floors, held-out goals and an unfinished run."""
    for seed in range(10):
        write_run(root, Spec(seed=seed, skill=2.2, heldout=seed < 6))
        write_run(root, Spec(agent="mtsac", seed=seed, skill=1.0))
    for seed in range(3):
        write_run(root, Spec(agent="quick", seed=seed, skill=1.6, algorithm={"actor_lr": 1e-3, "layers": [256, 256]}))
        write_run(root, Spec(suite="MT10", tasks=MT10, seed=seed, skill=0.8, finished=seed < 2))
        slow = {"actor_lr": 1e-4, "critic_lr": 3e-4, "layers": [400] * 3}
        write_run(root, Spec(suite="MT10", tasks=MT10, seed=seed, algorithm=slow, folder=f"MT10/slow/seed-{seed}"))
    write_run(root, Spec(seed=0, steps=500_000, folder="MT3/short/seed-0"))
    for suite, tasks in (("MT3", MT3), ("MT10", MT10)):
        for agent, rate in (("zero", 0.02), ("random", 0.08), ("repeat", 0.05)):
            write_floor(root, Spec(suite=suite, tasks=tasks, agent=agent), rate)
