"""Evaluation protocol A: every goal of every task exactly once, in a fixed number of episodes a slot.

Meta-World (Yu et al., 2019) and Meta-World+ (McLean et al., 2025) count an episode as solved when the task's success
held at any of its steps; success at the last step is reported beside it. Episodes always run to their end: one that
stopped at success would have a return of its own kind, and fast slots would contribute more episodes than slow ones.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from mtrl import official
from mtrl.algorithm import Policy
from mtrl.contexts import LABELS, Forgetful, check_context
from mtrl.goals import EachGoalOnce
from mtrl.plain_types import Context
from mtrl.types import Rewards, State
from mtrl.vector.contract import StepInfo, TaskVectorEnv

EVALUATION_SEED = 0
"""Fixes the episode seeds of every evaluation, so that agents and seeds meet the same episodes."""


@dataclass(frozen=True)
class Episode:
    """One evaluation episode.

    Attributes:
        task: Name.
        goal: Index into the task's table of goals.
        slot: Slot of the vector environment.
        success_any: 1 if the task's success held at any step.
        success_end: 1 if it held at the last step.
        return_: Undiscounted sum of rewards.
        length: Steps.
        number: Of the episode in its trial, from 0.
        solved_after: Steps to the first success; 0: there was none.
    """

    task: str
    goal: int
    slot: int
    success_any: int
    success_end: int
    return_: float
    length: int
    number: int = 0
    solved_after: int = 0

    def to_record(self) -> dict[str, Any]:
        """As in `eval.jsonl`, where `return_` is called `return`, and the last two are left out where they are 0."""
        fields = {name.rstrip("_"): value for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if value or name not in ("number", "solved_after")}


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        goal_set: `train`, `heldout` or `test`.
        task_names: Tasks, in the suite's order.
        goals: Goals played of each task.
        all_goals: Goals that each task has.
        mode: Whether the most likely action was taken, rather than a sample.
        episodes: Sorted by task and goal, and by number in a trial.
        adapting: Episodes at the beginning of each trial that do not count.
        context: What they were played on; see `mtrl.contexts`.
    """

    goal_set: str
    task_names: tuple[str, ...]
    goals: tuple[int, ...]
    all_goals: tuple[int, ...]
    mode: bool
    episodes: tuple[Episode, ...]
    adapting: int = 0
    context: Context = "own"

    @property
    def protocol(self) -> str:
        """`A-eval` on training goals, `A-heldout` on goals never trained on, `A-test` on tasks never trained on.

        Where agents adapt first it says so: `A-eval after 10 episodes`, or `A-eval after 10 episodes on other goals`.
        """
        adapted = f" after {self.adapting} episodes{LABELS[self.context]}" if self.adapting else ""
        return {"train": "A-eval", "heldout": "A-heldout"}.get(self.goal_set, f"A-{self.goal_set}") + adapted

    @property
    def per_task(self) -> dict[str, dict[str, float]]:
        """Means of each task: `success_any`, `success_end`, `return`; and `episodes`, their number."""
        table = {}
        for task in self.task_names:
            episodes = self._judged(task)
            table[task] = {**_means(episodes), "episodes": len(episodes)}
        return table

    @property
    def success_any(self) -> float:
        """Mean over tasks of the share of episodes with success at any step."""
        return self._over_tasks("success_any")

    @property
    def success_end(self) -> float:
        """Mean over tasks of the share of episodes with success at the last step."""
        return self._over_tasks("success_end")

    @property
    def mean_return(self) -> float:
        """Mean over tasks of the mean return."""
        return self._over_tasks("return")

    @property
    def adaptation(self) -> list[dict[str, float]]:
        """Success and return of the first, second ... episode of the trials, over all tasks; empty without trials."""
        longest = max((episode.number for episode in self.episodes), default=0)
        numbers = range(longest + 1) if longest else ()
        return [_means([one for one in self.episodes if one.number == number]) for number in numbers]

    @property
    def official_success(self) -> float:
        """What Meta-World's own evaluator would have made of the trials' last episodes; see `mtrl.official`."""
        worlds = max(1, official.WORLDS // len(self.task_names))
        found = [official.first_to_finish(self._judged(task), worlds) for task in self.task_names]
        return sum(found) / len(found)

    def _judged(self, task: str) -> list[Episode]:
        """The episodes of a task that count."""
        return [episode for episode in self.episodes if episode.task == task and episode.number >= self.adapting]

    @property
    def summary(self) -> dict[str, Any]:
        """Means over tasks, and the table of tasks under `per_task`; of trials, `adaptation` and `official` too."""
        found = {
            "success_any": self.success_any,
            "success_end": self.success_end,
            "return": self.mean_return,
            "per_task": self.per_task,
        }
        adaptation = self.adaptation
        return {**found, "adaptation": adaptation, "official": self.official_success} if adaptation else found

    def label(self, steps_per_task: int) -> str:
        """What must stand beside every figure, such as `A-eval, 2 M steps/task`."""
        partial = "" if self.goals == self.all_goals else f" ({max(self.goals)} of {max(self.all_goals)} goals)"
        sampled = "" if self.mode else " (sampled actions)"
        return f"{self.protocol}{partial}{sampled}, {format_steps(steps_per_task)} steps/task"

    def to_record(
        self, *, final: bool, env_step: int, steps_per_task: int, updates: int, wall_s: float, cpu_s: float = 0.0
    ) -> dict[str, Any]:
        """The line of `eval.jsonl`.

        Args:
            final: Whether training was over.
            env_step: Environment steps over all tasks that the agent was trained for.
            steps_per_task: The same for each task.
            updates: Gradient updates.
            wall_s: Seconds of training.
            cpu_s: Seconds that the training process's threads worked.
        """
        return {
            "protocol": self.protocol,
            "label": self.label(steps_per_task),
            "final": final,
            "env_step": env_step,
            "steps_per_task": steps_per_task,
            "updates": updates,
            "wall_s": wall_s,
            "cpu_s": cpu_s,
            "goal_set": self.goal_set,
            "goals": max(self.goals),
            "mode": self.mode,
            **({"adapting": self.adapting, "context": self.context} if self.adapting else {}),
            "summary": self.summary,
            "episodes": [episode.to_record() for episode in self.episodes],
        }

    def _over_tasks(self, name: str) -> float:
        values = [row[name] for row in self.per_task.values()]
        return sum(values) / len(values)


def _means(episodes: list[Episode]) -> dict[str, float]:
    """Of some episodes: `success_any`, `success_end`, `return`."""
    return {
        "success_any": sum(e.success_any for e in episodes) / len(episodes),
        "success_end": sum(e.success_end for e in episodes) / len(episodes),
        "return": sum(e.return_ for e in episodes) / len(episodes),
    }


class RunningEpisodes:
    """Sums of the episode that each slot is playing, on the device; the host looks every `report_every` steps.

    Args:
        env: Whose steps are taken in.

    Attributes:
        unreported: Steps since the host has last looked.
    """

    def __init__(self, env: TaskVectorEnv) -> None:
        self._names, self._task = [task.name for task in env.tasks], env.task_id.tolist()
        self._report_every, self.unreported = env.report_every, 0
        # Of each step since: where an episode ended, its goal and what became of it. float64 holds all of it exactly.
        self._ended = torch.zeros((env.report_every, 8, env.num_envs), dtype=torch.float64, device=env.device)
        self._number = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        self._any = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
        self._return = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
        self._length = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
        self._solved = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)

    def add(self, reward: Rewards, info: StepInfo) -> list[Episode]:
        """Takes in one step; returns the episodes that ended since the last report, if one is due."""
        active = info["active"]
        self._return += torch.where(active, reward, 0.0)
        self._length += active
        now = info["success"] & active
        self._solved = torch.where(now & ~self._any, self._length, self._solved)
        self._any |= now
        ended = info.get("episode_mask", info["final_mask"]) & active
        number = info.get("episode", self._number)
        row = self._ended[self.unreported]
        became = (self._any, info["success"], self._return, self._length, number, self._solved)
        columns = (ended, info["goal_index"], *became)
        for place, column in enumerate(columns):
            row[place].copy_(column)
        self._any &= ~ended
        self._return.masked_fill_(ended, 0.0)
        self._length.masked_fill_(ended, 0)
        self._solved.masked_fill_(ended, 0)
        self.unreported += 1
        return self.collect() if self.unreported == self._report_every else []

    def collect(self) -> list[Episode]:
        """The episodes that ended since the last report, oldest first, and by slot where they ended together."""
        table, self.unreported = self._ended[: self.unreported].cpu(), 0
        step, slot = table[:, 0].nonzero(as_tuple=True)
        return [
            Episode(self._names[self._task[own]], int(goal), own, int(any_), int(end), return_, *map(int, others))
            for own, (goal, any_, end, return_, *others) in zip(
                slot.tolist(), table[step, 1:, slot].tolist(), strict=True
            )
        ]

    def drop(self) -> None:
        """Forgets the episodes that are under way."""
        for running in self._sums().values():
            running.zero_()

    def get_state(self) -> State:
        """The sums; `collect` what has ended before."""
        return {name: value.cpu().clone() for name, value in self._sums().items()}

    def set_state(self, state: State) -> None:
        """Goes on from a state."""
        for name, own in self._sums().items():
            own.copy_(state[name])

    def _sums(self) -> dict[str, torch.Tensor]:
        return {"any": self._any, "return": self._return, "length": self._length, "solved": self._solved}


