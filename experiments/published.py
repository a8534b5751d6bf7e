"""Published success rates on Meta-World's multi-task suites, each with the letter of its protocol."""

from dataclasses import dataclass

PROTOCOLS = {
    "A": "Meta-World+, 50 goals a task drawn anew each episode, horizon 500, success at any step",
    "E": "BRC, one goal a task in the released code, horizon 200",
    "F": "ARS and TOPPO, random goals, horizon 500",
    "G": "MTBench, another simulator, arm and rewards, horizon 150",
}


@dataclass(frozen=True)
class Anchor:
    """A published figure.

    Attributes:
        method: Its name.
        letter: Of the protocol.
        success: In per cent, with the interval where there is one.
        steps: Environment steps a task.
        time: Wall-clock and hardware; empty: not told.
        source: Paper or code.
    """

    method: str
    letter: str
    success: str
    steps: str
    time: str
    source: str


_FIGURES = "figures of github.com/rainx0r/mtrl"
_PLUS = "McLean et al., Meta-World+, NeurIPS 2025"
_TOPPO = "arXiv 2605.11473"
_ARS = "Cho et al., ICML 2025"
_FAST = "Seo et al., FastTD3, 2025"

ANCHORS: dict[str, tuple[Anchor, ...]] = {
    "MT10": (
        Anchor("multi-head SAC, 3 x 400", "A", "74.8 [72.9, 76.9]", "2 M", "6 h, A100", _FIGURES),
        Anchor("Soft Modularization", "A", "81.2 [77.0, 86.5]", "2 M", "", _FIGURES),
        Anchor("MOORE", "A", "81.0 [78.5, 83.8]", "2 M", "", _FIGURES),
        Anchor("PaCo", "A", "73.8 [72.8, 74.7]", "2 M", "", _FIGURES),
        Anchor("multi-head SAC, 3 x 1024", "A", "87.0", "2 M", "", _FIGURES),
        Anchor("multi-head SAC, 3 x 4096", "A", "93.7", "2 M", "", _FIGURES),
        Anchor("BRC (its MT10 tasks within MT50)", "E", "99.8", "1 M", "", "Nauman et al., NeurIPS 2025"),
        Anchor("ARS-LoRA", "F", "99.5", "2 M", "", _ARS),
        Anchor("TOPPO", "F", "97.2", "under 2 M", "", _TOPPO),
        Anchor("FastTD3", "G", "97 to 98", "4.1 M", "15 to 20 min, A100", _FAST),
    ),
    "MT50": (
        Anchor("multi-head SAC, 3 x 400", "A", "54.9", "2 M", "25 h, A100", _FIGURES),
        Anchor("multi-head SAC, 3 x 400", "A", "about 60", "2 M", "", _PLUS),
        Anchor("Soft Modularization", "A", "65.9", "2 M", "", _FIGURES),
        Anchor("MOORE", "A", "64.9", "2 M", "", _FIGURES),
        Anchor("multi-head SAC, 3 x 2048", "A", "82.3", "2 M", "", _FIGURES),
        Anchor("BRC", "E", "88.1 [85.0, 91.3]", "1 M", "", "Nauman et al., NeurIPS 2025"),
        Anchor("ARS-LoRA", "F", "83.2", "2 M", "", _ARS),
        Anchor("TOPPO", "F", "90.9", "2 M", "", _TOPPO),
        Anchor("FastTD3 with SimbaV2", "G", "over 90", "3.3 M", "80 min, A100", _FAST),
    ),
}
