"""Lay out CIFAR-10 (class folders) as the results page uses it: unlabelled images, a small labelled pool, the test set.

    python benchmarks/cifar10_split.py cifar10/ cifar10-split/

`unlabelled/` holds 10,512 training images without classes (512 of them are held out by every run, which leaves 10,000
to train on), `labelled/train/CLASS/` 100 other training images per class, `labelled/test/CLASS/` the official test
images. `all-labels/` holds the same test set and the unlabelled images with their classes, for probes with about
1,000 labels per class. Chosen by number alone: within each class in official order, the first 100 are labelled, the
next are not.
Files are linked where the disk allows it, copied where not.
"""

import argparse
import os
import shutil
from pathlib import Path

UNLABELLED, LABELLED = 10_512, 100


def main() -> None:
    """Write the three folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="holds train/CLASS/NUMBER.ext and test/CLASS/NUMBER.ext")
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    classes = sorted(folder.name for folder in (given.source / "train").iterdir() if folder.is_dir())
    rest = []
    for name in classes:
        files = sorted((given.source / "train" / name).iterdir())
        for file in files[:LABELLED]:
            place(file, given.out / "labelled" / "train" / name / file.name)
        rest += files[LABELLED : LABELLED + -(-UNLABELLED // len(classes))]
        for file in sorted((given.source / "test" / name).iterdir()):
            place(file, given.out / "labelled" / "test" / name / file.name)
            place(file, given.out / "all-labels" / "test" / name / file.name)
    for file in sorted(rest, key=lambda file: file.name)[:UNLABELLED]:
        place(file, given.out / "unlabelled" / file.name)
        place(file, given.out / "all-labels" / "train" / file.parent.name / file.name)


def place(source: Path, target: Path) -> None:
    """Link or copy a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
