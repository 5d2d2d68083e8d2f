"""Names of encoders, checked without importing torch or timm (which together cost eight seconds)."""

import difflib
import importlib.util
import re
from functools import cache
from pathlib import Path

from selfsup.errors import InputError

BUILT_IN = ("small", "alexnet", "nin")
"""Networks of this package for images that are trained; all other names of such are timm's."""

FIXED = ("scattering", "pixels")
"""Encoders of this package for images without parameters: there is nothing to train."""

OF_SIGNALS = ("small1d",)
"""Encoders of this package for signals [B, C, L]."""

OURS = BUILT_IN + FIXED + OF_SIGNALS
"""Encoders that timm does not have."""

WAYS = ("random", "pca", "kmeans")
"""Ways to make first weights from images, see `networks.filters`."""

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
    if name in OURS or architecture(name) in timm_names():
        return
    near = difflib.get_close_matches(name, [*OURS, *timm_names()], n=3, cutoff=0.5)
    would_do = ", ".join(near or [*BUILT_IN, "resnet18"])
    raise InputError(f"There is no encoder {name!r}; did you mean {would_do}? Any timm name will do.")


def refuse_training(name: str) -> None:
    """Refuse an encoder without parameters where one is to be trained.

    Raises:
        InputError: naming the command that writes a run of it.
    """
    if name in FIXED:
        raise InputError(
            f"{name} has no parameters, so there is nothing to train; selfsup baseline {name} DATA writes a run of it, "
            "and --encoder small is one that learns."
        )


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
