"""Images per second of opening a folder of JPEGs over the bare decoder's speed times the number of cores.

The bare decoder is torchvision's, one process, files read and decoded and thrown away. Opening also resizes, crops,
hashes and writes the store. The share is the median over the turns.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --folder photos/ --image-size 64
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from PIL import Image

from selfsup.data.images import open_images

TARGET = 0.8


def main() -> None:
    """Print a line per image size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="JPEGs to use; by default 6,000 of 640x480 are made")
    parser.add_argument("--image-size", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or photographs(Path(scratch, "images"))
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
        bare(files[:50])
        for size in given.image_size:
            shares, rates = [], []
            for turn in range(given.turns):
                alone = bare(files)
                began = perf_counter()
                store = open_images(folder, size, cache=Path(scratch, f"cache-{size}-{turn}"))
                rates.append(len(store) / (perf_counter() - began))
                shares.append(rates[-1] / (alone * cores))
            print(
                f"{size} px (store {store.size}): {statistics.median(rates):,.0f} images/s, "
                f"{statistics.median(shares):.2f} of decoder speed x {cores} cores (target {TARGET})",
                flush=True,
            )


def bare(files: list[Path]) -> float:
    """Decode all files in this process; images per second."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    began = perf_counter()
    for file in files:
        decode_jpeg(read_file(str(file)), mode=ImageReadMode.RGB)
    return len(files) / (perf_counter() - began)


def photographs(folder: Path, count: int = 1500, copies: int = 4) -> Path:
    """Write JPEGs with detail at all scales, which take a decoder about as long as photographs of their size."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        picture = np.zeros((480, 640, 3))
        for side in (4, 16, 64, 256):
            coarse = Image.fromarray(generator.integers(0, 256, (side, side, 3), dtype=np.uint8))
            picture += np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC)) / side**0.5
        picture *= 255 / picture.max()
        name = folder / f"{number:05d}.jpg"
        Image.fromarray(picture.astype(np.uint8)).save(name, quality=85)
        # enough files that the start of the workers does not count, without drawing them all
        for copy in range(1, copies):
            shutil.copy(name, folder / f"{number:05d}-{copy}.jpg")
    return folder


if __name__ == "__main__":
    main()
