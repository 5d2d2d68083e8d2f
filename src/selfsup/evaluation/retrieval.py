"""Nearest neighbours of images in an encoder's features, as numbers and as a picture; no labels needed."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from selfsup.data.by_clip import one_of_each
from selfsup.data.images import ImageStore
from selfsup.evaluation.features import Tell, vectors
from selfsup.evaluation.knn import unit_rows
from selfsup.networks.encoders import Encoder
from selfsup.progress import silent
from selfsup.views import sheets
from selfsup.views.crops import center


def neighbours(
    features: Float[np.ndarray, "N D"], k: int, queries: Int[np.ndarray, " Q"] | None = None, chunk: int = 1024
) -> Int[np.ndarray, "Q k"]:
    """Give the k rows most similar (cosine) to each query, most similar first, without the query itself.

    Args:
        features: one row per image.
        k: neighbours wanted, at most N - 1.
        queries: positions of the queries, by default all rows.
        chunk: queries compared at a time.
    """
    unit = unit_rows(features)
    numbers = torch.arange(len(unit)) if queries is None else torch.from_numpy(queries.astype(np.int64))
    k = min(k, len(unit) - 1)
    found = []
    for some in torch.split(numbers, chunk):
        similar = unit[some] @ unit.T
        similar[torch.arange(len(some)), some] = -torch.inf
        found.append(similar.topk(k, dim=1).indices)
    return torch.cat(found).numpy()


def neighbour_sheet(
    encoder: Encoder,
    images: ImageStore,
    out: Path,
    *,
    queries: int = 8,
    k: int = 7,
    most: int = 5000,
    seed: int = 0,
    progress: Tell = silent,
) -> Path:
    """Draw a PNG with a query and its nearest neighbours in each row; of clips one frame each, the next being nearest.

    Args:
        encoder: its pooled vector is compared.
        images: at least 2.
        out: the PNG.
        queries: rows of the picture.
        k: neighbours per row.
        most: images searched; of more, an even selection is taken.
        seed: of the queries; the same for every encoder, so that sheets can be compared.
        progress: told the number of images done.
    """
    if images.clips is not None and images.clips.count > 1:
        images = one_of_each(images)
    if len(images) > most:
        images = images.select(np.linspace(0, len(images) - 1, most).astype(np.int64))
    asked = np.sort(np.random.default_rng(seed).permutation(len(images))[:queries])
    near = neighbours(vectors(encoder, images, progress=progress), k, asked)
    shown = np.concatenate([asked[:, None], near], axis=1)  # [Q, 1 + k]
    pixels = torch.from_numpy(images.rows(shown.ravel())).float() / 255
    tiles = center(pixels, encoder.image_size)
    return write_png(sheets.rows(torch.split(tiles, shown.shape[1])), out)


def write_png(picture: Float[torch.Tensor, "3 H W"], out: Path) -> Path:
    """Write a picture in [0, 1] as PNG."""
    from PIL import Image

    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture.permute(1, 2, 0) * 255).round().byte().numpy()).save(out, format="PNG")
    return out
