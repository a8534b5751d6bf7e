"""Agents that learn to learn: trained on suites that hide the goal, then judged on new goals, with two controls.

    python experiments/adaptation.py ML1:reach-v3 ML1:push-v3 --agents rl2-small maml-small --seeds 0 1 2 --jobs 2

Every finished run plays trials on goals (of ML10, ML25 and ML45 also on tasks) that it has never met; then, as
controls, with the episodes for adaptation on another goal, and with nothing remembered from one episode to the next.
Runs that are finished are not run again, and those that were stopped go on. `--output` writes the page, with `--kept`
of what was run before.
"""

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from learning import RESULTS, Job, leave, place, run_all
from transfer import SETTINGS, settings_of

from mtrl import api
from mtrl.contexts import Context
from mtrl.suites import resolve_suite

CONTEXTS: tuple[Context, ...] = ("own", "other", "none")
MADE_BY = ("steps_per_task", "trial", *SETTINGS, "evaluation")
"""Settings that a row's command names where they are not the preset's."""
TRIAL = ("--trial.episodes", "10", "--trial.judged", "3")


def jobs_of(
    suites: Sequence[str], agents: Sequence[str], seeds: Sequence[int], runs: Path, words: Sequence[str]
) -> list[Job]:
    """All runs, seed by seed."""
    given = ("--tracking.wandb", "off", "--tracking.log-every", "50000", *TRIAL, *words)
    return [
        Job(suite, agent, seed, given, runs / place(suite, agent, seed))
        for seed, suite, agent in itertools.product(seeds, suites, agents)
    ]


def judge(job: Job, results: Path, contexts: Sequence[Context] = CONTEXTS) -> None:
    """Plays what a finished run has not played yet, and keeps it."""
    suite = resolve_suite(job.suite)
    splits = ["heldout", *(["test"] if suite.test_tasks != suite.train_tasks else [])]
    there = played(job.folder)
    for goals, context in itertools.product(splits, contexts):
        if (goals, context) not in there:
            found = api.evaluate(job.folder, goals=goals, context=context, workers=1)
            print(f"{job.title}: {found.protocol}, success at the end {found.success_end:.3f}", flush=True)
    job.keep(results)


def played(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Goals and context to the newest evaluation of a finished run."""
    records = [json.loads(line) for line in (folder / "eval.jsonl").read_text().splitlines()]
    return {(record["goal_set"], record["context"]): record for record in records if record["final"]}


def rows(results: Path, suites: Sequence[str], agents: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """One line a suite, agent, seed and set of goals."""
    for suite, agent, seed in itertools.product(suites, agents, seeds):
        folder = results / place(suite, agent, seed)
        if not (folder / "DONE").exists():
            continue
        records = played(folder)
        for goals in ("train", "heldout", "test"):
            if (goals, "own") in records:
                yield _row(suite, agent, seed, goals, records)


def _row(suite: str, agent: str, seed: int, goals: str, records: dict[tuple[str, str], dict[str, Any]]) -> str:
    own = records[goals, "own"]
    trial, summary = own["summary"]["adaptation"], own["summary"]
    controls = [records.get((goals, context)) for context in CONTEXTS[1:]]
    others = ["" if one is None else f"{one['summary']['success_end']:.2f}" for one in controls]
    last = trial[own["adapting"] - 1]
    cells = [f"{value:.2f}" for value in (trial[0]["success_end"], last["success_end"], summary["success_end"])]
    returns = f"{trial[0]['return']:.0f} | {last['return']:.0f}"
    official = f"{summary['success_any']:.2f} | {summary['official']:.2f}"
    return f"| {suite} | `{agent}` | {seed} | {goals} | {' | '.join(cells + others)} | {official} | {returns} |"


def commands(results: Path, suites: Sequence[str], agents: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    """What makes the rows: one line for each suite, agent and settings other than the preset's."""
    for suite, agent in itertools.product(suites, agents):
        made: dict[tuple[str, ...], list[int]] = {}
        for seed in seeds:
            folder = results / place(suite, agent, seed)
            if (folder / "DONE").exists():
                config = json.loads((folder / "config.json").read_text())["config"]
                made.setdefault(settings_of(config, MADE_BY), []).append(seed)
        for words, own in made.items():
            line = f"python experiments/adaptation.py {suite} --agents {agent} --seeds {' '.join(map(str, own))}"
            yield " ".join([line, *(("--options", *words) if words else ())])


PAGE = """# Learning to adapt

Agents that learn to learn on suites that hide the goal. *First*, *last*: success at the end of the first and of the
last episode for adaptation, of {episodes}, all of which MAML plays with its initial weights and sampled actions, as
does an agent with `--algorithm.sampled-adaptation`; *judged*: of the {judged} episodes after them, with the most likely
action. A command with `--trial.episodes` and `--trial.judged` has other numbers of them.
*Other*: judged in the same way after adapting to another goal of the same task; *none*: with nothing remembered from
one episode to the next. *Any*: success at any step of the judged episodes; *official*: what Meta-World's own evaluator
would have reported ([why it is larger](evaluation.md)). *Return*: of the first and of the last episode for adaptation;
it also tells how fast an agent finds its goal within an episode. Goals: `train` those of the training; `heldout`
others of the same tasks; `test` tasks never trained on. Few seeds, so no ranking.

{commands}

| suite | agent | seed | goals | first | last | judged | other | none | any | official | return, first | last |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
{rows}

Runs: `experiments/results`; `mtrl compare experiments/results` has their adaptation curves.
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", help="such as ML1:reach-v3 or ML10")
    parser.add_argument("--agents", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--contexts", nargs="+", choices=CONTEXTS, default=CONTEXTS, help="what is learned from")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, each on a core")
    parser.add_argument("--hours", type=float, default=24.0, help="then stop")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, help="page to write")
    parser.add_argument("--kept", action="store_true", help="run nothing: the page of what --results keeps")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="last: options of `mtrl train`")
    options = parser.parse_args()
    jobs = jobs_of(options.suites, options.agents, options.seeds, options.runs, options.options)
    jobs = [] if options.kept else jobs
    failed = run_all(jobs, options.jobs, options.hours * 3600, options.results)
    for job in jobs:
        if job.finished:
            judge(job, options.results, options.contexts)
    found = "\n".join(rows(options.results, options.suites, options.agents, options.seeds))
    print(found)
    if options.output:
        made = commands(options.results, options.suites, options.agents, options.seeds)
        filled = {"rows": found, "commands": "\n".join(f"    {line}" for line in made)}
        options.output.write_text(PAGE.format(**filled, episodes=TRIAL[1], judged=TRIAL[3]))
    leave(failed)


if __name__ == "__main__":
    main()
