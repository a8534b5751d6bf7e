"""The processes that train one agent together, each with worlds of every task, and what they tell each other.

Every process holds the whole agent. What is a mean over transitions or worlds is made the mean over all processes' ones
before anything follows from it, so all of them take the same step: the one that a single process would take with all
the transitions together.
"""

import os
import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

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
        device: On which they talk to each other.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @staticmethod
    def started() -> int:
        """How many processes `torchrun` has started, this one among them; 1 without it."""
        return int(os.environ.get("WORLD_SIZE", "1"))

    @staticmethod
    def local() -> int | None:
        """Number of this process among those of this machine, which says which GPU is its own; None where alone."""
        return int(os.environ["LOCAL_RANK"]) if Ranks.started() > 1 and "LOCAL_RANK" in os.environ else None

    @classmethod
    def join(cls, device: torch.device) -> Self:
        """Joins the processes that `torchrun` has started; without it, this one is alone.

        Raises:
            UserError: They cannot be reached.
        """
        if cls.started() == 1:
            return cls()
        if not torch.distributed.is_initialized():
            backend = "nccl" if device.type == "cuda" else "gloo"
            try:
                torch.distributed.init_process_group(backend, timeout=LONGEST_WAIT)
            except (RuntimeError, ValueError) as error:
                raise UserError(f"cannot reach the other processes of torchrun: {error}") from error
        return cls(torch.distributed.get_rank(), torch.distributed.get_world_size(), str(device))

    def mean(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        """Their means over all processes, without gradient, in one message; the same ones where this is alone.

        Raises:
            UserError: Another process has ended; so does every method below that talks to the others.
        """
        if self.size == 1:
            return list(tensors)
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        self._reduce(flat, torch.distributed.ReduceOp.SUM)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape).to(tensor.dtype) for part, tensor in zip(parts, tensors, strict=True)]

    def largest(self, tensor: torch.Tensor) -> torch.Tensor:
        """Its largest entries over all processes."""
        if self.size == 1:
            return tensor
        found = tensor.detach().clone()
        self._reduce(found, torch.distributed.ReduceOp.MAX)
        return found

    def _reduce(self, tensor: torch.Tensor, how: Any) -> None:
        try:
            torch.distributed.all_reduce(tensor, how)
        except RuntimeError as error:
            _outlive_the_others()
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"process {self.rank} of {self.size} cannot reach the others any more, so it stops: one of them has "
                f"ended ({reason}). Checkpoints are whole: give the same torchrun command again to go on"
            ) from error

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

    def any(self, flag: bool) -> bool:
        """Whether it is set in any process; the host waits for all of them."""
        return bool(self.largest(torch.tensor(float(flag), device=self.device)) > 0.0) if self.size > 1 else flag

    def smallest(self, number: int) -> int:
        """The smallest of all processes' numbers; the host waits for all of them."""
        return -int(self.largest(torch.tensor(-number, device=self.device))) if self.size > 1 else number

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


def _outlive_the_others() -> None:
    """Has this process say why it stops: `torchrun` sends SIGTERM to all that are left as soon as one has ended."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
