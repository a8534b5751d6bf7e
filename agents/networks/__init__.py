"""Shared-layer networks, one file each. A new one is a file here and a line below."""

from . import bronet, care, film, front_ends, hypernet, moore, multi_head, one_hot, paco, simba_v2, soft_modules

__all__ = [
    "bronet",
    "care",
    "film",
    "front_ends",
    "hypernet",
    "moore",
    "multi_head",
    "one_hot",
    "paco",
    "simba_v2",
    "soft_modules",
]
