"""Models that Stable-Baselines3 trained, as agents here: evaluated, filmed, and compared with others."""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from mtrl.algorithm import Problem
from mtrl.errors import UserError
from mtrl.types import Actions, Observations, TaskIds

PACKAGES = ("stable_baselines3", "sb3_contrib")
"""Where kinds are looked for."""


@dataclass(frozen=True)
class SB3Config:
    """A saved model. Loading one runs code that is pickled in it: take models of people you trust."""

    model: str = ""
    """The model's zip file."""
    kind: str = ""
    """Its class: PPO, SAC, TD3, ... of stable_baselines3 or sb3_contrib, or MODULE:CLASS."""
    normalizer: str = ""
    """Statistics of observations that its VecNormalize saved; empty: it had none."""
    label: str = ""
    """What it is called on dashboards and in run folders; empty: sb3."""

    def __post_init__(self) -> None:
        for name in ("model", "normalizer"):
            if getattr(self, name):
                object.__setattr__(self, name, str(Path(getattr(self, name)).absolute()))

    def check(self) -> None:
        """Refuses what cannot work.

        Raises:
            UserError: No model, or no kind, is given, or a file is not there.
        """
        if not self.model:
            raise UserError("agent 'sb3' is a model that was trained before: give --algorithm.model FILE.zip")
        if not self.kind:
            raise UserError("--algorithm.kind is missing: the model's class, such as PPO, SAC, or MODULE:CLASS")
        for name, path in (("model", self.model), ("normalizer", self.normalizer)):
            if path and not Path(path).is_file():
                raise UserError(f"--algorithm.{name} {path}: there is no such file")
        if not re.fullmatch(r"[\w.+=-]*", self.label):
            raise UserError(f"--algorithm.label {self.label!r} names a folder: use letters, digits and . + = _ - alone")


class SB3Model:
    """A model as a policy; memory of recurrent ones is kept from step to step.

    Args:
        config: Which model.
        problem: Tasks and device.

    Attributes:
        steps_per_task: Environment steps of each task that it was trained for, if it was trained on these tasks.

    Raises:
        UserError: The model cannot be loaded, or was trained on observations of another shape.
    """

    def __init__(self, config: SB3Config, problem: Problem) -> None:
        self._problem = problem
        self._model = load_model(config)
        self.steps_per_task = int(self._model.num_timesteps) // problem.num_tasks
        self._normalizer = load_normalizer(config) if config.normalizer else None
        self._form = self._find_form(self._model.observation_space)
        self._memory: Any = None
        self._fresh: torch.Tensor | None = None

    def _find_form(self, space: Any) -> str:
        """How the model is told the task: as the environment that it was trained in had it."""
        obs_dim, tasks = self._problem.obs_mask.shape[1], self._problem.num_tasks
        shape = getattr(space, "shape", None)
        if isinstance(space, gymnasium.spaces.Dict):
            found = {name: part.shape for name, part in space.spaces.items()}
            if found == {"observation": (obs_dim,), "task": (tasks,)}:
                return "dict"
        elif shape in ((obs_dim + tasks,), (obs_dim,)):
            return "append_one_hot" if shape == (obs_dim + tasks,) else "hidden"
        raise UserError(
            f"the model expects observations of {space}, and here are {obs_dim} numbers and {tasks} tasks: evaluate it "
            "on the suite that it was trained on"
        )

    def begin_episodes(self, mask: torch.Tensor) -> None:
        """See `mtrl.algorithm.Policy`."""
        self._fresh = mask if self._fresh is None else self._fresh | mask

    @torch.no_grad()
    def act(self, obs: Observations, task_id: TaskIds, *, mode: bool) -> Actions:
        """Actions `[env, act]`, as the model's `predict` gives them."""
        rows, codes = obs.cpu().numpy(), np.eye(self._problem.num_tasks, dtype=np.float32)[task_id.cpu().numpy()]
        given: Any = rows
        if self._form == "dict":
            given = {"observation": rows, "task": codes}
        elif self._form == "append_one_hot":
            given = np.concatenate([rows, codes], axis=1)
        if self._normalizer is not None:
            given = self._normalizer.normalize_obs(given)
        fresh = np.zeros(len(rows), bool) if self._fresh is None else self._fresh.cpu().numpy()
        if self._memory is not None and np.shape(_first(self._memory))[-2:-1] != (len(rows),):
            self._memory = None  # of another number of worlds
        action, self._memory = self._model.predict(given, self._memory, fresh, deterministic=mode)
        self._fresh = None
        return torch.as_tensor(action, dtype=torch.float32, device=obs.device).clamp(-1.0, 1.0)


def _first(memory: Any) -> Any:
    """The first array of a recurrent policy's memory, `[layer, env, unit]`."""
    return _first(memory[0]) if isinstance(memory, tuple | list) else memory


def load_model(config: SB3Config) -> Any:
    """The model, on the CPU.

    Raises:
        UserError: Its package is not installed, there is no such class, or the file is of another one.
    """
    kind = find_kind(config.kind)
    try:
        return kind.load(config.model, device="cpu")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{config.model} cannot be loaded as {config.kind}: {reason}") from error


def find_kind(name: str) -> Any:
    """A class of models by its name.

    Raises:
        UserError: There is none, or Stable-Baselines3 is not installed.
    """
    module, _, attribute = name.rpartition(":")
    for package in [module] if module else PACKAGES:
        try:
            kind = getattr(importlib.import_module(package), attribute, None)
        except ImportError as error:
            if package in (PACKAGES[0], module):
                raise UserError(f"{package} cannot be imported ({error}): pip install 'mtrl-suite[sb3]'") from error
            continue
        if kind is not None:
            return kind
    raise UserError(f"--algorithm.kind {name}: no such class in {' or '.join(PACKAGES)}: write MODULE:CLASS")


def load_normalizer(config: SB3Config) -> Any:
    """Statistics of observations, fixed.

    Raises:
        UserError: The file holds none.
    """
    import pickle

    from stable_baselines3.common.vec_env import VecNormalize

    try:
        with open(config.normalizer, "rb") as file:
            found = pickle.load(file)
    except Exception as error:
        raise UserError(f"{config.normalizer} cannot be read as a VecNormalize ({error!r})") from error
    if not isinstance(found, VecNormalize):
        raise UserError(f"{config.normalizer} holds a {type(found).__name__}: give what VecNormalize.save wrote")
    return found
