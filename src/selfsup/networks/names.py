"""Names of encoders, checked without importing torch or timm (which together cost eight seconds)."""

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from selfsup.errors import InputError

BUILT_IN = ("small", "alexnet", "nin")
"""Encoders of this package for images; all other names of such are timm's."""

OF_SIGNALS = ("small1d",)
"""Encoders of this package for signals [B, C, L]."""

SMALLEST, LARGEST = 32, 224
"""Sides in pixels that the encoders are made for."""

SHORTEST, LONGEST = 32, 65536
"""Samples of a signal that the encoders of signals are made for."""


def check_encoder_name(name: str, image_size: int | None = None) -> None:
    """Refuse a name that is neither built in nor timm's, and a size out of range.

    Raises:
        InputError: with the nearest names, if the name is unknown or the size is not in 32..224 (signals: 32..65536).
    """
    if name in OF_SIGNALS:
        if image_size is not None and not SHORTEST <= image_size <= LONGEST:
            raise InputError(f"{name} takes signals of {SHORTEST} to {LONGEST} samples, got {image_size}.")
        return
    if image_size is not None and not SMALLEST <= image_size <= LARGEST:
        raise InputError(f"Encoders take images of {SMALLEST} to {LARGEST} pixels, got {image_size}.")
    if name in BUILT_IN or architecture(name) in timm_names():
        return
    near = difflib.get_close_matches(name, [*BUILT_IN, *OF_SIGNALS, *timm_names()], n=3, cutoff=0.5)
    would_do = ", ".join(near or [*BUILT_IN, "resnet18"])
    raise InputError(f"There is no encoder {name!r}; did you mean {would_do}? Any timm name will do.")


def reads_signals(name: str) -> bool:
    """Whether an encoder takes signals [B, C, L] instead of images."""
    return name in OF_SIGNALS


def architecture(name: str) -> str:
    """Part of a timm name before its pretrained tag: `resnet18` of `resnet18.a1_in1k`."""
    return name.split(".")[0]


@cache
def timm_names() -> frozenset[str]:
    """All architectures of the installed timm, read from its source files because importing it takes seconds."""
    spec = importlib.util.find_spec("timm")
    folders = [Path(place) / "models" for place in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    entry = re.compile(r"^@register_model\s+def (\w+)", re.MULTILINE)
    names = frozenset(name for file in files for name in entry.findall(file.read_text(encoding="utf-8")))
    if names:
        return names
    import timm  # a timm without source files: ask it

    return frozenset(timm.list_models())
