"""Critics: how values are represented and learned, one file each. A new one is a file and a line here."""

from . import mse

__all__ = ["mse"]
