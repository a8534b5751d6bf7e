# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# Warp makes most of its names at run time.
"""Compiles the kernels of the warp engine for a GPU, beforehand and in parallel; no GPU is needed.

    python experiments/gpu_kernels.py --architecture 90 --cache KERNELS     # an H100 or H200
    WARP_CACHE_PATH=KERNELS python experiments/bench_gpu.py ...             # there

What a step of every model would launch on a GPU is launched into the void, which names the kernels; Warp's compiler for
GPUs does the rest, as many at a time as there are cores. What has been compiled already is not compiled again.
"""

import argparse
import gc
import itertools
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkout  # noqa: F401 - makes mtrl importable
import torch
import warp
from gpu_cases import Case
from gpu_plan import GPU
from mujoco_warp._src import collision_convex

from mtrl.scenes.warp.program import WarpProgram
from mtrl.scenes.warp.setup import prepare_warp
from mtrl.vector.processes import available_cores

THREADS = 256
"""In a block, where a launch does not say."""
Wanted = tuple[Any, int]
"""A module of kernels, and the threads of a block that it is compiled for."""


class Void:
    """Takes the place of a GPU: launches nothing, and remembers what was to be launched.

    Attributes:
        wanted: Modules in the order of their first launch, each with its hash at that time.
    """

    def __init__(self) -> None:
        self.wanted: dict[Wanted, bytes] = {}

    def launch(
        self,
        kernel: Any,
        dim: int | Sequence[int],
        inputs: Sequence[Any] = (),
        outputs: Sequence[Any] = (),
        block_dim: int | None = None,
        **_: Any,
    ) -> None:
        """In place of `warp.launch` and `warp.launch_tiled`."""
        sizes = [dim] if isinstance(dim, int) else list(dim)
        if not math.prod(int(size) for size in sizes):
            return
        if kernel.is_generic:
            kernel = kernel._add_normalized_overload(kernel.infer_argument_types([*inputs, *outputs]))
        threads = block_dim if block_dim and block_dim > 0 else THREADS
        self.wanted.setdefault((kernel.module, threads), kernel.module.get_module_hash(threads))

    def suggest(self, kernel: Any, _device: Any = None) -> tuple[int, int]:
        """In place of `warp.get_suggested_block_size`, which compiles the kernel to ask about it."""
        module = kernel.module
        threads = module.options["block_dim"]
        self.wanted.setdefault((module, threads), module.get_module_hash(threads))
        return THREADS, 1

    @staticmethod
    def loop(_condition: Any, while_body: Callable[..., None], **keywords: Any) -> None:
        """In place of `warp.capture_while`: the body, once."""
        while_body(**keywords)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, Warp launches into the void, and says that it does so on a GPU."""
        replaced = {
            "launch": self.launch,
            "launch_tiled": self.launch,
            "capture_while": self.loop,
            "get_suggested_block_size": self.suggest,
            "get_device": lambda *_: Pretended(),
            "copy": lambda *_, **__: None,
        }
        with ExitStack() as back:
            for name, value in replaced.items():
                back.callback(setattr, warp, name, getattr(warp, name))
                setattr(warp, name, value)
            # This one asks the array instead of Warp whether it is on a GPU.
            back.callback(setattr, collision_convex, "_ccd_grid_size", collision_convex._ccd_grid_size)
            collision_convex._ccd_grid_size = lambda kernel, room, _device: (self.suggest(kernel), room)[1]
            yield


class Pretended:
    """The device that mujoco_warp is told of."""

    is_cuda, is_cpu, sm_count = True, False, 132


def wanted(cases: Sequence[Case]) -> dict[Wanted, bytes]:
    """The modules that some environments launch."""
    void, record = Void(), WarpProgram.record
    WarpProgram.record = lambda _: None  # nothing is to run here
    try:
        for case in cases:
            env = case.build(torch.device("cpu"))
            with void.listening():
                for program in env._engine.programs:
                    program._launches()
            del env
            gc.collect()
            print(f"{case.suite}, {case.worlds} worlds, {case.grouping}: {len(void.wanted)} modules so far", flush=True)
    finally:
        WarpProgram.record = record
    return void.wanted


def distinct(cases: Sequence[Case]) -> list[Case]:
    """Those of which the kernels may differ: a model of one scene has the same ones for any number of worlds."""
    kept = {}
    for case in cases:
        worlds = 0 if case.grouping == "scene" else case.per_task
        kept.setdefault((case.suite, case.grouping, worlds, case.settings), replace(case, goals=1))
    return list(kept.values())


def compile_for(architecture: int, modules: dict[Wanted, bytes], workers: int) -> list[tuple[float, str, bool]]:
    """Compiles modules into Warp's cache.

    Returns:
        Of each the seconds, the name, and whether it had to be compiled.
    """

    def one(entry: tuple[Wanted, bytes]) -> tuple[float, str, bool]:
        (module, threads), known = entry
        if module.get_module_hash(threads) != known:
            raise RuntimeError(f"{module.name} was added to after its first launch: its hash would be another")
        began = time.perf_counter()
        options = module.resolved_options[threads]
        done = module._compile(None, None, output_arch=architecture, use_ptx=False, options=options)
        return time.perf_counter() - began, module.name, done

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, modules.items()))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architecture", type=int, required=True, help="compute capability without the dot, such as 90"
    )
    parser.add_argument("--cache", type=Path, required=True, help="a folder, which WARP_CACHE_PATH then names there")
    parser.add_argument("--suites", nargs="+", help="suites, of MT10, MT50 ...; without, all that the benchmark builds")
    parser.add_argument("--worlds", nargs="+", type=int, default=[8192], help="and worlds of them")
    parser.add_argument("--groupings", nargs="+", default=["layout"], help="and groupings")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--binaries", action="store_true", help="leave the sources out, to carry less")
    arguments = parser.parse_args()
    os.environ["WARP_CACHE_PATH"] = str(arguments.cache)
    prepare_warp()
    began = time.perf_counter()
    cases = GPU.cases
    if arguments.suites:
        named = itertools.product(arguments.suites, arguments.worlds, arguments.groupings)
        cases = [Case(suite, worlds, grouping) for suite, worlds, grouping in named]
    modules = wanted(distinct(cases))
    listed = time.perf_counter() - began
    rows = compile_for(arguments.architecture, modules, arguments.workers)
    for seconds, name, _ in sorted(rows, reverse=True)[:10]:
        print(f"{seconds:7.1f} s  {name}")
    new, spent = sum(done for *_, done in rows), sum(seconds for seconds, *_ in rows)
    folder = Path(warp.config.kernel_cache_dir or arguments.cache)
    for source in folder.glob("*/*.cu") if arguments.binaries else ():
        source.unlink()
    for other in folder.glob("*_p*_t*"):
        shutil.rmtree(other, ignore_errors=True)
    size = sum(path.stat().st_size for path in folder.glob("*/*")) / 2**20
    whole = time.perf_counter() - began
    print(
        f"{len(rows)} modules for sm_{arguments.architecture}, {new} of them compiled anew: {whole:.0f} s, "
        f"{listed:.0f} s of them to list them, {spent:.0f} s of compilers over {arguments.workers} threads; "
        f"{size:.0f} MB in {folder}"
    )


if __name__ == "__main__":
    main()
