"""Memory that is kept for the next step instead of going back to the operating system."""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of glibc's mallopt(3)


def keep_pages() -> bool:
    """Let the C library keep freed memory; say whether it understood.

    glibc hands large freed buffers back and takes them anew as fresh pages, each cleared by the kernel
    at its first touch: at every training step on a CPU the whole memory of activations. Measured on a
    busy virtual machine, a SimCLR step of `small` at 32 pixels touched 55,000 fresh pages and took 1.3
    to 3 times the processor time. Peak memory grows by about a tenth and is held until the process ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in every C library (musl)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
