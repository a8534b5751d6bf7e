"""Memory for networks: gated recurrent units before any network, over the steps of a trial."""

import math

import torch
from torch import nn

from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkAround, Outputs

from .networks.layers import Linear


class GRU(nn.Module):
    """h' = (1 - z) n + z h with r, z = sigmoid(W x + b + U h + c), n = tanh(W_n x + b_n + r (U_n h + c_n)).

    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, in the form of torch.nn.GRU.

    Args:
        fan_in: Numbers in.
        width: Units.
        generator: Draws the initial weights from U(-1 / sqrt(width), 1 / sqrt(width)).
    """

    def __init__(self, fan_in: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(width)
        self.width = width
        self.inputs = Linear(1, fan_in, 3 * width, generator, bound)
        self.recurrent = Linear(1, width, 3 * width, generator, bound)

    def forward(self, given: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """One step.

        Args:
            given: `[group, sample, 3 * width]`, what `inputs` makes of the step's numbers.
            hidden: `[group, sample, width]`.
        """
        reset_in, update_in, new_in = given.chunk(3, dim=-1)
        reset, update, new = self.recurrent(hidden.unsqueeze(0)).squeeze(0).chunk(3, dim=-1)
        gate = torch.sigmoid(update_in + update)
        candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset) * new)
        return candidate + gate * (hidden - candidate)


class WithMemory(NetworkAround):
    """A network that sees a memory of the trial beside its input, whose last number says where a trial begins.

    Args:
        body: Takes the input and the memory, `fan_in + width` numbers.
        fan_in: Numbers in.
        width: Units of the memory.
        steps: Of a sequence; samples that go in are so many steps of some worlds, sorted by step.
        place: Of its memory among those that stand beside the input of a sequence, each of `width` numbers.
        generator: Draws the initial weights.
    """

    def __init__(
        self, body: Network, fan_in: int, width: int, steps: int, place: int, generator: torch.Generator
    ) -> None:
        super().__init__(body)
        self.gru, self._fan_in, self._steps = GRU(fan_in, width, generator), fan_in, steps
        self._before = slice(fan_in + place * width, fan_in + (place + 1) * width)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """`[group, step * world, in + memories]` to `[copies, group, step * world, out]`.

        Beside the first step's input is the memory before it; what is beside the others is not looked at.
        """
        return self.sequence(x, task_id, self._steps)[0]

    def sequence(self, x: Inputs, task_id: GroupTasks, steps: int) -> tuple[Outputs, torch.Tensor]:
        """The same for another number of steps; and the memory after each, `[group, step, world, width]`."""
        x, hidden = x[..., : self._fan_in], x[:, : x.shape[1] // steps, self._before]
        # Taken apart at once: the gradient of one step by its index would be as large as all of them.
        given = self._given(x).unflatten(1, (steps, -1)).unbind(1)
        keep = (1.0 - x[..., -1:]).unflatten(1, (steps, -1)).unbind(1)
        each = []
        for now, kept in zip(given, keep, strict=True):
            hidden = self.gru(now, hidden * kept)
            each.append(hidden)
        memory = torch.stack(each, dim=1)
        return self.body(torch.cat([x, memory.flatten(1, 2)], dim=-1), task_id), memory

    def step(self, x: Inputs, hidden: torch.Tensor, task_id: GroupTasks) -> tuple[Outputs, torch.Tensor]:
        """One step of some worlds, `[group, world, in]`, with the memory before it: what comes out, and the memory."""
        hidden = self.gru(self._given(x), hidden * (1.0 - x[..., -1:]))
        return self.body(torch.cat([x, hidden], dim=-1), task_id), hidden

    def _given(self, x: Inputs) -> torch.Tensor:
        return self.gru.inputs(x.unsqueeze(0)).squeeze(0)
