"""Recording work on a GPU once, as a CUDA graph, and replaying it: one launch in place of hundreds."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from mtrl.logger.console import warn

Tensors = dict[str, torch.Tensor]
Recorder = Callable[[Callable[[], None], Sequence[torch.Generator]], Callable[[], object]]
"""`(work, generators) -> replay`: records the work without doing it; `replay` does it."""


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """No old graph may be freed while a new one is recorded: that would end up in the recording."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def reason_of(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def record_on_cuda(work: Callable[[], None], generators: Sequence[torch.Generator]) -> Callable[[], object]:
    """Records work on the CUDA device of the first generator; see `Recorder`."""
    graph = torch.cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with without_garbage_collection(), torch.cuda.device(generators[0].device), torch.cuda.graph(graph):
        work()
    return graph.replay


def make_recordable(optimizer: torch.optim.Optimizer) -> None:
    """Has an optimiser (a fused one) keep its count of steps on the device, as recording asks."""
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = group["params"][0].is_cuda
    for parameter, state in optimizer.state.items():
        if "step" in state:
            state["step"] = torch.as_tensor(state["step"], dtype=torch.float32).to(parameter.device)


def prepare_parts(parts: Iterable[torch.nn.Module]) -> list[torch.Generator]:
    """Has the optimisers within some parts keep their counts on the device, as recording asks; their generators."""
    found = [value for part in parts for module in part.modules() for value in vars(module).values()]
    for value in found:
        if isinstance(value, torch.optim.Optimizer):
            make_recordable(value)
    return [value for value in found if isinstance(value, torch.Generator)]


class Recorded:
    """A function of tensors that runs as it is some times, is then recorded, and is replayed from then on.

    The function does the same operations on the same tensors at every call: what it reads besides its arguments, and
    writes besides its results, stays where it is; numbers of the host, and what is decided by them, stay as they were
    at the recording. It may be wanted again from the start, with what it reads elsewhere: make another of these.

    Args:
        name: For messages.
        function: Tensors by name to tensors by name, of the same shapes at every call.
        generators: All that it draws from; at least one.
        record: How it is recorded.

    Attributes:
        fault: Why it could not be recorded; it then runs unrecorded: slower, and right. Empty where all is well.
    """

    WARM_UPS = 3
    """Calls before the recording, in which libraries and optimisers allocate what they need, as torch's manual asks."""

    def __init__(
        self,
        name: str,
        function: Callable[[Tensors], Tensors],
        generators: Sequence[torch.Generator],
        record: Recorder = record_on_cuda,
    ) -> None:
        self.name, self.fault = name, ""
        self._function, self._generators, self._record = function, tuple(generators), record
        self._calls = 0
        self._inputs: Tensors = {}
        self._results: Tensors = {}
        self._replay: Callable[[], object] | None = None

    @property
    def recorded(self) -> bool:
        """Whether a recording is replayed."""
        return self._replay is not None

    def __call__(self, inputs: Tensors) -> Tensors:
        """Does the work; the results are the caller's to keep."""
        self._calls += 1
        if self._replay is None and not self.fault and self._calls > self.WARM_UPS:
            self._start(inputs)
        if self._replay is None:
            return _beside(self._function, inputs) if self._calls <= self.WARM_UPS else self._function(inputs)
        for name, own in self._inputs.items():
            own.copy_(inputs[name])
        self._replay()
        return {name: value.clone() for name, value in self._results.items()}

    def _start(self, inputs: Tensors) -> None:
        self._inputs = {name: value.clone() for name, value in inputs.items()}

        def work() -> None:
            self._results = self._function(self._inputs)

        try:
            self._replay = self._record(work, self._generators)
        except Exception as error:  # noqa: BLE001 - whatever hinders a recording, the work can be done without
            self.fault, self._inputs, self._results = reason_of(error), {}, {}
            warn(f"{self.name} could not be recorded and run operation by operation, slower: {self.fault}")


def _beside(function: Callable[[Tensors], Tensors], inputs: Tensors) -> Tensors:
    """Calls a function on a stream of its own, as torch asks of what is recorded later; on the CPU as it is."""
    device = next(iter(inputs.values())).device
    if device.type != "cuda":
        return function(inputs)
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        results = function(inputs)
    torch.cuda.current_stream(device).wait_stream(side)
    return results
