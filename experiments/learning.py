"""Learning curves of many agents on one suite, run by run, in batches that can be stopped and gone on with.

    python experiments/learning.py MT3 --gate --jobs 2
    python experiments/learning.py MT10 --agents mtmhsac-small soft-modules-small --seeds 0 1 2 --jobs 2 --hours 6

`--gate` takes the small form of every method. A run that is finished is not run again, one that was stopped goes on
where it was. What the dashboard reads of every run, finished or not, is kept in --results, small enough to be
committed; weights and replay stay in --runs. `mtrl compare experiments/results/MT3` makes the dashboard.

Expected time: of a small form on MT3, 3 to 7 minutes of training, two at once on two CPU cores.
"""

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from mtrl.algorithm import AGENTS, learns_in_trials
from mtrl.run_folder import default_run_folder

KEPT = ("eval.jsonl", "DONE")
"""Files of a run that the dashboard reads as they are, besides the configuration and the training metrics."""
METRICS = ("env_step", "steps_per_task", "updates", "wall_s", "cpu_s", "train/")
"""Of the training metrics, those whose names begin so are kept."""
RESULTS = Path(__file__).parent / "results"
POLL = 0.5
"""Seconds between looks at what runs."""


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        suite: Suite.
        agent: Preset.
        seed: Seed.
        words: Options after that.
        folder: Run folder.
        name: Under which its results are kept; empty: the preset's.
    """

    suite: str
    agent: str
    seed: int
    words: tuple[str, ...]
    folder: Path
    name: str = ""

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder.with_suffix(".log")

    @property
    def title(self) -> str:
        """It in a few words."""
        return f"{self.suite} {self.name or self.agent} seed {self.seed}"

    @property
    def finished(self) -> bool:
        """Whether it is."""
        return (self.folder / "DONE").exists()

    def command(self) -> list[str]:
        """What runs it, or goes on with it."""
        words = ["train", self.suite, "--agent", self.agent, "--seed", str(self.seed), "--workers", "1", *self.words]
        return [sys.executable, "-m", "mtrl", *words, "--run-folder", str(self.folder)]

    def kept(self, results: Path) -> Path:
        """Where its results are."""
        return results / place(self.suite, self.name or self.agent, self.seed)

    def keep(self, results: Path) -> None:
        """Copies what the dashboard reads."""
        if not (self.folder / "config.json").exists():
            return
        target = self.kept(results)
        target.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            if (self.folder / name).exists():
                shutil.copyfile(self.folder / name, target / name)
        (target / "config.json").write_text(json.dumps(self._portable_config(), indent=1) + "\n")
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        kept = [{name: value for name, value in line.items() if name.startswith(METRICS)} for line in lines]
        (target / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))

    def _portable_config(self) -> dict[str, Any]:
        """The run's record without the places of this machine."""
        record = json.loads((self.folder / "config.json").read_text())
        words, record["config"]["run_folder"] = record["command"][1:], ""
        if "--run-folder" in words:
            place = words.index("--run-folder")
            words = words[:place] + words[place + 2 :]
        record["command"] = ["mtrl", *words]
        return record


def place(suite: str, agent: str, seed: int) -> Path:
    """Folder of a run among others."""
    return default_run_folder(suite, agent, seed).relative_to("runs")


def small_forms() -> list[str]:
    """Presets that end in -small, and `quick`, which they share their settings with; none that learns to learn."""
    small = (name for name in AGENTS if name.endswith("-small"))
    return ["quick", *(name for name in small if not learns_in_trials(AGENTS.get(name).defaults.algorithm))]


def run_all(jobs: list[Job], slots: int, seconds: float, results: Path) -> list[Job]:
    """Runs jobs, so many at once, and keeps what they leave; those that failed.

    What was finished before is kept anew. When time is up, what still runs is stopped as by Ctrl-C, so that it can be
    gone on with.
    """
    waiting, running, failed = [job for job in jobs if not job.finished], {}, []
    for job in jobs:
        if job.finished:
            job.keep(results)
    over = time.monotonic() + seconds
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        while running or (waiting and time.monotonic() < over):
            while waiting and len(running) < slots and time.monotonic() < over:
                job = waiting.pop(0)
                job.log.parent.mkdir(parents=True, exist_ok=True)
                log = open(job.log, "ab")  # noqa: SIM115 - the child writes to it
                print(f"{job.title}: {job.folder}", flush=True)
                running[subprocess.Popen(job.command(), stdout=log, stderr=log, env=environment)] = job
            if time.monotonic() >= over:
                stop(running)
            for process in [process for process in running if process.poll() is not None]:
                job = running.pop(process)
                job.keep(results)
                if process.returncode not in (0, 130):
                    failed.append(job)
                print(f"{job.title}: {outcome(job)}", flush=True)
            time.sleep(POLL)
    except KeyboardInterrupt:
        print("stopped: the same command goes on")
    finally:
        stop(running)
        for process, job in running.items():
            process.wait()
            job.keep(results)
    return failed


def stop(running: dict[subprocess.Popen[bytes], Job]) -> None:
    """Asks runs to save themselves and end."""
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()


def outcome(job: Job) -> str:
    """What a run has come to, in words."""
    path = job.folder / "eval.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not lines:
        return f"no evaluation yet, see {job.log}"
    last = lines[-1]
    state = "done" if job.finished else "stopped"
    success, minutes = last["summary"]["success_any"], last["wall_s"] / 60
    return f"{state}, success {success:.3f} at {last['steps_per_task']} steps/task, {minutes:.0f} minutes"


def leave(failed: Sequence[Job]) -> NoReturn:
    """Ends a script that has run jobs; names those that failed."""
    for job in failed:
        print(f"error: {job.title} failed, see {job.log}", file=sys.stderr)
    sys.exit(bool(failed))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite")
    parser.add_argument("--agents", nargs="+", default=[])
    parser.add_argument("--gate", action="store_true", help="every small form")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs at once, each on a core")
    parser.add_argument("--hours", type=float, default=24.0, help="then stop")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="last: options of `mtrl train`")
    arguments = parser.parse_args()
    agents = [*arguments.agents, *(small_forms() if arguments.gate else [])]
    if not agents:
        parser.error("name --agents, or give --gate")
    jobs = [
        Job(
            arguments.suite,
            agent,
            seed,
            ("--tracking.wandb", "off", "--tracking.log-every", "15000", *arguments.options),
            arguments.runs / place(arguments.suite, agent, seed),
        )
        for seed, agent in itertools.product(arguments.seeds, agents)
    ]
    failed = run_all(jobs, arguments.jobs, arguments.hours * 3600, arguments.results)
    leave(failed)


if __name__ == "__main__":
    main()
