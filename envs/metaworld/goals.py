"""Where goals are drawn from: upstream's reset distributions."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mtrl.errors import UserError
from mtrl.plain_types import GoalRows


def apart(first: int, second: int, distance: float) -> Callable[[np.ndarray], bool]:
    """Accepts a goal whose numbers at `first` and at `second`, two each, are at least `distance` m apart."""
    return lambda row: bool(np.linalg.norm(row[first : first + 2] - row[second : second + 2]) >= distance)


@dataclass(frozen=True)
class GoalSpace:
    """A box, of which a part may be rejected.

    Attributes:
        low: Lower bounds, `[goal]` m.
        high: Upper bounds.
        accepts: Whether a row is one of the task's goals; None accepts all.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    accepts: Callable[[np.ndarray], bool] | None = None

    def sample(self, name: str, count: int, seed: int) -> GoalRows:
        """Draws goals of a task, uniformly.

        They depend on the task and the seed alone: `sample(name, 100, seed)` begins with the rows of
        `sample(name, 50, seed)`.

        Args:
            name: The task's.
            count: How many.
            seed: Zero or more.

        Returns:
            Distinct rows, `[count, goal]`.

        Raises:
            UserError: A number is negative.
        """
        if count < 0 or seed < 0:
            raise UserError(f"cannot draw {count} goals with seed {seed}: both must be 0 or more")
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        rows: dict[bytes, np.ndarray] = {}
        while len(rows) < count:
            row = generator.uniform(self.low, self.high, size=len(self.low))
            if self.accepts is None or self.accepts(row):
                rows.setdefault(row.tobytes(), row)
        return np.array(list(rows.values()), dtype=np.float64).reshape(count, -1)
