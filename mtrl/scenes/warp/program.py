"""Work on the device that is recorded once and then replayed: CUDA graphs, and their form on the CPU."""

import functools
from collections.abc import Callable

import torch
import warp

from mtrl.graphs import reason_of, without_garbage_collection


@functools.lru_cache(maxsize=64)
def _warp_stream(stream: torch.cuda.Stream) -> warp.Stream:
    """Warp's form of a stream of torch's."""
    return warp.stream_from_torch(stream)


class WarpProgram:
    """Launches of Warp kernels.

    Args:
        name: For reports.
        launches: Launches them; it must do the same each time.
        device: Where.

    Attributes:
        fault: Why it could not be recorded; it then runs unrecorded: slower, and right. Empty where all is well.
    """

    def __init__(self, name: str, launches: Callable[[], None], device: warp.Device) -> None:
        self.name, self._launches, self._device = name, launches, device
        self._graph: warp.Graph | None = None
        self.fault = ""

    def record(self) -> None:
        """Runs the launches once, which compiles what they need, and records them.

        A failure is noted in `fault`.
        """
        if self._device.is_cuda:
            torch.cuda.synchronize(warp.device_to_torch(self._device))  # torch may still be writing what is read here
        with warp.ScopedDevice(self._device):
            self._launches()
            warp.synchronize_device(self._device)
            try:
                with without_garbage_collection():
                    self._graph = self._captured()
            except Exception as error:  # noqa: BLE001 - whatever hinders a recording, the work can be done without
                self._graph, self.fault = None, reason_of(error)

    def _captured(self) -> warp.Graph:
        with warp.ScopedCapture(self._device, force_module_load=False) as capture:
            self._launches()
        assert capture.graph is not None
        return capture.graph

    @property
    def recorded(self) -> bool:
        """Whether a recording is replayed."""
        return self._graph is not None

    def __call__(self) -> None:
        """Does the work, on torch's current stream."""
        if self._device.is_cpu:
            self._run(None)
            return
        stream = _warp_stream(torch.cuda.current_stream(warp.device_to_torch(self._device)))
        with warp.ScopedStream(stream, sync_enter=False):
            self._run(stream)

    def _run(self, stream: warp.Stream | None) -> None:
        if self._graph is not None:
            warp.capture_launch(self._graph, stream=stream)
        else:
            with warp.ScopedDevice(self._device):
                self._launches()


class TorchProgram:
    """Torch operations on tensors that stay where they are; recorded on CUDA, run as they are on the CPU.

    Args:
        name: For reports.
        function: The operations. It takes nothing; what it reads and writes are tensors that outlive it.
        device: Where.

    Attributes:
        fault: Why it could not be recorded; it then runs unrecorded: slower, and right. Empty where all is well.
    """

    WARM_UPS = 3
    """Runs before a recording, in which libraries allocate what they need, as torch's manual asks."""

    def __init__(self, name: str, function: Callable[[], None], device: torch.device) -> None:
        self.name, self._function, self._device = name, function, device
        self._graph: torch.cuda.CUDAGraph | None = None
        self.fault = ""

    def record(self) -> None:
        """Runs the operations some times, then records them on CUDA; a failure is noted in `fault`."""
        if self._device.type != "cuda":
            return
        side = torch.cuda.Stream(self._device)
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(self.WARM_UPS):
                self._function()
        torch.cuda.current_stream(self._device).wait_stream(side)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            with without_garbage_collection(), torch.cuda.graph(graph):
                self._function()
        except Exception as error:  # noqa: BLE001 - whatever hinders a recording, the work can be done without
            self.fault = reason_of(error)
        else:
            self._graph = graph

    @property
    def recorded(self) -> bool:
        """Whether a recording is replayed."""
        return self._graph is not None

    def __call__(self) -> None:
        """Does the work, on torch's current stream."""
        if self._graph is not None:
            self._graph.replay()
        else:
            self._function()
