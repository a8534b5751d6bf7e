"""Shared-layer networks, one file each. A new one is a file here and a line below."""

from . import multi_head, one_hot

__all__ = ["multi_head", "one_hot"]
