import numpy as np
import pytest

from selfsup.advice.material import make_exam, open_material, without_test
from selfsup.data.images import open_images
from selfsup.data.labels import open_labelled, test_split
from selfsup.errors import InputError


def pictures(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random images that no hash takes for one another."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 3, 6, 6))
    return np.repeat(np.repeat(coarse, 6, axis=2), 6, axis=3).astype(np.uint8)


def opened(pixels: np.ndarray, labels: np.ndarray, tmp_path, **words):
    return open_material(
        pixels,
        (pixels, labels),
        image_size=32,
        store_size=36,
        label_budgets=[5, None],
        draws=2,
        cache=tmp_path,
        **words,
    )


def test_test_images_and_their_near_duplicates_leave_pretraining(tmp_path):
    """Labelled images are among the unlabelled ones, and some of these are slightly brighter copies."""
    pixels = pictures(60)
    labels = np.arange(60) % 2
    brighter = np.clip(pixels[:20].astype(int) + 4, 0, 255).astype(np.uint8)
    everything = np.concatenate([pixels, brighter, pictures(30, seed=1)])

    material = open_material(
        everything, (pixels, labels), image_size=32, store_size=36, label_budgets=[None], draws=1, cache=tmp_path
    )

    assert material.exam is not None
    assert material.labelled is not None
    test = set(material.labelled.select(material.exam.test).hashes)
    copies = int((material.exam.test < 20).sum())
    assert copies > 0
    assert len(test) == 20
    assert not test & set(material.images.hashes)
    assert len(material.images) == 110 - 20 - copies
    assert (
        f"20 test images, {copies} near-duplicates of test images were taken out of pretraining" in material.notes[-1]
    )


def test_transductive_keeps_them_and_says_so(tmp_path):
    material = opened(pictures(60), np.arange(60) % 2, tmp_path, transductive=True)

    assert len(material.images) == 60
    assert any(note.startswith("Transductive") for note in material.notes)


def test_members_of_test_groups_leave_pretraining(tmp_path):
    """Images of a patient in the test set teach what the test should ask."""
    store = open_images(pictures(40), 32, store_size=36, cache=tmp_path)
    names = [f"patient{number // 4}_{number % 4}.png" for number in range(40)]
    from dataclasses import replace

    images = replace(store, names=names)

    kept, notes = without_test(images, images.select([0, 5]), r"(patient\d+)")
    alone, _ = without_test(images, images.select([0, 5]))

    assert kept.tolist() == list(range(8, 40))
    assert len(alone) == 38
    assert "6 members of their groups" in notes[0]


def test_too_little_left_is_a_sentence(tmp_path):
    store = open_images(pictures(20), 32, store_size=36, cache=tmp_path)

    with pytest.raises(InputError, match="Only 10 images are left to pretrain on"):
        without_test(store, store.select(range(10)))


def test_budgets_that_repeat_each_other_are_asked_once(tmp_path):
    """10 per class of a pool of 10 per class is all there is."""
    data = open_labelled((pictures(30), np.arange(30) % 2), 32, store_size=36, cache=tmp_path)
    pool, test = test_split(data)
    each = len(pool) // 2

    exam = make_exam(data, pool, test, [2, each, None], 3)

    assert sorted(exam.draws) == [(2, 0), (2, 1), (2, 2), (each, 0)]
    assert exam.largest == each
    assert make_exam(data, pool, test, [2, None], 3).largest is None


def test_draws_are_inside_the_pool(tmp_path):
    data = open_labelled((pictures(60), np.arange(60) % 2), 32, store_size=36, cache=tmp_path)
    pool, test = test_split(data)

    exam = make_exam(data, pool, test, [5, None], 2)

    for key in exam.draws:
        assert not set(exam.positions(key)) & set(test)


def test_too_few_labels_are_a_sentence(tmp_path):
    data = open_labelled((pictures(12), np.arange(12) % 2), 32, store_size=36, cache=tmp_path)
    pool, test = test_split(data)

    with pytest.raises(InputError, match="There are too few labelled images"):
        make_exam(data, pool, test, [None], 1)


def test_changed_images_have_another_fingerprint(tmp_path):
    one = opened(pictures(60), np.arange(60) % 2, tmp_path)
    other = opened(pictures(60, seed=3), np.arange(60) % 2, tmp_path)
    relabelled = opened(pictures(60), np.arange(60) // 2 % 2, tmp_path)

    assert one.content() == opened(pictures(60), np.arange(60) % 2, tmp_path).content()
    assert one.content()["images"] != other.content()["images"]
    assert one.content()["labelled"] != relabelled.content()["labelled"]
