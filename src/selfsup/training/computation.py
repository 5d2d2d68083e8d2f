"""How to compute: precision and memory layout, measured on this machine once before a run."""

from time import perf_counter
from typing import NamedTuple

import torch

from selfsup.errors import InputError
from selfsup.networks.encoders import build_encoder
from selfsup.networks.names import reads_signals
from selfsup.progress import Progress, silent
from selfsup.training.loop import autocast_of

PRECISIONS = ("float32", "bfloat16")
LAYOUTS = ("contiguous", "channels_last")
WORTH_IT = 1.15
"""How much faster bfloat16 has to be before it is taken by itself."""
REPEATS, ENOUGH = 6, 3.0
"""Passes that are timed, the first of which warms up, and the seconds after which two will do."""


class Computation(NamedTuple):
    """How the tensors of a run are stored and multiplied."""

    precision: str
    layout: str

    def memory_format(self) -> torch.memory_format:
        """Give the layout as torch names it."""
        return torch.channels_last if self.layout == "channels_last" else torch.contiguous_format


def choose(
    precision: str, layout: str, encoder: str, image_size: int, device: torch.device, progress: Progress = silent
) -> Computation:
    """Replace each `auto` by what trains the encoder fastest here.

    Args:
        precision: `auto`, `float32` or `bfloat16`.
        layout: `auto`, `contiguous` or `channels_last`.
        encoder: name of the encoder that is timed.
        image_size: side of its images in pixels.
        device: where it will run.
        progress: told of every way that was timed.

    Raises:
        InputError: for other words.
    """
    precisions = _candidates("precision", precision, PRECISIONS)
    # along one axis there is one layout
    layouts = _candidates("layout", layout, LAYOUTS[:1] if reads_signals(encoder) else LAYOUTS)
    if device.type == "cuda":
        fits = len(precisions) > 1 and torch.cuda.is_bf16_supported()
        return Computation("bfloat16" if fits else precisions[0], layouts[-1])
    if len(precisions) > 1 and not _has_bfloat16_arithmetic():
        precisions = precisions[:1]
    choices = [Computation(one, other) for one in precisions for other in layouts]
    if len(choices) == 1:
        return choices[0]
    seconds: dict[Computation, float] = {}
    for choice in choices:
        progress("timing precisions and layouts", len(seconds), len(choices))
        seconds[choice] = _seconds(choice, encoder, image_size, device)
    progress("timing precisions and layouts", len(choices), len(choices))
    best = {
        name: min((c for c in choices if c.precision == name), key=lambda choice: seconds[choice])
        for name in precisions
    }
    plain, half = best[precisions[0]], best[precisions[-1]]
    return half if seconds[plain] > WORTH_IT * seconds[half] else plain


def _candidates(name: str, given: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if given == "auto":
        return known
    if given not in known:
        raise InputError(f"There is no {name} {given!r}; choose auto, {' or '.join(known)}.")
    return (given,)


def _has_bfloat16_arithmetic() -> bool:
    """Whether the CPU multiplies bfloat16 itself; others emulate it, slowly."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _seconds(choice: Computation, name: str, size: int, device: torch.device) -> float:
    encoder = build_encoder(name, size, seed=0).to(device=device, memory_format=choice.memory_format())  # type: ignore[call-overload]
    images = torch.rand(128 if size <= 64 else 16, *encoder.shape, device=device)
    taken: list[float] = []
    while len(taken) < 2 or (len(taken) < REPEATS and sum(taken) < ENOUGH):
        began = perf_counter()
        with autocast_of(device, choice.precision)():
            loss = encoder.vector(images).float().square().mean()
        loss.backward()
        taken.append(perf_counter() - began)
    return min(taken[1:])  # whatever else the machine does only ever adds to it
