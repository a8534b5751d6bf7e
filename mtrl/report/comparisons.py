"""Sorts runs into what may be compared: suites, agents by configuration, and evaluations under equal conditions.

A comparison holds final evaluations of one suite under one protocol, goal set, goal seed, number of goals and number of
training steps a task; nothing from two comparisons is ever ranked together. Fixed policies join every comparison that
played the same goals, as floors.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from mtrl import stats
from mtrl.config import RunConfig, to_dict
from mtrl.report.load import FIXED_POLICIES, Evaluation, RunSummary, Warn, format_steps

_NOT_THE_AGENT = frozenset({"suite", "agent", "seed", "run_folder", "workers", "device"}) | frozenset(
    {"evaluation", "checkpoint", "tracking"}
)
"""Configuration fields in which the runs of one agent may differ."""
_NOT_SHOWN = frozenset({"config.seed", "config.run_folder", "config.agent", "config.suite"})
METRICS = ("success_any", "success_end")


@dataclass(frozen=True)
class Agent:
    """Runs of one agent preset with one configuration, apart from seeds.

    Attributes:
        label: Preset name, with what tells it apart where one preset was run with several configurations.
        runs: Its runs, one a seed, by seed.
    """

    label: str
    runs: tuple[RunSummary, ...]

    @property
    def fixed(self) -> bool:
        """Whether it is a floor."""
        return self.runs[0].fixed_policy


@dataclass(frozen=True)
class Entry:
    """One agent in a comparison: one final evaluation of each of its seeds."""

    agent: Agent
    runs: tuple[RunSummary, ...]
    evaluations: tuple[Evaluation, ...]

    def outcomes(self, metric: str, tasks: Sequence[str]) -> list[Float64[np.ndarray, "seed goal"]]:
        """Outcomes as `mtrl.stats` takes them, one array a task."""
        return [np.stack([getattr(one, metric)[task] for one in self.evaluations]) for task in tasks]


@dataclass(frozen=True)
class Comparison:
    """Final evaluations that may be ranked against each other.

    Attributes:
        label: Protocol and steps a task.
        details: What else they share, in words.
        tasks: Names, in the suite's order.
        entries: Agents; floors come last.
    """

    label: str
    details: str
    tasks: tuple[str, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class SuiteRuns:
    """All runs of a suite."""

    name: str
    tasks: tuple[str, ...]
    agents: tuple[Agent, ...]
    comparisons: tuple[Comparison, ...]


def group_runs(runs: Sequence[RunSummary], warn: Warn) -> list[SuiteRuns]:
    """Sorts runs by suite, agent and comparison.

    Args:
        runs: From `load_runs`.
        warn: Is given a line for each run that is left out because another has the same agent and seed.
    """
    suites = []
    for name in sorted({run.suite for run in runs}, key=_natural):
        members = [run for run in runs if run.suite == name]
        agents = _agents(members, warn)
        played = {task for run in members for one in run.evaluations for task, _ in one.signature}
        known = [task for task in dict.fromkeys(_suite_tasks(members)) if task in played]
        tasks = (*known, *sorted(played.difference(known)))
        suites.append(SuiteRuns(name, tasks, tuple(agents), tuple(_comparisons(agents, tasks))))
    return suites


def _natural(name: str) -> tuple[int, str]:
    """Order in which MT3 comes before MT10."""
    return len(name), name


def _suite_tasks(runs: Iterable[RunSummary]) -> Iterable[str]:
    for run in runs:
        for part in ("train_tasks", "test_tasks"):
            yield from map(str, run.record["suite"].get(part) or ())


def _agents(runs: Sequence[RunSummary], warn: Warn) -> list[Agent]:
    variants: dict[tuple[str, str], list[RunSummary]] = {}
    for run in runs:
        variants.setdefault((run.agent, json.dumps(_identity(run), sort_keys=True)), []).append(run)
    agents = []
    for (name, _), members in variants.items():
        siblings = [_identity(others[0]) for (other, _), others in variants.items() if other == name]
        label = name + _what_differs(_identity(members[0]), siblings)
        agents.append(Agent(label, tuple(_one_a_seed(members, warn))))
    return sorted(agents, key=lambda agent: (agent.fixed, _fixed_order(agent), agent.label))


def _fixed_order(agent: Agent) -> int:
    name = agent.runs[0].agent
    return FIXED_POLICIES.index(name) if name in FIXED_POLICIES else len(FIXED_POLICIES)


def _identity(run: RunSummary) -> dict[str, Any]:
    if run.fixed_policy:
        return {}
    # Settings that a run of an older version has not are what they are by default.
    defaults = {name: value for name, value in to_dict(RunConfig()).items() if name != "algorithm"}
    return {**_settings(defaults), **_settings(run.config)}


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    return flatten({name: value for name, value in config.items() if name not in _NOT_THE_AGENT})


def _what_differs(own: dict[str, Any], siblings: Sequence[dict[str, Any]]) -> str:
    """` (actor_lr=0.001)` where the siblings of the same name have another value; empty where there are none."""
    names = sorted({name for one in siblings for name in one})
    differing = [name for name in names if any(one.get(name) != own.get(name) for one in siblings)]
    parts = [_setting(name, own.get(name)) for name in differing]
    more = f", {len(parts) - 3} more" if len(parts) > 3 else ""
    return f" ({', '.join(parts[:3])}{more})" if parts else ""


def _setting(name: str, value: Any) -> str:
    if name == "steps_per_task" and isinstance(value, int | float):
        return f"{format_steps(value)} steps/task"
    return f"{name.removeprefix('algorithm.')}={short(value)}"


def _one_a_seed(runs: Sequence[RunSummary], warn: Warn) -> list[RunSummary]:
    """Two runs of one seed are no two samples: the one that got further, or else the newer, is kept."""
    best: dict[tuple[int, Any], RunSummary] = {}
    for run in runs:
        key = (run.seed, run.config.get("goal_seed"))  # The goal seed tells the floors apart.
        rival = best.get(key)
        if rival is None:
            best[key] = run
            continue
        kept, left = (run, rival) if _progress(run) > _progress(rival) else (rival, run)
        best[key] = kept
        warn(f"{left.folder}: left out, since {kept.folder} is the same agent and seed: delete the one you do not want")
    return sorted(best.values(), key=lambda run: run.seed)


def _progress(run: RunSummary) -> tuple[bool, float, str]:
    return run.finished, run.steps, str(run.record.get("created", ""))


def _comparisons(agents: Sequence[Agent], tasks: Sequence[str]) -> list[Comparison]:
    groups: dict[tuple[Any, ...], dict[int, dict[int, tuple[RunSummary, Evaluation]]]] = {}
    floors: dict[tuple[Any, ...], dict[int, dict[int, tuple[RunSummary, Evaluation]]]] = {}
    for index, agent in enumerate(agents):
        for run in agent.runs:
            for one in run.evaluations:
                if not one.final:
                    continue
                conditions = (one.protocol, one.goal_set, one.mode, run.config.get("goal_seed"), one.signature)
                # To three digits: a budget that the slots do not divide ends a few steps later.
                key = (*conditions, None if agent.fixed else float(f"{one.steps:.3g}"))
                seeds = (floors if agent.fixed else groups).setdefault(key, {}).setdefault(index, {})
                seeds[run.seed] = (run, one)  # A later evaluation replaces an earlier one.
    for key, entries in groups.items():
        entries.update(floors.get((*key[:-1], None), {}))
    matched = {(*key[:-1], None) for key in groups}
    groups.update({key: entries for key, entries in floors.items() if key not in matched})
    made = [_comparison(key, entries, agents, tasks) for key, entries in groups.items()]
    return sorted(made, key=lambda one: (-sum(len(e.runs) for e in one.entries if not e.agent.fixed), one.label))


def _comparison(
    key: tuple[Any, ...],
    members: dict[int, dict[int, tuple[RunSummary, Evaluation]]],
    agents: Sequence[Agent],
    tasks: Sequence[str],
) -> Comparison:
    protocol, goal_set, mode, goal_seed, signature, steps = key
    entries = []
    for index in sorted(members):
        pairs = [members[index][seed] for seed in sorted(members[index])]
        entries.append(Entry(agents[index], tuple(run for run, _ in pairs), tuple(one for _, one in pairs)))
    goals = sorted({count for _, count in signature})
    count = f"{goals[0]}" if len(goals) == 1 else f"{goals[0]} to {goals[-1]}"
    kind = {"train": "training goals", "heldout": "held-out goals"}.get(goal_set, f"{goal_set} goals")
    details = f"{count} {kind} a task, goal seed {goal_seed}, {'mode' if mode else 'sampled'} action"
    label = f"{protocol}, fixed policies" if steps is None else f"{protocol}, {format_steps(steps)} steps/task"
    names = {task for task, _ in signature}
    return Comparison(label, details, tuple(task for task in tasks if task in names), tuple(entries))


def interval_table(comparison: Comparison) -> list[dict[str, Any] | None]:
    """Intervals of each entry's statistics by metric, or None under five seeds."""
    table: list[dict[str, Any] | None] = []
    for entry in comparison.entries:
        row = {metric: stats.intervals(entry.outcomes(metric, comparison.tasks)) for metric in METRICS}
        few = any(found is None for found in row.values())
        plain = {
            metric: {name: (one.low, one.high) for name, one in (found or {}).items()} for metric, found in row.items()
        }
        table.append(None if few else plain)
    return table


