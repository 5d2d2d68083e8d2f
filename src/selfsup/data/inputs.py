"""Open what an encoder reads: images, or signals, or crops of a single image."""

from pathlib import Path
from typing import Any

from selfsup.data.clip_folders import Wanted, refuse_frame_rate
from selfsup.data.images import ImageStore, open_images
from selfsup.data.progress import Progress, silent
from selfsup.data.signals import open_signals, signal_length
from selfsup.data.single import SingleImage, single_image, single_side
from selfsup.data.sizes import natural_size, rounded
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
    frame_rate: float | None = None,
    clips: bool = False,
    wanted: Wanted = "images",
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
        frame_rate: as in `open_images`.
        clips: whether what is read must be clips.
        wanted: as in `open_images`, where clips are not needed.
    """
    if not reads_signals(encoder):
        return open_images(
            source, size, store_size=store_size, cache=cache, progress=progress, min_images=least,
            frame_rate=frame_rate, wanted="clips" if clips else wanted,
        )  # fmt: skip
    refuse_frame_rate(frame_rate, "signals")
    signals = open_signals(source, size, channels=channels, cache=cache, progress=progress, least=least)
    if store_size not in (None, signals.size):
        raise InputError(
            f"Signals are kept whole, here {signals.size} samples, but a store size of {store_size} was asked for;"
            " leave --store-size out."
        )
    return signals


def size_for(encoder: str, source: Any, crops: int | None = None) -> int:
    """Choose the size that an encoder sees where none was asked for: a natural one of images, signals whole.

    Of `crops` of an image, one that its windows offer.
    """
    if crops is not None and not isinstance(source, SingleImage):
        return rounded(single_side(source))
    return signal_length(source) if reads_signals(encoder) else natural_size(source)


def source_of(
    encoder: str, data: Any, size: int, store_size: int | None, crops: int | None, noise: float | None
) -> Any:
    """Give what `pretrain` trains on: its data as they are, or so many crops of the images that they name.

    Raises:
        InputError: if crops of signals or of crops are asked for, or noise without crops.
    """
    if crops is None:
        if noise is not None:
            raise InputError(
                f"Noise of {noise} is added to crops of a single image, and none were asked for; add --single-image."
            )
        return data
    if reads_signals(encoder):
        raise InputError(f"Crops are cut from images, and the encoder {encoder} reads signals; try small.")
    if isinstance(data, SingleImage):
        raise InputError(f"The data are {data} already; leave single_image out.")
    return single_image(data, crops, size, store_size, noise or 0.0)
