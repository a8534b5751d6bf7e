"""The processes that train one agent together, each with worlds of every task, and what they tell each other.

Every process holds the whole agent. What is a mean over transitions or worlds is made the mean over all processes' ones
before anything follows from it, so all of them take the same step: the one that a single process would take with all
the transitions together.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
import torch.distributed

from mtrl.errors import UserError

LONGEST_WAIT = timedelta(hours=6)
"""For the others: the first process may evaluate for long."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone by default, and then nothing here does anything.

    Attributes:
        rank: Number of this process; the first one, 0, evaluates and logs.
        size: Processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: torch.device) -> Self:
        """Joins the processes that `torchrun` has started; without it, this one is alone.

        Raises:
            UserError: They cannot be reached.
        """
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if not torch.distributed.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            try:
                torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
            except (RuntimeError, ValueError) as error:
                raise UserError(f"cannot reach the other processes of torchrun: {error}") from error
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size())

    def mean(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Their means over all processes, without gradient, in one message; the same ones where this is alone."""
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]

    def largest(self, tensor: torch.Tensor) -> torch.Tensor:
        """Its largest entries over all processes."""
        if self.size == 1:
            return tensor
        found = tensor.detach().clone()
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
        return found

    def share_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Gives parameters the mean of their gradients over all processes; those without one count as zero."""
        if self.size == 1:
            return
        learned = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in learned:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in learned if parameter.grad is not None]
        for own, mean in zip(gradients, self.mean(*gradients), strict=True):
            own.copy_(mean)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it is set in any process; the host waits for all of them."""
        return bool(self.largest(torch.tensor(float(flag), device=device)) > 0.0) if self.size > 1 else flag

    def smallest(self, number: int, device: torch.device) -> int:
        """The smallest of all processes' numbers; the host waits for all of them."""
        return -int(self.largest(torch.tensor(-number, device=device))) if self.size > 1 else number

    def share(self, number: int, what: str) -> int:
        """This process's part of a number that is divided among all.

        Args:
            number: Over all processes.
            what: It is, for the message.

        Raises:
            UserError: It cannot be divided.
        """
        if number % self.size:
            raise UserError(f"{what} {number} cannot be divided among {self.size} processes: give a multiple of them")
        return number // self.size

    def seed(self, seed: int) -> int:
        """A seed of this process's own; the first process keeps the one that is given."""
        return seed + 7_919 * self.rank * (2**16)


ALONE = Ranks()
