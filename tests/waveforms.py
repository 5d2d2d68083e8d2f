"""Signals for tests: waves of a few kinds, any phase and pitch, in noise."""

import numpy as np


def waves(count: int, length: int = 64, channels: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give float32 signals [N, C, L] and the kind of each: 0 sine, 1 square, 2 saw.

    Channels show the same wave in units of their own: deviations about 1, 10, 100 around 3.
    """
    generator = np.random.default_rng(seed)
    kinds = generator.integers(0, 3, count)
    turns = generator.uniform(2, 5, (count, 1)) * np.arange(length) / length + generator.uniform(0, 1, (count, 1))
    sine, saw = np.sin(2 * np.pi * turns), 2 * (turns % 1) - 1
    wave = np.stack([sine, np.sign(sine), saw])[kinds, np.arange(count)]
    scale = 10.0 ** np.arange(channels)[:, None]
    signals = 3 + scale * (wave[:, None] + generator.normal(0, 0.1, (count, channels, length)))
    return signals.astype(np.float32), kinds