def evaluate(
    policy: Policy,
    env: TaskVectorEnv,
    goals: int | None = None,
    mode: bool = True,
    *,
    context: Context = "own",
    on_step: Callable[[], None] | None = None,
) -> EvaluationResult:
    """Plays protocol A.

    Args:
        policy: An agent, or a fixed policy.
        env: The tasks and their goals; it is reset, and its state afterwards means nothing.
        goals: Play only the first so many goals of each task; None plays all.
        mode: Take the most likely action instead of a sample.
        context: What an agent that adapts learns from: see `mtrl.contexts`.
        on_step: Called after every step; what it raises ends the evaluation.

    Returns:
        Every episode, and means over them.

    Raises:
        UserError: There is nothing to adapt for that context.
    """
    all_goals = env.goal_set.counts
    counts = tuple(count if goals is None else max(1, min(goals, count)) for count in all_goals)
    elsewhere = env.adapting if context == "other" else 0
    check_context(context, env, counts)
    policy = Forgetful(policy, env) if context == "none" else policy
    schedule = EachGoalOnce(env.task_id.tolist(), counts, trial_episodes=env.trial_episodes, elsewhere=elsewhere)
    total = sum(counts) * env.trial_episodes
    obs, info = env.reset(seed=EVALUATION_SEED, options={"schedule": schedule})
    begun, running = info["active"], RunningEpisodes(env)
    episodes: list[Episode] = []
    note, number = getattr(policy, "adapts", None) if env.adapting else None, torch.zeros_like(env.task_id)
    while len(episodes) < total:
        policy.begin_episodes(begun)
        if note is not None:
            note(number < env.adapting)
        obs, reward, _, _, step_info = env.step(policy.act(obs, env.task_id, mode=mode))
        episodes += running.add(reward, step_info)
        if not running.unreported and len(episodes) < total and not bool(step_info["active"].any()):
            raise RuntimeError(f"the environment went idle after {len(episodes)} of {total} episodes")
        begun = step_info["final_mask"]
        if note is not None:
            number = (number + step_info.get("episode_mask", begun)).masked_fill(begun, 0)
        if on_step is not None:
            on_step()
    names = tuple(task.name for task in env.tasks)
    episodes.sort(key=lambda episode: (names.index(episode.task), episode.goal, episode.number))
    return EvaluationResult(env.goal_set.name, names, counts, all_goals, mode, tuple(episodes), env.adapting, context)


def format_steps(steps: int) -> str:
    """Steps to three digits with a unit: `60 k`, `2 M`, `1.5 M`."""
    value, units = float(steps), ["", " k", " M", " G"]
    while float(f"{value:.3g}") >= 1000.0 and len(units) > 1:
        value /= 1000.0
        units.pop(0)
    return f"{float(f'{value:.3g}'):g}{units[0]}"
