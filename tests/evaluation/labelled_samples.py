"""Small data that the tests of evaluation share."""

import numpy as np

from selfsup.data.images import ImageStore, open_images


def blobs(count: int, width: int, classes: int, *, spread: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give features of `classes` overlapping clouds in a few dimensions of many, and their classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = rng.normal(size=(classes, 5))
    inner = centres[labels] + spread * rng.normal(size=(count, 5))
    features = inner @ rng.normal(size=(5, width)) + rng.normal(size=(count, width)) + 3
    return features.astype(np.float32), labels


def stripes(count: int, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give noisy images [N, 3, S, S] of upright, lying and slanted stripes of random colour, and which they are."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    y, x = np.mgrid[:size, :size]
    along = np.stack([x, y, (x + y) / 1.4])[labels]
    phase, colour = rng.uniform(0, 6.3, (count, 1, 1)), rng.uniform(0.3, 1, (count, 3, 1, 1))
    waves = 0.5 + 0.5 * np.sin(along * 1.3 + phase)
    pixels = colour * waves[:, None] + 0.1 * rng.normal(size=(count, 3, size, size))
    return (pixels.clip(0, 1) * 255).astype(np.uint8), labels


def store(pixels: np.ndarray) -> ImageStore:
    """Open an array as a store of its own size."""
    return open_images(pixels, pixels.shape[-1], min_images=1)
