"""Scales that follow single worlds: their number is known when the first step comes."""

from mtrl.parts.scale import Scale
from mtrl.types import State


class WorldScale(Scale):
    """Keeps some numbers for every world, in buffers that begin empty, `[0, ...]`, and have a row a world later.

    A subclass names them in `per_world`.
    """

    per_world: tuple[str, ...] = ()

    def make_room(self, worlds: int) -> None:
        """Gives the buffers their rows, of zeros, at the first step."""
        for name in self.per_world:
            buffer = self.get_buffer(name)
            if len(buffer) != worlds:
                setattr(self, name, buffer.new_zeros((worlds, *buffer.shape[1:])))

    def forget_worlds(self) -> None:
        """See `Scale.forget_worlds`."""
        self.make_room(0)

    def set_state(self, state: State) -> None:
        """See `Scale.set_state`; the state may be of worlds that were not seen yet."""
        for name in self.per_world:
            self.make_room(len(state[name]))
        super().set_state(state)
