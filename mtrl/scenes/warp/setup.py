"""Setting Warp up, once a process."""

import functools

import torch
import warp


@functools.cache
def prepare_warp() -> None:
    """Has Warp speak of errors alone; what it compiles is kept in `$WARP_CACHE_PATH`, or in the user's cache folder."""
    if hasattr(warp.config, "log_level"):
        warp.config.log_level = warp.LOG_ERROR
    else:
        setattr(warp.config, "quiet", True)  # noqa: B010 - newer releases do not declare it
    warp.init()


def warp_device(device: torch.device) -> warp.Device:
    """Warp's name for a device of torch's."""
    prepare_warp()
    return warp.device_from_torch(device)
