"""What learning to learn costs: trials beside plain episodes, and a batched meta-update beside a loop over worlds.

    python experiments/bench_meta.py

On the native engine: steps a second of the worlds of one task alone, and in trials, with the same actions in turn: one
step right after the other, and with a small policy that looks at every step, as where an agent acts. Then the outer
step of MAML over all its worlds in one batch, and the same computed world by world; and the gradient of RL2 through
short and long trials.
"""

import argparse
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable
from typing import cast

import checkout  # noqa: F401 - makes mtrl importable
import torch

from mtrl.agents.maml import MAML, Lesson
from mtrl.agents.maml_config import MAMLConfig
from mtrl.agents.rl2 import RL2
from mtrl.agents.rl2_config import RL2Config
from mtrl.algorithm import AGENTS, Problem
from mtrl.goals import ResampleGoals, make_goal_sets
from mtrl.tasks import TASKS
from mtrl.vector.build import make_vector_env
from mtrl.vector.contract import TaskVectorEnv
from mtrl.vector.trials import Trials, mask_in_trials

ROUNDS = 7
TURNS, STEPS = 51, 50
"""Of trials and plain episodes: many short turns, since physics get faster and slower with what the arms do."""


@torch.no_grad()
def steps_a_second(env: TaskVectorEnv, actions: torch.Tensor, look: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Of all worlds together, over one round in which `look` is called with what every step shows."""
    began = time.perf_counter()
    for action in actions:
        look(env.step(action)[0])
    return len(actions) * env.num_envs / (time.perf_counter() - began)


def compare_trials(task: str, worlds: int, episodes: int, acting: bool) -> tuple[float, float, float]:
    """Steps a second alone and in trials, and their ratio: medians over turns."""
    goals, _ = make_goal_sets([TASKS.get(task)], 50, 42)
    build = lambda: make_vector_env([task], goal_set=goals, slots_per_task=worlds, goal_visible=False)  # noqa: E731
    plain, trials = build(), Trials(build(), episodes)
    plain.reset(seed=0, options={"schedule": ResampleGoals([50] * worlds, 0, episodes)})
    trials.reset(seed=0)
    shape = (STEPS, worlds, plain.action_mask.shape[1])
    shown, activation = plain.obs_mask.shape[1], torch.nn.Tanh()
    policy = torch.nn.Sequential(torch.nn.Linear(shown, 256), activation, torch.nn.Linear(256, 256), activation)
    look = (lambda obs: policy(obs[:, :shown])) if acting else (lambda obs: obs)  # equally long for both
    found: dict[str, list[float]] = {"plain": [], "trials": []}
    for number in range(TURNS):
        actions = 2.0 * torch.rand(shape, generator=torch.Generator().manual_seed(number)) - 1.0
        turn = [("plain", plain), ("trials", trials)]
        for name, env in turn if number % 2 else reversed(turn):
            found[name].append(steps_a_second(env, actions, look))
    ratio = statistics.median(b / a for a, b in zip(found["plain"], found["trials"], strict=True))
    return statistics.median(found["plain"]), statistics.median(found["trials"]), ratio


def one_task(steps: int) -> Problem:
    """A task of Meta-World's sizes, in trials of one episode."""
    obs_mask, action_mask = torch.ones((1, 39), dtype=torch.bool), torch.ones((1, 4), dtype=torch.bool)
    seen = mask_in_trials(obs_mask, action_mask)
    return Problem(("task",), seen, action_mask, torch.device("cpu"), 0, trial_episodes=1, horizon=steps)


def compare_updates(worlds: int, steps: int) -> tuple[float, float]:
    """Seconds of the meta-gradient in one batch and in a loop over worlds, medians of rounds that take turns."""
    agent = MAML(MAMLConfig(), one_task(steps))
    generator = torch.Generator().manual_seed(0)
    inner, outer = (_lesson(worlds, steps, generator) for _ in range(2))

    def gradient(first: Lesson, second: Lesson) -> None:
        task_id = torch.zeros(len(first.obs), dtype=torch.int64)
        outputs = agent._after(agent._shared, first, second, task_id)
        torch.autograd.grad(agent._surrogate(outputs, second, task_id).mean(), list(agent._shared.values()))

    def loop() -> None:
        for world in range(worlds):
            gradient(*(Lesson(*(part[world : world + 1] for part in lesson)) for lesson in (inner, outer)))

    found: dict[str, list[float]] = {"batch": [], "loop": []}
    for _ in range(ROUNDS):
        for name, run in (("batch", lambda: gradient(inner, outer)), ("loop", loop)):
            found[name].append(seconds(run))
    return statistics.median(found["batch"]), statistics.median(found["loop"])


def through_memory(worlds: int, steps: int) -> float:
    """Seconds of one gradient of RL2's policy through so many steps, the median of some."""
    problem, small = one_task(steps), AGENTS.get("rl2-small").defaults.algorithm
    config = dataclasses.replace(cast(RL2Config, small), rollout_steps=steps, hold=1)
    agent = RL2(config, problem)
    seen = problem.obs_mask.shape[1] + 2 * config.memory  # memories of actor and critics stand beside
    rows = torch.randn(1, steps * worlds, seen, generator=torch.Generator().manual_seed(0))

    def gradient() -> None:
        agent.actor(rows, torch.zeros(1, dtype=torch.int64)).sum().backward()

    return statistics.median(seconds(gradient) for _ in range(3))


def _lesson(worlds: int, steps: int, generator: torch.Generator) -> Lesson:
    noise = lambda *shape: torch.randn(worlds, steps, *shape, generator=generator)  # noqa: E731
    return Lesson(noise(39), noise(4), noise() - 5.0, noise(), torch.ones(worlds, steps))


def seconds(run: Callable[[], None]) -> float:
    """That it takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="reach-v3")
    parser.add_argument("--worlds", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--episodes", type=int, default=10, help="of a trial")
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 500], help="of a world in a meta-update")
    parser.add_argument("--trial-steps", type=int, nargs="+", default=[100, 500, 5000], help="back through a memory")
    options = parser.parse_args()
    for worlds, acting in itertools.product(options.worlds, (False, True)):
        plain, trials, ratio = compare_trials(options.task, worlds, options.episodes, acting)
        a_second = trials / (options.episodes * TASKS.get(options.task).horizon)
        title = f"{options.task}, {worlds} worlds{', a policy in between' if acting else ''}"
        print(
            f"{title}: {plain:,.0f} steps/s alone, {trials:,.0f} in trials "
            f"({ratio:.3f} of it; {a_second:.2f} trials of {options.episodes} episodes a second)"
        )
    for steps in options.steps:
        batch, loop = compare_updates(20, steps)
        print(
            f"meta-gradient over 20 worlds, {steps} steps each: {1e3 * batch:.1f} ms in one batch, {1e3 * loop:.1f} ms "
            f"world by world ({loop / batch:.1f} times as long)"
        )
    for steps in options.trial_steps:
        spent = through_memory(50, steps)
        print(f"gradient of rl2-small through 50 trials of {steps} steps: {1e3 * spent:.0f} ms")


if __name__ == "__main__":
    main()
