"""Keeping memory that was freed, for updates that need the same large arrays again and again."""

import ctypes
from contextlib import suppress

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's settings in `mallopt`."""
LARGEST_KEPT = 2**30
"""Bytes of an array that is still kept."""


def keep_freed_memory() -> None:
    """Lets the C library keep what is freed instead of handing it back to the system.

    glibc maps every array above 32 MiB anew, and the system clears it page by page when it is first written: at the
    sizes of MT50 that is a fifth of an update on the CPU. Other C libraries are left as they are.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_THRESHOLD, LARGEST_KEPT)
        library.mallopt(TRIM_THRESHOLD, 2**31 - 1)
