"""Setting Warp up, once a process."""

import functools

import torch
import warp


@functools.cache
def prepare_warp() -> None:
    """Has Warp start without a banner; what it compiles is kept in `$WARP_CACHE_PATH`, or in the user's cache folder."""
    warp.config.quiet = True
    warp.config.verbose = False
    warp.init()


def warp_device(device: torch.device) -> warp.Device:
    """Warp's name for a device of torch's."""
    prepare_warp()
    return warp.device_from_torch(device)
