"""Images per second for two SimCLR views of each: ours in batches against torchvision's chain image by image on PIL.

Then patches per second for the tasks that cut images.

    python benchmarks/views.py [--batch 256] [--rounds 15] [--threads 1 2]

Crop, flip, colour jitter (s = 0.5) and grayscale, two views of every image, no blur. Both chains start
from pixels in memory (floats in a batch; PIL images) and end in one float batch. Rounds of all chains take
turns, and the median round counts, so both see the same weather. Wall time wants an idle machine; the
columns per core count processor time and hold on a busy one too.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms

from selfsup import memory
from selfsup.methods import load
from selfsup.methods.context import Context
from selfsup.methods.jigsaw import Jigsaw
from selfsup.methods.simclr import SimCLR
from selfsup.networks.encoders import build_encoder

SIZES = ((32, 32), (64, 64), (256, 96))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="images in a batch")
    parser.add_argument("--rounds", type=int, default=15, help="rounds, of which the median counts")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads to try")
    given = parser.parse_args()
    memory.keep_pages()  # as in training
    columns = ("px", "chain", "threads", "images/s", "images/s per core", "over PIL per core")
    print(f"batch {given.batch}, two views per image, median of {given.rounds} rounds, torch {torch.__version__}\n")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for store, size in SIZES:
        pictures = smooth_pictures(given.batch, store)
        # the chain over PIL is slow but steady: a part of the batch is enough
        chains = {("PIL", 1): (pil_chain(pictures[: max(8, given.batch * 32 // store)], size))}
        ours = our_chain(pictures, size)
        chains |= {("selfsup", threads): ours for threads in given.threads}
        rates = measured(chains, given.rounds)
        _, alone = rates[("PIL", 1)]
        for (name, threads), (wall, core) in rates.items():
            print(f"| {store}→{size} | {name} | {threads} | {wall:,.0f} | {core:,.0f} | {core / alone:.1f} |")
    print("\nPatches, one thread:\n")
    print("| task | px | patches per image | patches/s |\n|---|---|---|---|")
    torch.set_num_threads(1)
    for name, size in (("jigsaw", 32), ("context", 32), ("jigsaw", 96), ("context", 96)):
        pictures = smooth_pictures(64, size)
        cut = patch_chain(name, pictures, size)
        rate, _ = measured({(name, 1): cut}, given.rounds)[name, 1]
        pieces = cut().shape[1]  # `measured` counts two views as one image
        print(f"| {name} | {size} | {pieces} | {2 * rate * pieces:,.0f} |")


def patch_chain(name: str, pictures: Tensor, size: int) -> Callable[[], Tensor]:
    """Give a method's way from images to the patches its encoder sees."""
    method = load(name)(build_encoder("small", size, seed=0))
    if isinstance(method, Jigsaw):
        return lambda: method.tiles(pictures)
    assert isinstance(method, Context)
    return lambda: method.disguise(method.cut(pictures).patches)


def our_chain(pictures: Tensor, size: int) -> Callable[[], Tensor]:
    """Give SimCLR's own views."""
    method = SimCLR(build_encoder("small", size, seed=0), strength=0.5, blur=0.0)
    return lambda: method.views(pictures)


def pil_chain(pictures: Tensor, size: int) -> Callable[[], Tensor]:
    """Give the chain of the paper's reimplementations: one PIL image after the other."""
    images = [Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()) for picture in pictures]
    view = transforms.Compose(
        [
            transforms.RandomResizedCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
        ]
    )
    return lambda: torch.stack([view(image) for image in images for _ in range(2)])


def measured(
    chains: dict[tuple[str, int], Callable[[], Tensor]], rounds: int
) -> dict[tuple[str, int], tuple[float, float]]:
    """Give images per second of wall time and of processor time, for every chain under its number of threads."""
    times: dict[tuple[str, int], list[tuple[float, float]]] = {key: [] for key in chains}
    for turn in range(rounds + 2):
        for key, chain in chains.items():
            torch.set_num_threads(key[1])
            wall, core = time.perf_counter(), time.process_time()
            images = len(chain()) / 2
            wall, core = time.perf_counter() - wall, time.process_time() - core
            if turn >= 2:  # the first two warm up
                times[key].append((images / wall, images / core))
    return {
        key: (statistics.median(w for w, _ in seen), statistics.median(c for _, c in seen))
        for key, seen in times.items()
    }


def smooth_pictures(count: int, side: int) -> Tensor:
    """Give random smooth pictures [count, 3, side, side]; the time of no step depends on what they show."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=side, mode="bicubic").clamp(0, 1)


if __name__ == "__main__":
    main()
