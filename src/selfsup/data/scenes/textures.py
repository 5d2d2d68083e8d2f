"""A fixed bank of grey patterns that tile; scenes multiply them with their colours."""

from functools import cache

import numpy as np
from jaxtyping import Float, UInt8

SIDE = 128


@cache
def bank() -> tuple[UInt8[np.ndarray, "128 128"], ...]:
    """Give all patterns, plain first, each once soft and once strong; bright on the whole (140 to 255)."""
    patterns = [
        np.ones((SIDE, SIDE)), clouds(1, 4), clouds(2, 8), clouds(3, 24), stripes(4, 0), stripes(0, 8), stripes(3, 3),
        checks(2), checks(4), bricks(), tiles(4), planks(), dots(4), zigzag(), marble(), speckles(),
    ]  # fmt: skip
    return tuple(
        np.round(255 * (1 - depth * (1 - pattern))).astype(np.uint8) for depth in (0.2, 0.45) for pattern in patterns
    )


def count() -> int:
    """How many patterns the bank holds."""
    return len(bank())


def clouds(seed: int, cells: int) -> Float[np.ndarray, "128 128"]:
    """Smooth periodic noise of three octaves, stretched to [0, 1]."""
    generator = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(SIDE, 1 / SIDE)
    radius = np.hypot(*np.meshgrid(frequency, frequency))
    total = np.zeros((SIDE, SIDE))
    for octave in range(3):
        band = np.exp(-((radius / (cells * 2**octave)) ** 2))
        wave = np.fft.ifft2(np.fft.fft2(generator.standard_normal((SIDE, SIDE))) * band).real
        total += wave / wave.std() / 2**octave
    return np.clip(0.5 + total / 4, 0, 1)


def stripes(across: int, up: int) -> Float[np.ndarray, "128 128"]:
    """Soft-edged stripes with whole numbers of periods, so that they tile."""
    x, y = _places()
    return _sharpened(np.sin(2 * np.pi * (across * x + up * y)))


def checks(cells: int) -> Float[np.ndarray, "128 128"]:
    """A board of 2 * cells squares a side."""
    x, y = _places()
    board: np.ndarray = (np.floor(x * cells * 2) + np.floor(y * cells * 2)) % 2
    return board


def bricks() -> Float[np.ndarray, "128 128"]:
    """Rows of bricks, every other one shifted by half a brick."""
    x, y = _places()
    row = np.floor(y * 8)
    column = (x * 4 + 0.5 * (row % 2)) % 4
    tone = np.random.default_rng(5).uniform(0.55, 1, (8, 4))[row.astype(int), column.astype(int)]
    joint = (column % 1 < 0.08) | (y * 8 % 1 < 0.14)
    return np.where(joint, 0.0, tone)


def tiles(cells: int) -> Float[np.ndarray, "128 128"]:
    """Square tiles of slightly different tones with dark joints."""
    x, y = _places()
    tone = np.random.default_rng(6).uniform(0.7, 1, (cells, cells))[(y * cells).astype(int), (x * cells).astype(int)]
    joint = (x * cells % 1 < 0.06) | (y * cells % 1 < 0.06)
    return np.where(joint, 0.0, tone)


def planks() -> Float[np.ndarray, "128 128"]:
    """Long boards with grain."""
    x, y = _places()
    column = (x * 6).astype(int)
    tone = np.random.default_rng(7).uniform(0.45, 0.9, 6)[column]
    grain = 0.12 * np.sin(2 * np.pi * (14 * x + 0.6 * np.sin(2 * np.pi * (y + column / 6))))
    return np.where(x * 6 % 1 < 0.06, 0.0, np.clip(tone + grain, 0, 1))


def dots(cells: int) -> Float[np.ndarray, "128 128"]:
    """Dark discs on bright ground."""
    x, y = _places()
    distance = np.hypot(x * cells % 1 - 0.5, y * cells % 1 - 0.5)
    return np.clip((distance - 0.26) * 12, 0, 1)


def zigzag() -> Float[np.ndarray, "128 128"]:
    """Herringbone stripes."""
    x, y = _places()
    return _sharpened(np.sin(2 * np.pi * (4 * y + np.abs(2 * (x * 3 % 1) - 1))))


def marble() -> Float[np.ndarray, "128 128"]:
    """Veins along bent lines."""
    x, y = _places()
    veins: np.ndarray = np.sqrt(np.abs(np.sin(np.pi * (2 * x + 2 * y) + 7 * clouds(8, 3))))
    return veins


def speckles() -> Float[np.ndarray, "128 128"]:
    """Stone chips of three tones."""
    grains = clouds(9, 18)
    return np.where(grains > 0.68, 0.0, np.where(grains < 0.3, 0.5, 1.0))


def _sharpened(wave: np.ndarray) -> np.ndarray:
    """Turn a wave of -1 to 1 into stripes of 0 and 1 with soft edges."""
    return (0.5 + 3 * wave).clip(0, 1)


def _places() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(SIDE) + 0.5) / SIDE
    x, y = np.meshgrid(axis, axis)
    return x, y
