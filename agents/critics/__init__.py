"""Critics: how values are represented and learned, one file each. A new one is a file and a line here."""

from . import c51, hl_gauss, mse, popart

__all__ = ["c51", "hl_gauss", "mse", "popart"]
