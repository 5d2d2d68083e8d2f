"""Open the official binary version of CIFAR-10: records of one label and 3,072 bytes."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from selfsup.data.arrays import numbered, open_array
from selfsup.data.cache import key
from selfsup.data.progress import Progress
from selfsup.data.store import ImageStore
from selfsup.errors import InputError

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
_RECORD = 1 + 3 * 32 * 32


def cifar_files(folder: Path) -> list[Path]:
    """The batch files of the binary version in `folder`, the training batches first; empty if it is another folder.

    Raises:
        InputError: if it is the pickled version.
    """
    files = sorted(folder.glob("data_batch_*.bin")) + sorted(folder.glob("test_batch.bin"))
    inner = folder / "cifar-10-batches-bin"
    if not files and inner.is_dir():
        return cifar_files(inner)
    pickled = [folder / "data_batch_1", folder / "cifar-10-batches-py" / "data_batch_1"]
    if not files and any(file.is_file() for file in pickled):
        raise InputError(
            f"{folder} holds the pickled version of CIFAR-10, which is never unpickled; get the binary version"
            " (cifar-10-binary.tar.gz) or class folders of images."
        )
    return files


def open_cifar(
    folder: Path, image_size: int, store_size: int | None, cache: Path, progress: Progress
) -> tuple[ImageStore, Int64[np.ndarray, " N"], list[str], list[str]]:
    """Give the images, their labels, the class names and the split ("train" or "test") of each image."""
    files = cifar_files(folder)
    images, labels, names, split = [], [], [], []
    for file in files:
        data = np.fromfile(file, np.uint8)
        if len(data) == 0 or len(data) % _RECORD:
            raise InputError(f"{file} has {len(data):,} bytes, which is no multiple of {_RECORD:,}; download it again.")
        records = data.reshape(-1, _RECORD)
        images.append(records[:, 1:].reshape(-1, 3, 32, 32))
        labels.append(records[:, 0])
        names += [f"{file.name}/{number}" for number in numbered(len(records))]
        split += ["test" if file.name.startswith("test") else "train"] * len(records)
    classes = _class_names(files[0].parent)
    label = np.concatenate(labels).astype(np.int64)
    if label.max() >= len(classes):
        raise InputError(f"{folder} holds label {label.max()}, but CIFAR-10 has {len(classes)} classes.")
    facts = [(file.resolve(), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    kept = cache / "images" / key(["cifar", 1, *facts, image_size, store_size])
    store = open_array(np.concatenate(images), image_size, store_size, str(folder), progress, kept)
    store.names[:] = names
    return store, label, classes, split


def _class_names(folder: Path) -> list[str]:
    file = folder / "batches.meta.txt"
    names = file.read_text().split() if file.is_file() else []
    return names if len(names) == len(CLASSES) else CLASSES
