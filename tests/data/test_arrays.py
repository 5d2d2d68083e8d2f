"""Arrays, .npy files, data set objects and CIFAR-10's binary version are images too."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import centre, picture
from PIL import Image

from selfsup.data.images import open_images
from selfsup.data.labels import open_labelled
from selfsup.errors import InputError


def stack(count: int = 20, size: int = 32) -> np.ndarray:
    """Images [N, 3, S, S]."""
    return np.stack([np.asarray(picture(number, size, size)).transpose(2, 0, 1) for number in range(count)])


def opened(source, tmp_path, image_size=28, **options):
    store = open_images(source, image_size, cache=tmp_path / "cache", **options)
    return store, store.rows(np.arange(len(store)))


def test_bytes_of_the_right_shape_are_used_as_they_are(tmp_path):
    """No copy is made of [N, 3, S, S] bytes."""
    array = stack()

    store, pixels = opened(array, tmp_path)

    assert store.pixels is array
    assert (pixels == array).all()
    assert store.names[7] == "000007"
    assert len(set(store.hashes)) == 20


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.transpose(0, 2, 3, 1),
        lambda a: torch.from_numpy(a),
        lambda a: a / 255.0,
        lambda a: torch.from_numpy(a).float() / 255,
        lambda a: a.astype(np.float32),
        lambda a: a.astype(np.int64),
        lambda a: np.concatenate([a, np.full((len(a), 1, 32, 32), 255, np.uint8)], 1),
    ],
)
def test_layouts_and_types(tmp_path, change):
    """Channels last, tensors, floats in [0, 1] or [0, 255], whole numbers and RGBA give the same bytes."""
    assert (opened(change(stack()), tmp_path)[1] == stack()).all()


@pytest.mark.parametrize("layout", ["first", "last"])
def test_what_is_transparent_in_an_array_becomes_white(tmp_path, layout):
    """As in files: RGBA is put on white, by its share."""
    array = stack()
    alpha = np.zeros((20, 1, 32, 32), np.uint8)
    alpha[:, :, :, 8:24], alpha[:, :, :, 24:] = 51, 255
    see_through = np.concatenate([array, alpha], 1)

    pixels = opened(see_through if layout == "first" else see_through.transpose(0, 2, 3, 1), tmp_path)[1].astype(int)

    assert (pixels[..., :8] == 255).all()
    assert np.abs(pixels[..., 8:24] - (0.2 * array[..., 8:24] + 0.8 * 255)).max() <= 0.5
    assert (pixels[..., 24:] == array[..., 24:]).all()


def test_gray_arrays_get_three_channels(tmp_path):
    """[N, H, W] and [N, 1, H, W]."""
    gray = stack()[:, 0]

    for source in (gray, gray[:, None], gray[..., None]):
        assert (opened(source, tmp_path)[1] == gray[:, None].repeat(3, 1)).all()


def test_arrays_are_cut_and_resized(tmp_path):
    """[N, 3, 48, 64] becomes squares of 32, as Pillow would."""
    array = np.stack([np.asarray(picture(number)).transpose(2, 0, 1) for number in range(20)])

    _, pixels = opened(array, tmp_path)

    assert np.abs(pixels[5].astype(int) - centre(picture(5), 32)).mean() < 1


def test_other_ranges_are_scaled_once_for_all(tmp_path):
    """Floats from -3 to 3 and 12-bit numbers: one range, said."""
    for values, words in ((stack() / 255 * 6 - 3, "float values"), (stack().astype(np.uint16) * 16, "16 bits")):
        store, pixels = opened(values, tmp_path)
        assert np.abs(pixels.astype(int) - stack()).mean() < 6
        assert words in store.notes[0]


def test_npy_files(tmp_path):
    """Read without pickle; what was converted is kept; objects are refused in a sentence."""
    np.save(tmp_path / "a.npy", stack() / 255.0)

    one = opened(str(tmp_path / "a.npy"), tmp_path)[1]
    store, other = opened(tmp_path / "a.npy", tmp_path)

    assert (one == stack()).all()
    assert (other == stack()).all()
    assert isinstance(store.pixels, np.memmap)
    np.save(tmp_path / "o.npy", np.array([{}] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="never unpickled"):
        opened(tmp_path / "o.npy", tmp_path)
    (tmp_path / "x.npy").write_text("text")
    with pytest.raises(InputError, match=r"x\.npy"):
        opened(tmp_path / "x.npy", tmp_path)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 5, 32, 32), np.uint8), "5, 32, 32"),
        (np.zeros((20, 32), np.uint8), "N, 3, H, W"),
        (np.zeros((0, 3, 32, 32), np.uint8), "no images"),
        (np.array([["a"]]), "not numbers"),
        (np.array([None] * 20), "not numbers"),
        (np.zeros((5, 3, 32, 32), np.uint8), "only 5 usable images"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, array, words):
    """Wrong shapes and types are one sentence."""
    with pytest.raises(InputError, match=words):
        opened(array, tmp_path)


class Items:
    """A data set as torchvision has them."""

    classes = ("cat", "dog")

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int):
        image = picture(number)
        if self.kind == "tensor":
            return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255, torch.tensor(number % 2)
        if self.kind == "broken" and number == 3:
            raise OSError("disk gone")
        return image if self.kind == "bare" else (image, number % 2)


@pytest.mark.parametrize("kind", ["PIL", "tensor", "bare", "broken"])
def test_data_set_objects(tmp_path, kind):
    """Items are images or (image, label); one that cannot be read is skipped."""
    store, pixels = opened(Items(kind), tmp_path)

    assert len(store) == (19 if kind == "broken" else 20)
    for place in (2, 18):
        number = int(store.names[place])
        assert np.abs(pixels[place].astype(int) - centre(picture(number), 32)).mean() < 1
    assert [item.name for item in store.skipped] == (["000003"] if kind == "broken" else [])


def test_labels_of_data_set_objects_and_pairs(tmp_path):
    """Class names come from the data set."""
    data = open_labelled(Items("tensor"), 28, cache=tmp_path / "cache")
    assert data.classes == ["cat", "dog"]
    assert data.labels.tolist() == [0, 1] * 10

    data = open_labelled((stack(), np.arange(20) % 3), 28, cache=tmp_path / "cache")
    assert data.classes == ["0", "1", "2"]
    with pytest.raises(InputError, match="20 images but 19 labels"):
        open_labelled((stack(), np.arange(19)), 28, cache=tmp_path / "cache")
    with pytest.raises(InputError, match="holds no labels"):
        open_labelled(stack(), 28, cache=tmp_path / "cache")
    with pytest.raises(InputError, match="no labels"):
        open_labelled(Items("bare"), 28, cache=tmp_path / "cache")


def cifar(folder: Path) -> np.ndarray:
    """Write 2 training batches and a test batch of 10 images each."""
    folder.mkdir()
    images = stack(30).reshape(3, 10, -1)
    for name, part in zip(("data_batch_1", "data_batch_2", "test_batch"), images, strict=True):
        labels = np.arange(10, dtype=np.uint8)[:, None]
        np.concatenate([labels, part], 1).tofile(folder / f"{name}.bin")
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")
    return images.reshape(30, 3, 32, 32)


def test_the_binary_version_of_cifar(tmp_path):
    """Images as they are, labels by name, the official split."""
    images = cifar(tmp_path / "cifar")

    store, pixels = opened(tmp_path / "cifar", tmp_path, 32)
    data = open_labelled(tmp_path / "cifar", 32, cache=tmp_path / "cache")

    assert (pixels == images).all()
    assert store.names[10] == "data_batch_2.bin/000000"
    assert data.classes[:3] == ["airplane", "automobile", "bird"]
    assert data.labels.tolist() == list(range(10)) * 3
    assert data.split.tolist() == ["train"] * 20 + ["test"] * 10


def test_damaged_and_pickled_cifar(tmp_path):
    """A short file, and the version that would have to be unpickled."""
    cifar(tmp_path / "cifar")
    with open(tmp_path / "cifar" / "test_batch.bin", "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="no multiple of 3,073"):
        opened(tmp_path / "cifar", tmp_path, 32)
    (tmp_path / "py").mkdir()
    (tmp_path / "py" / "data_batch_1").write_bytes(b"x")
    with pytest.raises(InputError, match="never unpickled"):
        opened(tmp_path / "py", tmp_path, 32)


def test_deep_pictures_of_a_data_set_share_a_range(tmp_path):
    """16-bit PIL images are not scaled one by one."""

    class Deep(Items):
        def __getitem__(self, number: int):
            return Image.fromarray(np.full((32, 32), 100 * (number + 1), np.uint16)), 0

    _, pixels = opened(Deep("PIL"), tmp_path)

    assert pixels[0].max() == 0
    assert abs(int(pixels[10].max()) - 134) < 4
    assert pixels[19].min() == 255
