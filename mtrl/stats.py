"""Statistics over seeds, tasks and goals: what is reported of a handful of runs, and how sure it is.

Scores are success rates in [0, 1] with the axes `seed` and `task`, outcomes are successes of single goals. Tasks are
the benchmark and are never resampled; seeds and goals are samples and are. Under `MINIMUM_SEEDS` seeds there are
point estimates alone: no interval and no comparison, since a bootstrap over three seeds covers 74 %, not 95 %.

Sources: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice" (interquartile
mean, performance profiles, probability of improvement); Efron and Tibshirani 1993, "An Introduction to the Bootstrap",
chapters 8 and 13 (several levels, percentile interval). docs/dashboard.md has the formulae.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

MINIMUM_SEEDS = 5
"""Seeds below which nothing but points is given."""
CONFIDENCE = 0.95
REPETITIONS = 2000
"""Bootstrap replicates of an interval."""

Scores = Float[np.ndarray, "*rep seed task"]
Statistic = Callable[[Scores], np.ndarray]


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the score."""

    low: float
    high: float


def iqm(values: Float[np.ndarray, "*rep sample"]) -> Float64[np.ndarray, "*rep"]:
    """Interquartile mean over the last axis: of what is left after a quarter of the values is cut at either end.

    The quarter is rounded down, so that of fewer than four values nothing is cut: SciPy's `trim_mean(values, 0.25)`.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = ordered.shape[-1]
    cut = int(0.25 * count)
    return ordered[..., cut : count - cut].mean(axis=-1)


def worst_tenth(scores: Float[np.ndarray, "*rep task"]) -> Float64[np.ndarray, "*rep"]:
    """Mean over the worst tenth of the tasks, rounded up (one of 3 or 10, five of 50), along the last axis."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64), axis=-1)
    # Whole numbers, since 0.1 * 30 is more than 3 in floating point.
    return ordered[..., : -(-ordered.shape[-1] // 10)].mean(axis=-1)


def mean_over_tasks(scores: Scores) -> Float64[np.ndarray, "*rep"]:
    """Mean over tasks and seeds."""
    return np.asarray(scores, dtype=np.float64).mean(axis=(-2, -1))


def iqm_over_seeds(scores: Scores) -> Float64[np.ndarray, "*rep"]:
    """Interquartile mean over seeds of each seed's mean over tasks."""
    return iqm(np.asarray(scores, dtype=np.float64).mean(axis=-1))


def worst_tasks(scores: Scores) -> Float64[np.ndarray, "*rep"]:
    """Worst tenth of the tasks by each task's mean over seeds."""
    return worst_tenth(np.asarray(scores, dtype=np.float64).mean(axis=-2))


STATISTICS: Mapping[str, Statistic] = {"mean": mean_over_tasks, "iqm": iqm_over_seeds, "worst": worst_tasks}
"""What a table shows of an agent."""


def task_scores(outcomes: Sequence[Float[np.ndarray, "seed goal"]]) -> Float64[np.ndarray, "seed task"]:
    """Success rate of each seed in each task.

    Args:
        outcomes: One array a task; goals a task may differ in number.
    """
    return np.stack([np.asarray(task, dtype=np.float64).mean(axis=-1) for task in outcomes], axis=-1)


def resample(
    outcomes: Sequence[Float[np.ndarray, "seed goal"]], repetitions: int = REPETITIONS, seed: int = 0
) -> Float64[np.ndarray, "rep seed task"]:
    """Bootstrap replicates of the scores: seeds are drawn with replacement, then goals within each task.

    All seeds play the same goals, so a replicate draws a task's goals once for all its seeds. What makes a goal hard
    for every seed is then one chance event and not one a seed, which more seeds would seem to average away.

    Args:
        outcomes: One array a task.
        repetitions: Replicates.
        seed: Fixes the draws; apart from every run's seed.
    """
    generator = np.random.default_rng(seed)
    num_seeds = len(outcomes[0])
    scores = np.empty((repetitions, num_seeds, len(outcomes)))
    for index, task in enumerate(outcomes):
        goals = task.shape[-1]
        # How often each goal was drawn is all that a mean needs: a matrix product instead of an index array.
        weights = generator.multinomial(goals, np.full(goals, 1.0 / goals), size=repetitions)
        scores[:, :, index] = weights @ np.asarray(task, dtype=np.float64).T / goals
    drawn = generator.integers(num_seeds, size=(repetitions, num_seeds))
    return np.take_along_axis(scores, drawn[:, :, None], axis=1)


def intervals(
    outcomes: Sequence[Float[np.ndarray, "seed goal"]],
    statistics: Mapping[str, Statistic] = STATISTICS,
    *,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval] | None:
    """Percentile intervals of some statistics, all from the same replicates of `resample`.

    Args:
        outcomes: One array `[seed, goal]` a task.
        statistics: Name to function of `[..., seed, task]` scores.
        repetitions: Bootstrap replicates.
        confidence: Nominal coverage.
        seed: Fixes the draws.

    Returns:
        Name to interval, or None under `MINIMUM_SEEDS` seeds.
    """
    if len(outcomes[0]) < MINIMUM_SEEDS:
        return None
    replicates = resample(outcomes, repetitions, seed)
    return {name: _percentile(statistic(replicates), confidence) for name, statistic in statistics.items()}


def performance_profile(
    scores: Float[np.ndarray, "seed task"], thresholds: Float[np.ndarray, " threshold"]
) -> Float64[np.ndarray, " threshold"]:
    """Fraction of all (seed, task) scores that are above each threshold."""
    return (np.asarray(scores)[..., None] > thresholds).mean(axis=(0, 1))


def probability_of_improvement(
    one: Float[np.ndarray, "seed task"], other: Float[np.ndarray, "seed task"]
) -> float | None:
    """How likely a run of `one` beats a run of `other` on a task drawn at random: Mann-Whitney's U, ties half.

    Returns:
        A number in [0, 1], 0.5 where the two are alike, or None where either has fewer than `MINIMUM_SEEDS` seeds.
    """
    if min(len(one), len(other)) < MINIMUM_SEEDS:
        return None
    return float(_wins(one, other).mean())


def improvement_interval(
    one: Float[np.ndarray, "seed task"],
    other: Float[np.ndarray, "seed task"],
    *,
    repetitions: int = REPETITIONS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of `probability_of_improvement` over seeds of both, or None where that is None."""
    if min(len(one), len(other)) < MINIMUM_SEEDS:
        return None
    generator = np.random.default_rng(seed)
    left = generator.integers(len(one), size=(repetitions, len(one)))
    right = generator.integers(len(other), size=(repetitions, len(other)))
    return _percentile(_wins(one, other)[left[:, :, None], right[:, None, :]].mean(axis=(1, 2)), confidence)


def _wins(
    one: Float[np.ndarray, "seed task"], other: Float[np.ndarray, "seed task"]
) -> Float64[np.ndarray, "one other"]:
    """Fraction of the tasks that each run of `one` wins against each run of `other`, a tie counted half."""
    left, right = np.asarray(one)[:, None, :], np.asarray(other)[None, :, :]
    return ((left > right) + 0.5 * (left == right)).mean(axis=-1)


def _percentile(replicates: Float[np.ndarray, " rep"], confidence: float) -> Interval:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(replicates, [tail, 1.0 - tail])
    return Interval(float(low), float(high))
