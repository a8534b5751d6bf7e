"""Combiners: how the losses of all tasks become one update, one file each. A new one is a file and a line here."""

from . import (
    cagrad,
    cagrad_fast,
    fairgrad,
    famo,
    flat_regions,
    given,
    gradnorm,
    mean,
    mgda,
    nash,
    pcgrad,
    scale_invariant,
    temperature,
    uncertainty,
)

__all__ = [
    "cagrad",
    "cagrad_fast",
    "fairgrad",
    "famo",
    "flat_regions",
    "given",
    "gradnorm",
    "mean",
    "mgda",
    "nash",
    "pcgrad",
    "scale_invariant",
    "temperature",
    "uncertainty",
]
