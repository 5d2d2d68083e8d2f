"""Seconds of a round of clustering beside those of the epoch that it prepares, at several numbers of images.

    python benchmarks/clustering.py
    python benchmarks/clustering.py --images 10000 50000 --encoder resnet18 --clusters 500

Images are noise: what a round takes hangs on their number, not on what they show. `embed` is the pass of all images
through the encoder, `k-means` all that follows (components, clusters, agreement, order); `share` is the round's part of
the time of round and epoch, and `forecast` the round as it is foreseen before a run.
"""

import argparse
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsup.data.images import ImageStore
from selfsup.draws import reseed
from selfsup.training.build import embedder
from selfsup.training.prepare import prepare
from selfsup.training.rehearsal import Rehearsal, seconds_per_step


def main() -> None:
    """Print a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", nargs="+", type=int, default=[10_000, 50_000])
    parser.add_argument("--encoder", default="small")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--clusters", type=int, help="by default one for every 50 images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    head = f"{'images':>8} {'clusters':>8} {'step ms':>8} {'epoch s':>8} {'embed s':>8} {'k-means s':>9} {'share':>6}"
    print(f"{head} {'forecast s':>10}")
    for count in given.images:
        print(row(count, given))


def row(count: int, given: argparse.Namespace) -> str:
    """Time one number of images."""
    asked: dict[str, Any] = {
        "encoder": given.encoder, "image_size": given.image_size, "threads": given.threads,
        "precision": given.precision, "clusters": given.clusters,
    }  # fmt: skip
    prepared = prepare("deepcluster", noise(count, given.image_size), steps=1, **asked)
    settings, images = prepared.settings, prepared.images
    rehearsal = Rehearsal(settings, images)
    (step,) = seconds_per_step([rehearsal])
    method, device = rehearsal.trainee.method, rehearsal.trainee.device
    embed, parts = timed(embedder(images, settings.image_size, device, settings.precision))
    reseed(0)
    began = perf_counter()
    method.start_epoch(embed)
    whole = perf_counter() - began
    epoch = step * rehearsal.batches.per_epoch
    clusters = len(dict(method.named_buffers())["centroids"])
    return (
        f"{count:8,} {clusters:8,} {1e3 * step:8.1f} {epoch:8.2f} {sum(parts):8.2f} {whole - sum(parts):9.2f} "
        f"{whole / (whole + epoch):6.1%} {rehearsal.round.seconds:10.2f}"
    )


def timed(embed: Callable[[nn.Module], Tensor]) -> tuple[Callable[[nn.Module], Tensor], list[float]]:
    """Give the function, and a list that gets the seconds of each call."""
    seconds: list[float] = []

    def watched(module: nn.Module) -> Tensor:
        began = perf_counter()
        features = embed(module)
        if features.is_cuda:
            torch.cuda.synchronize()
        seconds.append(perf_counter() - began)
        return features

    return watched, seconds


def noise(count: int, size: int) -> ImageStore:
    """Give images of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, size, size), dtype=np.uint8)
    names = [str(number) for number in range(count)]
    return ImageStore(pixels, names, names, [], [], "noise", [None] * count)


if __name__ == "__main__":
    main()
