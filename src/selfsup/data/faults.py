"""Reasons for which a file is not used."""

MAX_PIXELS = 178_956_970
"""Twice `PIL.Image.MAX_IMAGE_PIXELS`, where Pillow speaks of a decompression bomb."""
MAX_BYTES = 512 * 2**20
"""Memory one decoded image may take."""
CUT = "the file is truncated: a part of the picture is missing"


class Unusable(Exception):
    """Say why an image file cannot be used."""


class NoImage(Exception):
    """Say that a file without an image's name is no image; it is ignored."""


def check_size(width: int, height: int, bytes_needed: int = 0) -> None:
    """Raise Unusable if an image is too large to be decoded safely."""
    if width * height > MAX_PIXELS:
        millions = f"{width * height / 1e6:,.0f} million, at most {MAX_PIXELS // 10**6}"
        raise Unusable(f"{width} x {height} pixels are too many ({millions})")
    if bytes_needed > MAX_BYTES:
        raise Unusable(
            f"decoding {width} x {height} pixels would take {bytes_needed / 2**20:,.0f} MiB of memory"
            f" (at most {MAX_BYTES // 2**20})"
        )


def reason(error: Exception, kind: str, extension: str) -> str:
    """One line on why decoding failed, in words where the decoder's are known."""
    from PIL import Image, UnidentifiedImageError

    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has too many pixels (at most {MAX_PIXELS // 10**6} million)"
    if any(word in text.lower() for word in ("truncat", "incomplete", "out of bound", "premature", "not enough")):
        return CUT
    if isinstance(error, UnidentifiedImageError) and not kind:
        return f"the content is no image, although the name ends in .{extension}"
    if isinstance(error, UnidentifiedImageError):
        return f"damaged, or a kind of {kind} that cannot be read"
    return f"it cannot be decoded ({text[-120:] or type(error).__name__})"