def improvement_table(comparison: Comparison) -> list[dict[str, Any]]:
    """Probability of improvement with interval for each ordered pair of entries that have five seeds, by metric."""
    scores = {
        metric: [stats.task_scores(entry.outcomes(metric, comparison.tasks)) for entry in comparison.entries]
        for metric in METRICS
    }
    cells = []
    for metric, agents in scores.items():
        for one, left in enumerate(agents):
            for other, right in enumerate(agents):
                value = stats.probability_of_improvement(left, right) if one != other else None
                interval = stats.improvement_interval(left, right) if value is not None else None
                if interval is not None:
                    cell = {"metric": metric, "one": one, "other": other, "value": value}
                    cells.append({**cell, "interval": (interval.low, interval.high)})
    return cells


def configuration_differences(agents: Sequence[Agent]) -> list[dict[str, Any]]:
    """Fields of the runs' records that are not the same everywhere: `{"field", "values": [agent] texts}`.

    Where the runs of one agent disagree, all their values are given.
    """
    trained = [agent for agent in agents if not agent.fixed]
    records = [[_shown(run) for run in agent.runs] for agent in trained]
    names = sorted({name for agent in records for record in agent for name in record})
    rows = []
    for name in names:
        values = [list(dict.fromkeys(short(record.get(name)) for record in agent)) for agent in records]
        if len({value for agent in values for value in agent}) > 1:
            rows.append({"field": name, "values": [" | ".join(agent) for agent in values]})
    return rows


def _shown(run: RunSummary) -> dict[str, Any]:
    parts = ("config", "versions", "hardware", "parameters", "commit")
    record = flatten({part: run.record[part] for part in parts if part in run.record})
    return {name: value for name, value in record.items() if name not in _NOT_SHOWN}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def short(value: Any) -> str:
    """A value of a configuration for people; a dash where there is none."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return json.dumps(value)
