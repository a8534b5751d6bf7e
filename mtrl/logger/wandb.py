"""Weights & Biases, offline unless a key or a login exists."""

import netrc
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from mtrl.logger.console import say, warn
from mtrl.logger.contract import TRACKERS, RunInfo, Tracker

ONLINE_WAIT = 30
"""Seconds to wait for the server before going on offline."""


class WandbTracker(Tracker):
    """Logs to wandb on an axis of its own, `env_step`: wandb's step starts anew when an offline run is resumed.

    Args:
        info: The run.

    Raises:
        ImportError: wandb is not installed.
    """

    def __init__(self, info: RunInfo) -> None:
        import wandb  # a second to import, and only for those who ask for it

        self._wandb = wandb
        mode, reason = choose_mode(info.tracking.wandb)
        try:
            self._run = self._start(mode, info)
        except wandb.Error as error:
            if mode == "offline" or info.tracking.wandb == "online":
                raise
            warn(f"wandb could not go online ({' '.join(str(error).split())[:200]}): offline instead")
            mode, reason = "offline", "no connection"
            wandb.teardown()  # its service still holds the run's id
            self._run = self._start(mode, info)
        self._run.define_metric("env_step")
        self._run.define_metric("*", step_metric="env_step")
        later = f"; send it later with `wandb sync {self._run.dir.rpartition('/')[0]}`" if mode == "offline" else ""
        say(f"wandb: {mode} ({reason}){later}")

    def _start(self, mode: Literal["online", "offline"], info: RunInfo) -> Any:
        return self._wandb.init(
            mode=mode,
            dir=str(info.folder),
            project=info.tracking.wandb_project,
            group=info.tracking.wandb_group or info.group,
            tags=list(info.tracking.wandb_tags),
            name=info.name,
            config=info.document,
            # the same for all parts of a resumed run, so that wandb joins them
            id=info.document["id"],
            resume="allow",
            settings=self._wandb.Settings(init_timeout=ONLINE_WAIT, silent=True, console="off"),
        )

    def log(self, env_step: int, metrics: dict[str, float]) -> None:
        """Logs one row."""
        self._run.log({"env_step": env_step, **metrics})

    def log_video(self, env_step: int, task: str, path: Path) -> None:
        """Logs a film under `video/<task>`."""
        self._run.log({"env_step": env_step, f"video/{task}": self._wandb.Video(str(path), format="mp4")})

    def close(self, exit_code: int) -> None:
        """Ends the run."""
        self._run.finish(exit_code=exit_code)


def choose_mode(wanted: str) -> tuple[Literal["online", "offline"], str]:
    """Online or offline, and why.

    Args:
        wanted: `auto`, `online` or `offline`.
    """
    if wanted in ("online", "offline"):
        return ("online" if wanted == "online" else "offline"), "as configured"
    given = os.environ.get("WANDB_MODE")
    if given in ("online", "offline"):
        return ("online" if given == "online" else "offline"), "WANDB_MODE is set"
    if os.environ.get("WANDB_API_KEY"):
        return "online", "WANDB_API_KEY is set"
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or "api.wandb.ai"
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        if netrc.netrc(str(file)).authenticators(host):
            return "online", f"a login for {host} is stored"
    except (OSError, netrc.NetrcParseError):
        pass
    return "offline", f"no key and no login for {host}"


TRACKERS.register(
    "wandb", WandbTracker, "Weights & Biases, offline unless a key or login exists (--tracking.wandb auto)"
)
