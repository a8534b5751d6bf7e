"""The benchmark suites as plain data. MT1 and ML1 of any task need no entry: see `mtrl.suites.resolve_suite`."""

import gymnasium

from mtrl.suites import SUITES, Suite

from .metaworld.catalogue import DESCRIPTIONS

MT3 = ("reach-v3", "window-close-v3", "coffee-button-v3")
"""Three that differ in kind and that no idle, random or repeated action solves: see docs/environments.md."""

MT10 = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "window-close-v3",
)

MT25 = (
    *MT10,
    "coffee-pull-v3",
    "pick-out-of-hole-v3",
    "disassemble-v3",
    "pick-place-wall-v3",
    "basketball-v3",
    "stick-pull-v3",
    "button-press-wall-v3",
    "faucet-open-v3",
    "door-lock-v3",
    "lever-pull-v3",
    "sweep-into-v3",
    "faucet-close-v3",
    "coffee-button-v3",
    "button-press-topdown-wall-v3",
    "dial-turn-v3",
)

MT50 = tuple(DESCRIPTIONS)

ML10_TRAIN = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-close-v3",
    "button-press-topdown-v3",
    "peg-insert-side-v3",
    "window-open-v3",
    "sweep-v3",
    "basketball-v3",
)
ML10_TEST = ("drawer-open-v3", "door-close-v3", "shelf-place-v3", "sweep-into-v3", "lever-pull-v3")

ML25_TRAIN = MT25
ML25_TEST = ("door-close-v3", "shelf-place-v3", "sweep-v3", "button-press-v3")
"""Upstream tests on basketball as well, which is also trained on: `ML25-leaky` is that suite."""
ML25_LEAKY_TEST = ("basketball-v3", *ML25_TEST)

ML45_TEST = ("bin-picking-v3", "box-close-v3", "hand-insert-v3", "door-lock-v3", "door-unlock-v3")
# Upstream's order, which differs from MT50's in four places.
_ML45_HEAD = MT50[: MT50.index("pick-place-wall-v3")]
_ML45_TAIL = (
    "pick-place-wall-v3",
    "pick-out-of-hole-v3",
    "push-back-v3",
    "pick-place-v3",
    "plate-slide-v3",
    "plate-slide-side-v3",
    "plate-slide-back-v3",
    "plate-slide-back-side-v3",
    "peg-insert-side-v3",
    "peg-unplug-side-v3",
    "soccer-v3",
    "stick-push-v3",
    "stick-pull-v3",
    "push-wall-v3",
    "push-v3",
    "reach-wall-v3",
    "reach-v3",
    "shelf-place-v3",
    "sweep-into-v3",
    "sweep-v3",
    "window-open-v3",
    "window-close-v3",
)
ML45_TRAIN = tuple(name for name in _ML45_HEAD if name not in ML45_TEST) + _ML45_TAIL

BUILT_IN = {
    "MT3": (
        Suite("MT3", MT3),
        "Three tasks that differ in kind, to begin with: reach a point, slide a window, press a button.",
    ),
    "MT10": (Suite("MT10", MT10), "The ten standard multi-task tasks, goals visible."),
    "MT25": (Suite("MT25", MT25), "MT10 and fifteen more, goals visible."),
    "MT50": (Suite("MT50", MT50), "All fifty tasks, goals visible."),
    "ML10": (
        Suite("ML10", ML10_TRAIN, ML10_TEST, goal_visible=False),
        "Meta-RL: ten tasks to train on, five held out, goals hidden.",
    ),
    "ML25": (
        Suite("ML25", ML25_TRAIN, ML25_TEST, goal_visible=False),
        "Meta-RL: twenty-five tasks to train on, four held out (without upstream's leak), goals hidden.",
    ),
    "ML25-leaky": (
        Suite("ML25-leaky", ML25_TRAIN, ML25_LEAKY_TEST, goal_visible=False, leaks=True),
        "ML25 as upstream has it: basketball is trained and tested on.",
    ),
    "ML45": (
        Suite("ML45", ML45_TRAIN, ML45_TEST, goal_visible=False),
        "Meta-RL: forty-five tasks to train on, five held out, goals hidden.",
    ),
}


def register() -> None:
    """Registers the suites, with mtrl and as gymnasium ids such as `MTRL/MT10-v0`."""
    for name, (suite, description) in BUILT_IN.items():
        SUITES.register(name, suite, description)
        gymnasium.register(
            id=f"MTRL/{name}-v0",
            entry_point="mtrl.envs.suites:refuse_single",
            vector_entry_point="mtrl.vector.numpy_form:make",
            kwargs={"suite": name},
        )


def refuse_single(suite: str, **_: object) -> gymnasium.Env:
    """Tells the caller of `gymnasium.make` that a suite has many environments.

    Raises:
        gymnasium.error.Error: Always.
    """
    first = SUITES.get(suite).train_tasks[0]
    raise gymnasium.error.Error(
        f"MTRL/{suite}-v0 has several tasks: use gymnasium.make_vec('MTRL/{suite}-v0'), or make one task such as "
        f"'MTRL/{first}'"
    )
