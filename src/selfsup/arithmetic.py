"""Torch's counter of arithmetic, without what it loads on the way.

It looks for kernels of triton, which nothing here has, by importing all of triton: half a second, and sometimes pages
about leaked functions behind the one sentence with which a command has refused something.
"""

import logging
import sys

_LOADED = "triton" in sys.modules
_LOG = logging.getLogger("torch.utils.flop_counter")
_BEFORE = _LOG.level
if not _LOADED:
    sys.modules["triton"] = None  # type: ignore[assignment]  # an import of it fails, for which the counter is prepared
    _LOG.setLevel(logging.ERROR)
try:
    from torch.utils.flop_counter import FlopCounterMode, register_flop_formula
finally:
    if not _LOADED:
        del sys.modules["triton"]
        _LOG.setLevel(_BEFORE)

__all__ = ["FlopCounterMode", "register_flop_formula"]
