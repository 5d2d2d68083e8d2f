"""Open what an encoder reads: images, or signals."""

from pathlib import Path
from typing import Any

from selfsup.data.images import ImageStore, open_images
from selfsup.data.progress import Progress, silent
from selfsup.data.signals import open_signals, signal_length
from selfsup.data.sizes import natural_size
from selfsup.errors import InputError
from selfsup.networks.names import reads_signals


def open_inputs(
    encoder: str,
    source: Any,
    size: int,
    *,
    channels: int | None = None,
    store_size: int | None = None,
    cache: Path | None = None,
    progress: Progress = silent,
    least: int = 16,
) -> ImageStore:
    """Open images, or signals where the encoder reads these, as a store.

    An array [N, A, B] does not say whether it holds gray images or signals of A channels: the encoder decides.

    Args:
        encoder: name of the encoder.
        source: as `open_images` or `open_signals` takes it.
        size: of what the encoder will see: side in pixels, or samples.
        channels: that signals must have; None: any.
        store_size: as in `open_images`; signals are kept whole.
        cache: folder for decoded data.
        progress: is told how far the work is.
        least: fewer usable ones are refused.
    """
    if not reads_signals(encoder):
        return open_images(source, size, store_size=store_size, cache=cache, progress=progress, min_images=least)
    signals = open_signals(source, size, channels=channels, cache=cache, progress=progress, least=least)
    if store_size not in (None, signals.size):
        raise InputError(
            f"Signals are kept whole, here {signals.size} samples, but a store size of {store_size} was asked for;"
            " leave --store-size out."
        )
    return signals


def size_for(encoder: str, source: Any) -> int:
    """Choose the size that an encoder sees where none was asked for: a natural one of images, signals whole."""
    return signal_length(source) if reads_signals(encoder) else natural_size(source)
