"""Little clips for tests: textured squares that move over textured grounds, and the batches that methods ask for."""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from selfsup.clips import Clips, described
from selfsup.draws import mix
from selfsup.method import Batch, DataFacts, Method

FRAMES, RATE = 24, 12.0
FINE = 4
"""Parts of a pixel in which a thing is placed."""


class Film(NamedTuple):
    """Clips and their pixels."""

    pixels: np.ndarray
    """[N, 3, S, S] uint8"""
    clips: Clips
    truth: np.ndarray
    """[N, 2] down and across of the middle of what moves, in sides of the picture."""


@cache
def squares(count: int = 8, side: int = 36, frames: int = FRAMES, seed: int = 0, speed: float = 0.28) -> Film:
    """Give clips in which a square crosses the middle of the picture, each in a direction of its own.

    Args:
        count: clips, each of a video of its own.
        side: of the pictures in pixels.
        frames: of a clip, 12 a second.
        seed: of grounds, squares and directions.
        speed: sides of the picture in a second; 0: nothing moves.
    """
    draw = np.random.default_rng(seed)
    pictures, places = [], []
    for _ in range(count):
        ground, thing = texture(draw, side, 4) * 0.5, texture(draw, side // 4, 3) * 0.6 + 0.4
        angle = draw.uniform(0, 2 * np.pi)
        step = speed / RATE * np.array([np.sin(angle), np.cos(angle)])
        middle = 0.5 + (np.arange(frames) - (frames - 1) / 2)[:, None] * step
        pictures += [_placed(ground, thing, place) for place in middle]
        places.append(middle)
    pixels = (np.stack(pictures) * 255).round().astype(np.uint8)
    return film(pixels, count, np.concatenate(places))


def film(pixels: np.ndarray, count: int, truth: np.ndarray | None = None) -> Film:
    """Give frames as equally long clips, each of a video of its own."""
    each = len(pixels) // count
    clip = np.repeat(np.arange(count), each)
    seconds = np.tile(np.arange(each) / RATE, count)
    clips = described(pixels, clip, seconds, clip + 10, [f"{k:03}" for k in range(count)])
    return Film(pixels, clips, np.full((len(pixels), 2), np.nan) if truth is None else truth)


def texture(draw: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Give a smooth random picture [3, side, side] in [0, 1] of cells x cells colours."""
    coarse = torch.from_numpy(draw.random((1, 3, cells, cells)))
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")[0].numpy()


def facts(film: Film, size: int) -> DataFacts:
    """Say what a method may know of these clips."""

    def frames(numbers: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(film.pixels[numbers]).float() / 255

    return DataFacts(len(film.pixels), size, lambda count: frames(np.arange(count)), film.clips)


def batch(
    method: Method,
    film: Film,
    count: int,
    step: int = 0,
    progress: float = 0.3,
    rows: slice = slice(None),
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """Give a batch of the frames that a method asks for, or these rows of it."""
    draw = np.random.default_rng(mix(0, step))
    index = draw.integers(0, len(film.clips), count)
    frames = method.moments(film.clips, index, draw)[rows]
    extra = {"frames": frames, "seconds": film.clips.seconds[frames], "source": film.clips.source[frames]}
    images = torch.from_numpy(film.pixels[frames.ravel()]).to(dtype).div(255).unflatten(0, frames.shape)
    extra = {name: torch.from_numpy(value) for name, value in extra.items()}
    return Batch(images, torch.from_numpy(index[rows]), step, progress, extra)


def _placed(ground: np.ndarray, thing: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """Lay a square on the ground to a quarter of a pixel."""
    fine_ground, fine_thing = (x.repeat(FINE, 1).repeat(FINE, 2) for x in (ground, thing))
    down, across = (middle * fine_ground.shape[1] - fine_thing.shape[1] / 2).round().astype(int)
    fine_ground[:, down : down + fine_thing.shape[1], across : across + fine_thing.shape[1]] = fine_thing
    side = ground.shape[1]
    return fine_ground.reshape(3, side, FINE, side, FINE).mean((2, 4))
