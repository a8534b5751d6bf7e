"""The work of experiments/bench_gpu.py, piece by piece."""

import functools
import gc
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import checkout
import gpu_checks as checks
import gpu_measure as measure
import torch
import warp
from gpu_cases import Case, Played, PolicyLoop, clock, expert_actions, play_experts, random_actions
from gpu_page import page
from gpu_plan import Plan

from mtrl.scenes.warp.vector import WarpVectorEnv

SCRIPT = Path(__file__).with_name("bench_gpu.py")
KINDS = ("policy and replay", "expert", "random", "policy and rollout")
PARTS = ("look", "headline", "checks", "curve", "start")
"""What may be asked for alone."""
KEPT_STEPS = (5, 25, 45, 65, 85, 105)
"""Steps of the experts before which states are kept, from which both engines take one step."""


@dataclass
class Bench:
    """Does the work piece by piece, and keeps what it finds.

    Attributes:
        device: Where.
        plan: How much.
        seconds: In all, from the start of the process.
        output: The page, with the figures beside it; None for none.
        results: The figures.
    """

    device: torch.device
    plan: Plan
    seconds: float
    output: Path | None = None
    results: dict[str, Any] = field(default_factory=dict)
    broken: bool = False

    def left(self) -> float:
        """Seconds."""
        return self.seconds - (time.perf_counter() - checkout.STARTED)

    def note(self, kind: str, row: Any) -> None:
        """Keeps and prints a row."""
        self.results.setdefault(kind, []).append(row)
        text = " ".join(f"{name}={_short(value)}" for name, value in row.items()) if isinstance(row, dict) else row
        print(f"[{time.perf_counter() - checkout.STARTED:6.1f} s] {kind}: {text}", flush=True)
        self.save()

    def save(self) -> None:
        """Writes figures and page."""
        self.results["seconds"] = round(time.perf_counter() - checkout.STARTED, 1)
        if self.output:
            replace_file(self.output.with_suffix(".json"), json.dumps(self.results, indent=1))
            replace_file(self.output, page(self.results, self.output.stem))

    def do(self, name: str, work: Callable[[], None], needs: float = 8.0) -> None:
        """A piece of work, if there is time for it; whatever goes wrong in it is kept, and the next begins.

        Args:
            name: For the page.
            work: The work.
            needs: Seconds that must be left.
        """
        if self.broken or self.left() < needs:
            self.note("skipped", name + (", since the device failed" if self.broken else ""))
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 - time on a GPU is too dear to end here
            self.note("errors", f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:600]}")
            traceback.print_exc()
            try:
                clock(self.device)
            except RuntimeError:  # nothing more can be asked of the device
                self.broken = True

    def environment(self, case: Case, work: Callable[[WarpVectorEnv, dict[str, Any]], None]) -> None:
        """Builds an environment, notes what that took, and hands it over with the columns that name it."""
        began, kernels = clock(self.device), _kernels()
        env = case.build(self.device)
        try:
            built = clock(self.device)
            case.reset(env)
            env.step(torch.zeros_like(env._action))
            first = clock(self.device) - built
            what = {"suite": case.suite, "worlds": env.num_envs, "grouping": case.grouping}
            row = {"build": built - began, "first step": first, "kernels compiled": _kernels() - kernels}
            models = {"models": len(env._engine.groups)}
            self.note("builds", {**what, **models, **row, **measure.memory(self.device)})
            work(env, {**what, **models})
            self.note("faults", {**what, "reasons": env.fault_reasons, "recordings": env.recording_faults})
        finally:
            env.close()
            del env
            gc.collect()
            if self.device.type == "cuda" and not self.broken:
                torch.cuda.empty_cache()

    def speeds(self, case: Case, kinds: Sequence[str] = KINDS, *, closely: bool = False) -> None:
        """Builds an environment and measures it with several kinds of actions; closely: and everything else."""

        def work(env: WarpVectorEnv, what: dict[str, Any]) -> None:
            title = f"{case.suite}, {env.num_envs} worlds, {case.grouping}"
            for kind in kinds:
                self.do(f"{title}, {kind}", lambda kind=kind: self.speed(env, case, what, kind))
            if not closely:
                return
            if self.device.type == "cuda" and len(env._engine.groups) > 1:
                self.do(f"{title}, one stream", lambda: self.speed(env, case, what, kinds[0], streams=1))
            for look in (self.parts, self.launches, self.stages):
                self.do(f"{title}, {look.__name__}", lambda look=look: look(env, case, what))

        self.environment(case, work)

    def speed(self, env: WarpVectorEnv, case: Case, what: dict[str, Any], kind: str, streams: int = 8) -> None:
        """One figure."""
        with measure.streams(env, streams):
            found = measure.speed(self._loop(env, case, kind), env, self.plan.timing)
        used = {"streams": min(streams, what["models"]) if self.device.type == "cuda" else 1, "actions": kind}
        self.note("speeds", {**what, **used, **found, **measure.crowd(env)})

    def _loop(self, env: WarpVectorEnv, case: Case, kind: str) -> Callable[[], None]:
        """A kind of actions, from a reset on."""
        if kind == "expert":
            case.reset(env, goals=self.plan.played)
            return expert_actions(env, case, self.played(case.suite))
        obs = case.reset(env, random_progress=True)
        if kind == "random":
            return random_actions(env)
        return PolicyLoop(env, obs, "rollout" if kind == "policy and rollout" else "replay")

    def _going(self, env: WarpVectorEnv, case: Case, kind: str) -> Callable[[], None]:
        loop = self._loop(env, case, kind)
        for _ in range(self.plan.timing.warm):
            loop()
        return loop

    def parts(self, env: WarpVectorEnv, case: Case, what: dict[str, Any]) -> None:
        """Where the time of a step goes, and what a profiler sees of it."""
        loop = self._going(env, case, KINDS[0])
        assert isinstance(loop, PolicyLoop)
        self.note("parts", {**what, "ms": measure.breakdown(env, loop, self.plan.repeats)})
        own, host = measure.traced(loop, self.device, 4)
        self.note("traced", {**what, "steps": 4, "device": own.total(), "host": host.total()})

    def launches(self, env: WarpVectorEnv, case: Case, what: dict[str, Any]) -> None:
        """What each model met and launches."""
        for row in env._engine.peaks():
            self.note("peaks", {**what, **row})
        for row in measure.launches(env):
            self.note("launches", {**what, **row, "worlds": env.num_envs})

    def stages(self, env: WarpVectorEnv, case: Case, what: dict[str, Any]) -> None:
        """Where the time of the physics goes."""
        self._going(env, case, "expert")
        self.note("stages", {**what, "ms": measure.stages(env, self.plan.repeats)})

    def played(self, suite: str) -> Played:
        """What the experts did."""
        return play_experts(suite, self.plan.played, KEPT_STEPS)

    def checked(self, found: Sequence[checks.Check] | checks.Check) -> None:
        """Keeps checks."""
        for row in [found] if isinstance(found, dict) else found:
            self.note("checks", row)

    def begin(self) -> None:
        """A few worlds of a small suite: shows at once whether all is well."""
        self.speeds(self.plan.first_look, KINDS[:1])
        self.check_steps(self.plan.stepped(self.plan.small))

    def check_worlds(self) -> None:
        """Checks of all tasks against the native engine and the bank; of the small suite's in every grouping."""
        plan = self.plan
        self.checked(checks.geometry(plan.all_starts, self.device))
        cases = [plan.stepped(plan.checked)]
        cases += [replace(plan.stepped(plan.small), grouping=grouping) for grouping in plan.groupings]
        for case in cases:
            self.do(f"check: one step, {case.suite}, {case.grouping}", lambda case=case: self.check_steps(case))

    def check_steps(self, case: Case) -> None:
        """Single steps from the experts' states."""
        self.checked(checks.parity(case, self.played(case.suite), self.device))

    def check_engine(self) -> None:
        """Checks of the machinery: recordings, faults, waiting, memory."""
        plan, case = self.plan, self.plan.machinery
        env = case.build(self.device)
        case.reset(env, random_progress=True)
        self.checked(checks.recorded(env))
        loop = random_actions(env)
        self.checked(checks.constant_memory(env, loop, plan.steps))
        self.checked(checks.synchronization(env, loop, min(64, plan.steps)))
        env.close()
        for check in (checks.replayed, checks.broken_world, checks.too_little_room):
            self.do(f"check: {check.__name__}", functools.partial(self._check_machinery, check))

    def start_again(self) -> None:
        """The time to the first step in a fresh process, whose kernels are compiled already."""
        for suite, worlds in self.plan.headline:
            command = [sys.executable, str(SCRIPT), "--device", str(self.device), "--start", suite, str(worlds)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=max(10.0, self.left()), check=True)
            self.note("starts", json.loads(done.stdout.splitlines()[-1]))

    def run(self, parts: Collection[str] = PARTS) -> None:
        """Everything, what matters most first; or some parts of it."""
        plan, device = self.plan, self.device
        gc.collect()
        gc.freeze()  # each recording collects garbage first, and need not look at what was imported
        unit = 1.0 if device.type == "cuda" else 0.2
        self._do_if("look" in parts, "a first look", self.begin, 20 * unit)
        for suite, worlds in plan.headline:
            case = Case(suite, worlds, goals=plan.goals)
            measured = functools.partial(self.speeds, case, closely=True)
            self._do_if("headline" in parts, f"{suite}, {worlds} worlds", measured, 40 * unit)
        self._do_if("checks" in parts, "checks of all tasks", self.check_worlds, 40 * unit)
        self._do_if("checks" in parts, "checks of the engine", self.check_engine, 30 * unit)
        for case in plan.curve:
            floor = case.worlds == min(plan.sizes) and case.grouping == "layout"
            measured = functools.partial(self.speeds, case, KINDS[:2], closely=floor)
            many = 0.0 if case.grouping == "layout" else 0.8 * len(case.tasks)  # each model is recorded apart
            name = f"{case.suite}, {case.worlds} worlds, {case.grouping}"
            self._do_if("curve" in parts, name, measured, (25 + many) * unit)
        self._do_if("start" in parts, "start in a fresh process", self.start_again, 40 * unit)
        for check in (checks.deterministic, checks.failed_recording):  # what may compile much, or break the device
            one = functools.partial(self._check_machinery, check)
            self._do_if("checks" in parts, f"check: {check.__name__}", one, 5)

    def _do_if(self, wanted: bool, name: str, work: Callable[[], None], needs: float) -> None:
        if wanted:
            self.do(name, work, needs)

    def _check_machinery(self, check: Callable[[Case, torch.device], checks.Check]) -> None:
        self.checked(check(self.plan.machinery, self.device))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(own)}" for name, own in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return str(value)


def replace_file(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def _kernels() -> int:
    """Modules of kernels in Warp's cache."""
    folder = Path(warp.config.kernel_cache_dir or ".")
    return sum(1 for path in folder.glob("*/*") if path.suffix in (".cubin", ".ptx", ".o"))
