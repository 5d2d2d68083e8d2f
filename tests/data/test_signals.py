"""Signals are floats in their own units, mapped from the disk, with statistics and labels beside them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from waveforms import waves

from selfsup.data.batches import Batches, clean_batches
from selfsup.data.doctor import diagnose
from selfsup.data.images import open_images
from selfsup.data.inputs import open_inputs, size_for
from selfsup.data.labels import open_labelled_signals, test_split
from selfsup.data.signals import open_signals, statistics
from selfsup.errors import InputError

CPU = torch.device("cpu")


def test_float32_file_is_mapped_as_it_is(tmp_path: Path) -> None:
    """No copy: rows come from the user's own file; a folder with signals.npy is the same."""
    signals, _ = waves(20)
    np.save(tmp_path / "signals.npy", signals)
    for source in (tmp_path / "signals.npy", tmp_path):
        store = open_signals(source, 64, cache=tmp_path / "cache")
        assert isinstance(store.pixels, np.memmap)
        assert store.holds_signals
        assert (store.size, len(store), store.names[7]) == (64, 20, "000007")
        assert np.array_equal(store.rows([3, 1]), signals[[3, 1]])
    assert not list((tmp_path / "cache").rglob("images.npy"))


@pytest.mark.parametrize("change", [lambda x: x.astype(np.float64), lambda x: x.astype(">f4"), np.asfortranarray])
def test_other_numbers_are_converted_once(tmp_path: Path, change) -> None:
    """Doubles and foreign byte orders become float32 in the cache, and are found there again."""
    signals, _ = waves(20)
    np.save(tmp_path / "x.npy", change(signals))
    first = open_signals(tmp_path / "x.npy", cache=tmp_path / "cache")
    again = open_signals(tmp_path / "x.npy", cache=tmp_path / "cache")
    assert np.array_equal(first.rows(range(20)), signals)
    assert np.array_equal(again.rows(range(20)), signals)
    assert isinstance(again.pixels, np.memmap)


def test_tensors_and_single_channels() -> None:
    """[N, L] is one channel; whole numbers will do."""
    numbers = np.arange(20 * 64).reshape(20, 64)
    store = open_signals(torch.from_numpy(numbers))
    assert np.array_equal(store.rows([1])[0, 0], numbers[1])
    assert size_for("small1d", numbers) == 64


def test_signals_that_are_not_finite_are_skipped_by_name() -> None:
    """One gap costs one signal; what is left keeps its names."""
    signals, _ = waves(20)
    signals[4, 1, 7], signals[9, 0, 0] = np.nan, np.inf
    store = open_signals(signals)
    assert [name for name, _ in store.skipped] == ["000004", "000009"]
    assert len(store) == 18
    assert store.names[4] == "000005"
    assert np.array_equal(store.rows([4])[0], signals[5])


@pytest.mark.parametrize("offset", [0.0, 3e6])
def test_statistics_are_those_of_each_channel(offset: float) -> None:
    """Mean and deviation over signals and samples, exact beside a large offset; constant channels divide by 1."""
    signals, _ = waves(2100, 32, 3)
    signals[:, 2] = 7
    signals[:, :2] += offset
    mean, std = statistics(open_signals(signals))
    assert mean == pytest.approx(signals.astype(np.float64).mean((0, 2)).tolist(), rel=1e-9)
    assert std[:2] == pytest.approx(signals[:, :2].astype(np.float64).std((0, 2)).tolist(), rel=1e-6)
    assert std[2] == 1


def test_batches_hold_signals_in_their_units() -> None:
    """Rows go through to the batch unchanged, and clean batches are the middle of each signal."""
    signals, _ = waves(20)
    store = open_signals(signals)
    (batch,) = Batches(store, 8, 1, 0, CPU).round_from(0, torch.arange(20))
    assert torch.equal(batch.images, torch.from_numpy(signals[:8]))
    (middle,) = clean_batches(store, 32, 20, CPU)
    assert torch.equal(middle, torch.from_numpy(signals[:, :, 16:48]))


