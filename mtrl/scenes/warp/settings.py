"""How the warp engine arranges its worlds."""

from dataclasses import dataclass
from typing import Literal, get_args

from mtrl.errors import UserError

Grouping = Literal["scene", "topology", "layout"]


@dataclass(frozen=True)
class WarpSettings:
    """Warp engine."""

    grouping: Grouping = "layout"
    """Which scenes share a model: `scene` none, `topology` those of equal structure, `layout` those of equal joints."""
    streams: int = 8
    """CUDA streams over which models are spread; 1 runs one after the other."""
    deterministic: bool = False
    """Have a GPU give the same bits every time, at a price; the CPU does anyway."""
    contacts: int = 64
    """Contacts, and pairs of geometry that are near, to make room for: so many a world on average."""
    spare_contacts: int = 512
    """And so many more in every model, since few worlds average little."""
    constraints: int = 320
    """Rows of constraints to make room for in every world."""

    def check(self) -> None:
        """Refuses impossible numbers.

        Raises:
            UserError: A number is below what anything can run with.
        """
        if self.grouping not in get_args(Grouping):
            raise UserError(f"--warp.grouping {self.grouping} is unknown: give one of {', '.join(get_args(Grouping))}")
        for name, lowest in (("streams", 1), ("contacts", 1), ("spare_contacts", 0), ("constraints", 1)):
            if getattr(self, name) < lowest:
                option = name.replace("_", "-")
                raise UserError(f"--warp.{option} {getattr(self, name)} is too small: give at least {lowest}")
