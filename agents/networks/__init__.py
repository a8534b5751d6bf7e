"""Shared-layer networks, one file each. A new one is a file here and a line below."""

from . import front_ends, multi_head, one_hot, paco, soft_modules

__all__ = ["front_ends", "multi_head", "one_hot", "paco", "soft_modules"]
