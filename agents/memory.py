"""Memory for any network, over the steps of a trial: gated recurrent units before it, and the best moment yet."""

import math

import torch
from torch import nn

from mtrl.parts.network import GroupTasks, Inputs, Network, NetworkAround, Outputs
from mtrl.vector.trials import BEGINS, ENDED, REWARD

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


class Recall:
    """What was seen when the reward of a trial was the highest yet, and that reward; of equals the mean.

    Memory of single moments beside a recurrent one: Ritter et al., "Been There, Done That: Meta-Learning with Episodic
    Recall", ICML 2018; here there is one moment for a trial, and no choice to be learned.

    Args:
        shown: Numbers that the environment shows, the first of an input; 0: nothing is recalled.
    """

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self.width = shown + 2 if shown else 0

    @torch.no_grad()
    def __call__(self, x: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        """What is held after a step: what the environment showed, the reward, and 1 / n for the mean of n; 0: nothing.

        Args:
            x: `[..., in]`, an observation of `Trials`.
            held: `[..., width]`, before it, and nothing of another trial.
        """
        reward, ended, begins = (x[..., place].unsqueeze(-1) for place in (REWARD, ENDED, BEGINS))
        mean, best, share = held.split([self._shown, 1, 1], dim=-1)
        known = share > 0
        share = torch.where(known & (reward == best), share / (1.0 + share), 1.0)
        found = torch.cat([torch.lerp(mean, x[..., : self._shown], share), reward, share], dim=-1)
        # With the last reward of an episode the beginning of the next is seen.
        better = (ended + begins == 0) & (~known | (reward >= best))
        return torch.where(better, found, held)


class WithMemory(NetworkAround):
    """A network that sees a memory of the trial beside its input, whose last number says where a trial begins.

    Args:
        body: Takes the input and the memory, `fan_in + width` numbers, and what is recalled.
        fan_in: Numbers in.
        width: Units of the memory.
        steps: Of a sequence; samples that go in are so many steps of some worlds, sorted by step.
        place: Of its memory among those that stand beside the input of a sequence, each with what it recalls.
        generator: Draws the initial weights.
        recall: What it recalls beside its units.
    """

    def __init__(
        self,
        body: Network,
        fan_in: int,
        width: int,
        steps: int,
        place: int,
        generator: torch.Generator,
        recall: Recall,
    ) -> None:
        super().__init__(body)
        self.gru, self._fan_in, self._steps = GRU(fan_in, width, generator), fan_in, steps
        self._recall, whole = recall, width + recall.width
        self._before = slice(fan_in + place * whole, fan_in + (place + 1) * whole)

    def forward(self, x: Inputs, task_id: GroupTasks) -> Outputs:
        """`[group, step * world, in + memories]` to `[copies, group, step * world, out]`.

        Beside the first step's input is the memory before it; what is beside the others is not looked at.
        """
        return self.sequence(x, task_id, self._steps)[0]

    def sequence(self, x: Inputs, task_id: GroupTasks, steps: int) -> tuple[Outputs, torch.Tensor]:
        """The same for another number of steps; and the memory after each, `[group, step, world, width]`."""
        x, memory = x[..., : self._fan_in], x[:, : x.shape[1] // steps, self._before]
        # Taken apart at once: the gradient of one step by its index would be as large as all of them.
        given = self._given(x).unflatten(1, (steps, -1)).unbind(1)
        seen = x.unflatten(1, (steps, -1)).unbind(1)
        each = []
        for now, told in zip(given, seen, strict=True):
            memory = self._after(now, told, memory)
            each.append(memory)
        memories = torch.stack(each, dim=1)
        return self.body(torch.cat([x, memories.flatten(1, 2)], dim=-1), task_id), memories

    def step(self, x: Inputs, memory: torch.Tensor, task_id: GroupTasks) -> tuple[Outputs, torch.Tensor]:
        """One step of some worlds, `[group, world, in]`, with the memory before it: what comes out, and the memory."""
        memory = self._after(self._given(x), x, memory)
        return self.body(torch.cat([x, memory], dim=-1), task_id), memory

    def _after(self, given: torch.Tensor, x: Inputs, memory: torch.Tensor) -> torch.Tensor:
        """The memory after a step with this input, of which the units are given `given`."""
        memory = memory * (1.0 - x[..., -1:])
        if not self._recall.width:
            return self.gru(given, memory)
        units, held = memory.split([self.gru.width, self._recall.width], dim=-1)
        return torch.cat([self.gru(given, units), self._recall(x, held)], dim=-1)

    def _given(self, x: Inputs) -> torch.Tensor:
        return self.gru.inputs(x.unsqueeze(0)).squeeze(0)
