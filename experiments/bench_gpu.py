"""The warp engine on a GPU: built, checked against the native engine and measured, in one call of under ten minutes.

    pip install -e '.[gpu]'
    python experiments/bench_gpu.py --output docs/benchmark-gpu.md
    python experiments/bench_gpu.py --device cpu --quick          # the same code where there is no GPU, in a minute
    python experiments/bench_gpu.py --page docs/benchmark-gpu.json  # page and plot anew from the figures

What matters most comes first. Results are written after every piece of work, so that nothing is lost if it is cut
short; what there is no time for is named. A checkout that is not installed will do: see docs/benchmark-gpu.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import checkout  # makes mtrl importable
import torch
import warp
from gpu_cases import Case, clock
from gpu_page import draw, page
from gpu_plan import CPU, GPU, QUICK
from gpu_work import PARTS, Bench, replace_file

from mtrl.errors import UserError
from mtrl.provenance import commit, hardware
from mtrl.scenes.warp.requirements import require

PACKAGES = ("torch", "warp-lang", "mujoco-warp", "mujoco", "numpy")


def about(device: torch.device, arguments: argparse.Namespace) -> dict[str, Any]:
    """What everything ran on."""
    command = "python experiments/bench_gpu.py" + "".join(f" {word}" for word in sys.argv[1:])
    rows: dict[str, Any] = {"command": command, "commit": arguments.commit, "cold": arguments.cold}
    rows |= {"device": device.type, **hardware()}
    rows["versions"] = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
            rows["gpu"] = done.stdout.strip().splitlines()[0]
        rows["cuda"] = torch.version.cuda
    return rows


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def start_once(device: torch.device, suite: str, worlds: int) -> None:
    """Prints how long a process takes to its first step."""
    case = Case(suite, worlds)
    imported = time.perf_counter() - checkout.STARTED
    env = case.build(device)
    case.reset(env)
    env.step(torch.zeros_like(env._action))
    seconds = clock(device) - checkout.STARTED
    print(json.dumps({"suite": suite, "worlds": env.num_envs, "imports": imported, "first step": seconds}))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    parser.add_argument(
        "--output", type=Path, help="write a Markdown page there, the figures (JSON) and a plot beside it"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="after which nothing new is begun")
    parser.add_argument("--quick", action="store_true", help="little of it, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--commit", default=commit(), help="to name in the page, where git cannot say")
    parser.add_argument("--cold", action="store_true", help="compile all kernels anew, in a cache of its own")
    parser.add_argument("--page", type=Path, metavar="JSON", help="only make page and plot anew, from figures")
    parser.add_argument("--start", nargs=2, metavar=("SUITE", "WORLDS"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """The command line's work."""
    arguments = parsed()
    if arguments.page:
        results = json.loads(arguments.page.read_text())
        replace_file(arguments.page.with_suffix(".svg"), draw(results))
        replace_file(arguments.page.with_suffix(".md"), page(results, arguments.page.stem))
        return
    torch.set_num_threads(1)
    if arguments.cold:
        os.environ["WARP_CACHE_PATH"] = tempfile.mkdtemp(prefix="kernels-")
    try:
        device = require(torch.device(arguments.device))
    except UserError as error:
        sys.exit(f"error: {error}")
    warp.config.cuda_output = "cubin"  # what gpu_kernels.py compiles; newer drivers would take another form
    if arguments.start:
        start_once(device, arguments.start[0], int(arguments.start[1]))
        return
    plan = QUICK if arguments.quick else GPU if device.type == "cuda" else CPU
    bench = Bench(device, plan, arguments.minutes * 60, arguments.output)
    bench.results["about"] = about(device, arguments)
    bench.run(arguments.only)
    bench.save()
    if arguments.output:
        replace_file(arguments.output.with_suffix(".svg"), draw(bench.results))
    print(page(bench.results, "benchmark-gpu"))


if __name__ == "__main__":
    main()
