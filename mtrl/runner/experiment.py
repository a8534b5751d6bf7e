"""What a configuration stands for: suite, preset, goals and problem; building agents and environments from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32

from mtrl.algorithm import AGENTS, AgentPreset, Policy, Problem, learns_in_trials
from mtrl.checkpoint import find_checkpoint
from mtrl.config import RunConfig, from_dict, option, validate
from mtrl.devices import resolve_device
from mtrl.errors import UserError
from mtrl.goals import GoalSet, make_goal_sets
from mtrl.logger.contract import TRACKERS
from mtrl.parts.network import without_sources
from mtrl.parts.words import describe_agent
from mtrl.ranks import ALONE, Ranks
from mtrl.run_folder import RunFolder, read_json, run_folder_of
from mtrl.suites import Suite, resolve_suite
from mtrl.tasks import TASKS
from mtrl.vector.build import ENGINES, choose_engines, make_vector_env
from mtrl.vector.contract import TaskVectorEnv
from mtrl.vector.shifting import ShiftingWorlds, refuse_single_worlds
from mtrl.vector.trials import Trials, mask_in_trials

SPLITS = ("train", "heldout", "test")


@dataclass(frozen=True)
class Experiment:
    """A configuration and what it names, checked; nothing is built or written yet.

    Attributes:
        config: The run's configuration.
        suite: Its suite.
        preset: Its agent.
        device: Where it runs.
        folder: Where it is written.
        slots_per_task: Environments of each task that are trained in, whichever option says so, over all processes.
        agent_name: Its preset with the parts that the preset does not have, such as `mtmhsac+moore`.
        ranks: Processes that train it together.
    """

    config: RunConfig
    suite: Suite
    preset: AgentPreset
    device: torch.device
    folder: RunFolder
    slots_per_task: int
    agent_name: str
    ranks: Ranks = ALONE

    @property
    def title(self) -> str:
        """Suite, agent and seed in a few words."""
        return f"{self.suite.name} {self.agent_name} seed {self.config.seed}"

    def build_agent(self) -> Any:
        """The agent with its initial weights: an algorithm, or a fixed policy."""
        problem = make_problem(self.suite.train_tasks, self.device, self.config.seed)
        if self.in_trials:
            problem = replace(
                problem,
                obs_mask=mask_in_trials(problem.obs_mask, problem.action_mask),
                trial_episodes=self.config.trial.episodes,
                learned_episodes=self.config.trial.training,
                horizon=max(TASKS.get(name).horizon for name in self.suite.train_tasks),
            )
        return self.preset.build(self.config.algorithm, replace(problem, ranks=self.ranks))

    @property
    def in_trials(self) -> bool:
        """Whether the agent learns to learn: its episodes are trials, and it sees what came before."""
        return learns_in_trials(self.config.algorithm)

    def goal_sets(self) -> dict[str, GoalSet]:
        """Goals by split: training and held-out goals of the training tasks, and goals of tasks never trained on."""
        count, seed = self.suite.goals_per_task, self.config.goal_seed
        train, heldout = make_goal_sets([TASKS.get(name) for name in self.suite.train_tasks], count, seed)
        sets = {"train": train, "heldout": heldout}
        if self.suite.new_tasks:
            rows = make_goal_sets([TASKS.get(name) for name in self.suite.new_tasks], count, seed)[0].rows
            sets["test"] = GoalSet("test", rows)
        return sets

    def tasks_of(self, split: str) -> tuple[str, ...]:
        """Tasks of a split of goals.

        Raises:
            UserError: The suite has none.
        """
        if split not in SPLITS:
            raise UserError(f"unknown goals '{split}': give {', '.join(SPLITS)}")
        names = self.suite.new_tasks if split == "test" else self.suite.train_tasks
        if not names:
            raise UserError(f"suite '{self.suite.name}' has no tasks that are kept from training: leave out test")
        return names

    def evaluation_slots(self, goals: int) -> int:
        """Slots a task in evaluations of so many goals: as configured, else one, or one a goal on the warp engine.

        There a step takes equally long for one slot and for fifty, and its bits are no other run's anyway.
        """
        asked = self.config.evaluation.slots_per_task
        if asked:
            return asked
        tasks = [TASKS.get(name) for name in self.suite.train_tasks]
        engines = choose_engines(tasks, self.config.engine, self.device, self.slots_per_task * len(tasks))
        return goals if "warp" in engines else 1

    def build_env(self, goals: GoalSet, slots_per_task: int) -> TaskVectorEnv:
        """Slots of the tasks that the goals belong to, for training."""
        env, trial, floor = self._build_episodes(goals, slots_per_task), self.config.trial, self.config.shift.floor
        if self.in_trials:
            episodes = self.config.algorithm.training_episodes(trial)
            env = Trials(env, episodes, trial.training if episodes > trial.training else 0)
        return ShiftingWorlds(env, floor) if floor < 1.0 else env

    def build_evaluation_env(self, goals: GoalSet, slots_per_task: int) -> TaskVectorEnv:
        """The same for evaluations: trials are followed by episodes that count."""
        env, trial = self._build_episodes(goals, slots_per_task), self.config.trial
        return Trials(env, trial.episodes + trial.judged, trial.episodes) if self.in_trials else env

    def _build_episodes(self, goals: GoalSet, slots_per_task: int) -> TaskVectorEnv:
        return make_vector_env(
            self.tasks_of(goals.name),
            goal_set=goals,
            slots_per_task=slots_per_task,
            workers=self.config.workers or (1 if self.ranks.size > 1 else 0),
            engine=self.config.engine,
            goal_visible=self.suite.goal_visible,
            device=self.device,
            warp=self.config.warp,
        )


def slots_for(config: RunConfig, tasks: int, default: int) -> int:
    """Environments of each task that a run trains in.

    Args:
        config: Whose `worlds` or `slots_per_task` says so.
        tasks: Training tasks.
        default: `slots_per_task` of the preset.

    Raises:
        UserError: There are fewer worlds than tasks, or both options are given.
    """
    if config.worlds == 0:
        return config.slots_per_task
    if config.worlds < tasks:
        raise UserError(f"{option('worlds')} {config.worlds} is less than one for each task: give {tasks} or more")
    if config.slots_per_task not in (default, config.worlds // tasks):
        raise UserError(
            f"{option('worlds')} {config.worlds} and {option('slots_per_task')} {config.slots_per_task} say the same "
            "thing: give one of them"
        )
    return config.worlds // tasks


def prepare(config: RunConfig) -> Experiment:
    """Checks a configuration and looks up what it names.

    Raises:
        UserError: Something is unknown or impossible.
    """
    suite, preset = resolve_suite(config.suite), AGENTS.get(config.agent)
    for name in (*suite.train_tasks, *suite.test_tasks):
        TASKS.get(name)
    if config.engine != "auto":
        ENGINES.get(config.engine)
    for name in config.tracking.trackers:
        TRACKERS.get(name)
    slots = slots_for(config, len(suite.train_tasks), preset.defaults.slots_per_task)
    validate(replace(config, slots_per_task=slots))
    if config.shift.floor < 1.0:
        refuse_single_worlds(slots)
    device = torch.device(resolve_device(config.device, Ranks.local()))
    name = describe_agent(config, preset.defaults)
    return Experiment(config, suite, preset, device, run_folder_of(config, suite, name), slots, name)


def read_experiment(path: Path, **changes: Any) -> Experiment:
    """The experiment of a run folder.

    Args:
        path: The run folder.
        **changes: Fields of the configuration to replace, such as `device`.

    Raises:
        UserError: There is no run, or its configuration is damaged or of another version.
    """
    folder = RunFolder(Path(path))
    if not folder.is_run():
        raise UserError(
            f"no run at {path} (there is no config.json): give the folder of a run, such as runs/MT3/quick/seed-0"
        )
    document = read_json(folder.config)
    try:
        values = dict(document["config"])
        template = AGENTS.get(values["agent"]).defaults
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder.config} is damaged ({error!r}): restore it, or train into another folder") from error
    return prepare(from_dict(template, {**values, "run_folder": str(path), **changes}))


def make_problem(task_names: tuple[str, ...], device: torch.device, seed: int) -> Problem:
    """What an agent for some tasks is built for; observations and actions are padded to the largest."""
    specs = [TASKS.get(name).spec for name in task_names]
    obs_dim, action_dim = max(s.obs_dim for s in specs), max(s.action_dim for s in specs)
    obs_mask = torch.stack([torch.arange(obs_dim) < s.obs_dim for s in specs]).to(device)
    action_mask = torch.stack([torch.arange(action_dim) < s.action_dim for s in specs]).to(device)
    return Problem(task_names, obs_mask, action_mask, device, seed, descriptors_of([s.descriptor for s in specs]))


def descriptors_of(descriptors: Sequence[tuple[float, ...]]) -> Float32[torch.Tensor, "task descriptor"] | None:
    """Descriptors of all tasks, padded with zeros to the longest; None where no task has one."""
    width = max(len(descriptor) for descriptor in descriptors)
    rows = [[*descriptor, *[0.0] * (width - len(descriptor))] for descriptor in descriptors]
    return torch.tensor(rows, dtype=torch.float32) if width else None


def load_policy(path: str | Path, *, device: str = "cpu") -> Policy:
    """The agent of a run folder, with the weights of its newest whole checkpoint.

    Args:
        path: The run folder.
        device: Where it is to act.

    Raises:
        UserError: There is no run or no whole checkpoint.
    """
    experiment = read_experiment(Path(path), device=device)
    if experiment.preset.trainable:
        algorithm = without_sources(experiment.config.algorithm)
        experiment = replace(experiment, config=replace(experiment.config, algorithm=algorithm))
    agent = experiment.build_agent()
    if experiment.preset.trainable:
        checkpoint = find_checkpoint(experiment.folder, with_replay=False)
        if checkpoint is None:
            raise UserError(f"{path} has no checkpoint yet: let it train on (`mtrl resume {path}`)")
        agent.load_weights(checkpoint.weights())
        return agent.player()
    return agent
