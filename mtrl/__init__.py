"""mtrl: multi-task and meta reinforcement learning on the Meta-World manipulation tasks.

The names below are loaded when they are first used, so that `import mtrl` costs nothing:

    import mtrl
    run = mtrl.train("MT3", agent="quick", seed=0)
    mtrl.compare("runs", "report.html")
"""

import ctypes
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for editors and type checkers; at run time `__getattr__` does it
    from mtrl.api import Run as Run
    from mtrl.api import evaluate as evaluate
    from mtrl.api import resume as resume
    from mtrl.api import train as train
    from mtrl.config import RunConfig as RunConfig
    from mtrl.errors import UserError as UserError
    from mtrl.parts.register import register_combiner as register_combiner
    from mtrl.parts.register import register_critic as register_critic
    from mtrl.parts.register import register_network as register_network
    from mtrl.parts.register import register_scale as register_scale
    from mtrl.register import register_agent as register_agent
    from mtrl.register import register_mjcf_task as register_mjcf_task
    from mtrl.register import register_suite as register_suite
    from mtrl.register import register_task as register_task
    from mtrl.register import register_tracker as register_tracker
    from mtrl.register import task as task
    from mtrl.report import compare as compare
    from mtrl.scenes.register import register_scene_task as register_scene_task
    from mtrl.tensors.register import register_tensor_task as register_tensor_task
    from mtrl.vector.build import make_vector_env as make_vector_env
    from mtrl.video import film_run as film_run

__version__ = "0.1.0"

_PUBLIC = {
    "Run": "mtrl.api",
    "evaluate": "mtrl.api",
    "resume": "mtrl.api",
    "train": "mtrl.api",
    "RunConfig": "mtrl.config",
    "UserError": "mtrl.errors",
    "register_combiner": "mtrl.parts.register",
    "register_critic": "mtrl.parts.register",
    "register_network": "mtrl.parts.register",
    "register_scale": "mtrl.parts.register",
    "register_agent": "mtrl.register",
    "register_mjcf_task": "mtrl.register",
    "register_suite": "mtrl.register",
    "register_task": "mtrl.register",
    "register_tracker": "mtrl.register",
    "register_scene_task": "mtrl.scenes.register",
    "register_tensor_task": "mtrl.tensors.register",
    "task": "mtrl.register",
    "compare": "mtrl.report",
    "make_vector_env": "mtrl.vector.build",
    "film_run": "mtrl.video",
}
"""Public name to the module that holds it."""


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mtrl' has no attribute '{name}'")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})


def _choose_renderer() -> None:
    """Lets MuJoCo render without a screen.

    MuJoCo picks its GL library once, when it is first imported, and its choice on Linux (glfw) needs a screen. EGL
    needs none. It must not be asked for where it is missing: then `import mujoco` itself fails, and training with it.
    """
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform != "linux" or screen or "MUJOCO_GL" in os.environ:
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        return
    os.environ["MUJOCO_GL"] = "egl"


_choose_renderer()
