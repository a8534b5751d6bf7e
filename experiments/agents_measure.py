"""Time and memory of updates, for bench_agents.py."""

import gc
import statistics
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from agents_cases import Candidate
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from mtrl.agents.sac import SAC
from mtrl.algorithm import Batch
from mtrl.graphs import Recorded

WARM_UPS = {"eager": 1, "compiled": 2, "graph": Recorded.WARM_UPS + 2}
"""Updates before any is counted: compiling, recording, what optimisers allocate."""
LEAST_ROUNDS = 3
TURN = 0.25
"""Seconds that one turn of a round should last at least; slower updates are done once."""
MARK = "the update whose memory counts"


@dataclass
class Runner:
    """One agent in one mode.

    Attributes:
        candidate: Which.
        agent: It.
        batch: What it learns from, over and over.
        began: Seconds that it took until all was compiled and recorded.
        each: Milliseconds of an update, one entry a round.
        turn: Updates in a turn.
    """

    candidate: Candidate
    agent: SAC
    batch: Batch
    began: float = 0.0
    each: list[float] = field(default_factory=list)
    turn: int = 1

    @classmethod
    def start(cls, candidate: Candidate, mode: str, device: torch.device) -> "Runner":
        """Builds an agent and warms it up."""
        begun = time.perf_counter()
        agent = candidate.build(device)
        if mode == "compiled":
            agent.compile()
        if mode == "graph":
            agent.record()
        runner = cls(candidate, agent, candidate.batch(device))
        runner.run(WARM_UPS[mode])
        runner.began = time.perf_counter() - begun
        runner.turn = max(1, round(TURN / runner.run(1)))
        return runner

    def run(self, updates: int) -> float:
        """Seconds an update, of so many."""
        synchronize(self.agent.problem.device)
        began = time.perf_counter()
        for _ in range(updates):
            self.agent.update(self.batch)
        synchronize(self.agent.problem.device)
        return (time.perf_counter() - began) / updates


def synchronize(device: torch.device) -> None:
    """Waits until everything on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(
    suite: str, mode: str, candidates: list[Candidate], device: torch.device, seconds: float
) -> list[dict[str, Any]]:
    """Measures candidates, the reference first, in rounds.

    Args:
        suite: Name of their sizes.
        mode: `eager`, `compiled` or `graph`.
        candidates: What is measured.
        device: Where.
        seconds: Of updates, for each of them on average.

    Returns:
        A row for each: medians over rounds; ratios to the reference in the same round, with their quartiles.
    """
    memory = [peak_memory(candidate, mode, device) for candidate in candidates]
    runners = [Runner.start(candidate, mode, device) for candidate in candidates]
    end = time.perf_counter() + seconds * len(runners)
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < end:
        for runner in runners:
            runner.each.append(1e3 * runner.run(runner.turn))
        rounds += 1
    rows = []
    for runner, peak in zip(runners, memory, strict=True):
        ratios = [own / reference for own, reference in zip(runner.each, runners[0].each, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
        counts = runner.agent.parameter_counts()
        rows.append(
            {
                "suite": suite,
                "mode": mode,
                "kind": runner.candidate.kind,
                "part": runner.candidate.name,
                "parameters": sum(counts.values()),
                **({"multiply_adds": multiply_adds(runner.candidate, device)} if mode == "eager" else {}),
                "rounds": rounds,
                "ms": statistics.median(runner.each),
                "ratio": statistics.median(ratios),
                "quartiles": [low, high],
                "start_s": runner.began,
                "mb": peak / 1e6,
                "fault": "" if runner.agent._recorded is None else runner.agent._recorded.fault,
            }
        )
    return rows


def multiply_adds(candidate: Candidate, device: torch.device) -> int:
    """Of all products of matrices in an update: what it has to do at least, on whatever machine."""
    agent, batch = candidate.build(device), candidate.batch(device)
    with FlopCounterMode(display=False) as counter:
        agent.update(batch)
    return counter.get_total_flops() // 2


def peak_memory(candidate: Candidate, mode: str, device: torch.device) -> float:
    """Bytes of tensors at the worst moment of an update: parameters, optimisers and all that comes between.

    On a CPU all allocations since before the agent was built are added up; a GPU's allocator counts them itself.
    """
    gc.collect()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        runner = Runner.start(candidate, mode, device)
        torch.cuda.reset_peak_memory_stats(device)
        runner.run(1)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        agent, batch = candidate.build(device), candidate.batch(device)
        if mode == "compiled":
            agent.compile()
        agent.update(batch)
        with record_function(MARK):
            agent.update(batch)
    return _peak(profiler)


def _peak(profiler: profile) -> float:
    """The most bytes that were held at once since the mark."""
    inner = profiler.profiler
    assert inner is not None and inner.kineto_results is not None
    events = sorted(inner.kineto_results.events(), key=lambda event: event.start_ns())
    held, most, counting = 0, 0, False
    for event in events:
        if event.name() == MARK:
            counting = True
        elif event.name() == "[memory]":
            held += event.nbytes()  # pyright: ignore[reportAttributeAccessIssue] - torch's stubs lack it
            most = max(most, held) if counting else most
    return float(most)