def test_the_encoder_says_what_an_array_holds() -> None:
    """[N, A, B] are gray images for one encoder and signals for the other."""
    array = np.random.default_rng(0).random((20, 32, 40)).astype(np.float32)
    assert not open_inputs("small", array, 32).holds_signals
    signals = open_inputs("small1d", array, 40)
    assert signals.pixels.shape == (20, 32, 40)


@pytest.mark.parametrize(
    ("shape", "size", "says"),
    [
        ((20, 3, 32, 32), 32, r"reads \[N, C, L\]; for images choose another encoder"),
        ((20, 64, 3), 32, "move it to the last"),
        ((20, 2, 40), 64, "signals of 40 samples, and the encoder reads 64"),
        ((4, 2, 64), 64, "4 usable signals; at least 16"),
        ((20, 1, 64), 64, "1 channels, and the encoder reads 2"),
    ],
)
def test_what_cannot_be_signals_is_refused(shape: tuple[int, ...], size: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_inputs("small1d", np.zeros(shape, np.float32), size, channels=2 if shape[1] == 1 else None)


def test_signals_given_to_an_encoder_of_images_are_told_apart_where_they_can_be() -> None:
    """Images of two rows are no images."""
    with pytest.raises(InputError, match=r"gray images of 2 x 64 pixels; signals \[N, C, L\] need .* small1d"):
        open_images(waves(20)[0], 32)


def test_images_are_no_signals(tmp_path: Path) -> None:
    """A folder without signals.npy is refused with what would do; a store size too."""
    with pytest.raises(InputError, match="holds no signals"):
        open_signals(tmp_path)
    with pytest.raises(InputError, match="kept whole, here 64"):
        open_inputs("small1d", waves(20)[0], 64, store_size=80)


def test_labels_lie_beside_signals(tmp_path: Path) -> None:
    """Labels, groups and split follow the signals that can be used; groups and repeats stay on one side."""
    signals, kinds = waves(60)
    signals[0, 0, 0], signals[12] = np.nan, signals[10]
    names = np.array(["sine", "square", "saw"])[kinds]
    np.save(tmp_path / "signals.npy", signals)
    np.save(tmp_path / "labels.npy", names)
    np.save(tmp_path / "groups.npy", np.arange(60) // 2)
    data = open_labelled_signals(tmp_path, 64)
    assert [data.classes[label] for label in data.labels] == names[1:].tolist()
    pool, test = test_split(data)
    assert not set(data.groups[pool]) & set(data.groups[test])
    assert data.groups[9] == data.groups[10] == data.groups[11] == data.groups[12]
    assert len(set(data.groups.tolist())) == 29

    np.save(tmp_path / "split.npy", np.array(["train"] * 40 + ["test"] * 20))
    (tmp_path / "groups.npy").unlink()
    split = open_labelled_signals(tmp_path, 64)
    assert test_split(split)[1].tolist() == list(range(39, 59))


def test_labels_come_as_a_pair_too() -> None:
    signals, kinds = waves(30)
    assert open_labelled_signals((signals, kinds), 64).classes == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(29, int), r"There are 30 signals, but labels is of shape \(29,\)"),
        (np.zeros(30), "type float64"),
        (np.zeros(30, int), "a single class, 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_labelled_signals((waves(30)[0], labels), 64)


def test_doctor_names_flat_and_far_signals() -> None:
    """Flat signals and artefacts are worth a sentence, healthy ones none."""
    signals, _ = waves(1000, 32)
    assert diagnose(open_signals(signals)) == []
    signals[5], signals[6, 0, 3] = 3, 5e4
    found = {finding.topic: finding.examples for finding in diagnose(open_signals(signals))}
    assert found == {"constant": ("000005",), "range": ("000006",)}


def test_numbers_that_numpy_has_not_are_read() -> None:
    """bfloat16 tensors come in as float32."""
    values = torch.randn(20, 2, 64)
    rows = open_signals(values.bfloat16(), 64).rows(range(20))
    assert torch.equal(torch.from_numpy(rows), values.bfloat16().float())
