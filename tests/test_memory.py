"""Freed memory is kept."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from mtrl.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def write():
    np.empty(48 << 20, np.uint8).fill(1)
write()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    write()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a matter of glibc")
def test_large_arrays_are_not_mapped_anew_each_time() -> None:
    def faults(how: str) -> int:
        result = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(result.stdout)

    assert faults("keep") < 10
    assert faults("leave") > 50  # otherwise there is nothing to mend
