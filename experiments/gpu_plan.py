"""How much experiments/bench_gpu.py does."""

from dataclasses import dataclass, replace

from gpu_cases import SUITES, Case
from gpu_checks import TOO_LITTLE
from gpu_measure import Timing

from mtrl.scenes.warp.settings import Grouping


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        headline: Suites and worlds that come first, with everything that can be said about them.
        sizes: Worlds of the curve, on the headline's suites.
        single: Worlds at which single tasks are measured.
        singles: These tasks.
        groupings: The others that are measured.
        checked: The suite that is checked.
        small: The suite whose checks take many steps.
        few: Worlds of the first look.
        goals: Of each task.
        played: Goals of each task that the experts play.
        timing: Of each figure.
        steps: Of the checks of memory and waiting.
        repeats: Of breakdowns.
    """

    headline: tuple[tuple[str, int], ...]
    sizes: tuple[int, ...]
    single: tuple[int, ...]
    singles: tuple[str, ...]
    groupings: tuple[Grouping, ...]
    checked: str
    small: str
    few: int
    goals: int
    played: int
    timing: Timing
    steps: int
    repeats: int

    @property
    def first_look(self) -> Case:
        """A few worlds, to begin with."""
        return Case(self.small, self.few, goals=self.goals)

    @property
    def machinery(self) -> Case:
        """What checks take that need many steps."""
        return Case(self.small, 8 * self.few if self.few >= 64 else self.few, goals=self.goals)

    @property
    def all_starts(self) -> Case:
        """One world of each task."""
        return Case(self.checked, 0, goals=self.goals)

    def stepped(self, suite: str) -> Case:
        """A world for each goal that the experts play."""
        return Case(suite, len(SUITES[suite]) * self.played, goals=self.played)

    @property
    def curve(self) -> list[Case]:
        """What is measured besides the headline, in order."""
        suites = [suite for suite, _ in reversed(self.headline)]
        first = [(suite, worlds) for suite, worlds in reversed(self.headline)]
        cases = [Case(suite, worlds, other) for suite, worlds in first for other in self.groupings]
        cases += [Case(suite, worlds) for worlds in self.sizes for suite in suites]
        cases += [Case(suite, worlds) for worlds in self.single for suite in self.singles]
        cases += [Case(suite, worlds, other) for worlds in self.sizes for suite in suites for other in self.groupings]
        return [replace(case, goals=self.goals) for case in cases]

    @property
    def cases(self) -> list[Case]:
        """Every environment that is built, as far as its kernels may be its own."""
        small = [self.stepped(self.small), self.machinery]
        cases = [self.first_look, *small, *(Case(*pair) for pair in self.headline), self.all_starts]
        cases += [self.stepped(self.checked), *self.curve]
        cases += [replace(small[0], grouping=other) for other in self.groupings]
        for change in (*TOO_LITTLE, {"deterministic": True}):
            cases.append(replace(self.machinery, settings=replace(self.machinery.settings, **change)))
        return cases


GPU = Plan(
    headline=(("MT10", 8192), ("MT50", 8192)),
    sizes=(24_576, 2048, 512, 64),
    single=(8192, 64, 24_576, 2048, 512),
    singles=("MT1 reach", "MT1 peg-insert-side"),
    groupings=("topology", "scene"),
    checked="MT50",
    small="MT10",
    few=64,
    goals=50,
    played=4,
    timing=Timing(),
    steps=640,
    repeats=16,
)
SLOW = Timing(windows=3, seconds=0.5, steps=8, warm=4)
CPU = Plan(
    (("MT10", 20), ("MT50", 50)), (100,), (4,), ("MT1 reach",), ("scene",), "MT50", "MT10", 20, 8, 1, SLOW, 64, 2
)
QUICK = Plan(
    headline=(("MT3", 6),),
    sizes=(3,),
    single=(2,),
    singles=("MT1 reach",),
    groupings=("scene",),
    checked="MT3",
    small="MT3",
    few=6,
    goals=3,
    played=1,
    timing=Timing(windows=2, seconds=0.05, steps=2, warm=1),
    steps=8,
    repeats=1,
)
