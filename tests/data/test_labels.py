"""Labels come from folders, tables and names; what looks alike never straddles a split."""

import re
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, picture
from PIL import Image

from selfsup.data import labels
from selfsup.data.labels import LabelledImages, open_labelled
from selfsup.data.tables import read_table
from selfsup.errors import InputError


def tree(root: Path, *paths: str) -> Path:
    """Write a different picture at each path."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(number, 40, 40).save(root / path)
    return root


def opened(source, **options) -> LabelledImages:
    base = Path(source)
    base = base.parent if base.suffix else base
    return open_labelled(source, 32, cache=base.parent / "cache", **options)


def told(data: LabelledImages) -> dict[str, tuple[str, str]]:
    """Name -> class and split."""
    return {
        name: (data.classes[label], split)
        for name, label, split in zip(data.images.names, data.labels, data.split, strict=True)
    }


def test_class_folders(tmp_path):
    """Also nested ones; images beside them, in folders called unlabelled, or in hidden ones, have no label."""
    root = tree(
        tmp_path / "x", "cat/1.png", "cat/deep/2.png", "dog/1.png", "dog/2.png", "9.png", "unlabelled/1.png", ".a/1.png"
    )

    data = opened(root)

    assert data.classes == ["cat", "dog"]
    assert {name: label for name, (label, _) in told(data).items()} == {
        "cat/1.png": "cat", "cat/deep/2.png": "cat", "dog/1.png": "dog", "dog/2.png": "dog",
    }  # fmt: skip
    assert set(data.split) == {""}
    assert any("2 images have no label (such as 9.png)" in note for note in data.notes)


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "validation", "TESTING")])
def test_split_folders(tmp_path, names):
    """Whatever they are called."""
    train, val, test = names
    root = tree(tmp_path / "x", *(f"{part}/{label}/{n}.png" for part in names for label in "ab" for n in range(2)))

    data = opened(root)

    assert data.classes == ["a", "b"]
    assert told(data)[f"{train}/a/0.png"] == ("a", "train")
    assert told(data)[f"{val}/b/1.png"] == ("b", "val")
    assert told(data)[f"{test}/b/0.png"] == ("b", "test")
    pool, chosen = labels.test_split(data)
    assert [data.split[n] for n in chosen] == ["test"] * 4
    assert set(data.split[pool]) == {"train", "val"}


def test_splits_inside_classes_and_an_outer_folder(tmp_path):
    """class/train/x and one folder around everything."""
    root = tree(
        tmp_path / "x", *(f"all/{c}/{part}/{n}.png" for c in "ab" for part in ("train", "test") for n in range(2))
    )

    data = opened(root)

    assert data.classes == ["a", "b"]
    assert told(data)["all/a/train/0.png"] == ("a", "train")
    assert told(data)["all/b/test/1.png"] == ("b", "test")


def test_a_class_may_be_called_train(tmp_path):
    """One folder that sounds like a split among other classes is a class."""
    data = opened(tree(tmp_path / "x", *(f"{c}/{n}.png" for c in ("train", "ship") for n in range(2))))

    assert data.classes == ["ship", "train"]


def test_a_pattern_names_the_class_in_file_names(tmp_path):
    """cat.1.jpg; names that do not match are left out."""
    root = tree(tmp_path / "x", "cat.1.png", "cat.2.png", "dog.1.png", "dog.2.png", "9.png")

    data = opened(root, pattern=r"([a-z]+)\.\d")

    assert told(data)["dog.2.png"] == ("dog", "")
    assert len(data) == 4


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("([a-z", "no regular expression"), ("[a-z]+", "no group"), ("([A-Z]+)", "matches none of the 2")],
)
def test_patterns_that_cannot_work(tmp_path, pattern, words):
    """One sentence each."""
    with pytest.raises(InputError, match=words):
        opened(tree(tmp_path / "x", "cat.1.png", "dog.1.png"), pattern=pattern)


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        (["1.png", "2.png", "3.png", "4.png"], "no class folders"),
        (["train/1.png", "train/2.png", "test/1.png", "test/2.png"], "no class folders"),
        (["a/1.png", "a/2.png", "b.png", "c.png"], "a single class, a"),
        (["a/1.png", "b/1.png"], "only 2 usable images; at least 4"),
    ],
)
def test_labels_that_cannot_work(tmp_path, paths, words):
    """No classes, one class, next to nothing."""
    with pytest.raises(InputError, match=words):
        opened(tree(tmp_path / "x", *paths))


def test_a_class_of_one_image_is_said(tmp_path):
    """It stays in the pool."""
    data = opened(tree(tmp_path / "x", *(f"a/{n}.png" for n in range(4)), "b/1.png"))

    assert any("1 classes have a single image (b)" in note for note in data.notes)
    pool, test = labels.test_split(data)
    assert 1 in data.labels[pool]
    assert data.labels[test].tolist() == [0]


def test_classes_are_sorted_as_people_do(tmp_path):
    """2 before 10; a difference in spelling is said."""
    data = opened(tree(tmp_path / "x", *(f"{c}/{n}.png" for c in ("10", "2", "Cat", "cat ") for n in range(2))))

    assert data.classes == ["2", "10", "Cat", "cat "]
    assert any("differ in spelling" in note for note in data.notes)


@pytest.mark.parametrize("header", ["", "file,class,patient\n", "Bild,Art,Mensch\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables(tmp_path, header, delimiter):
    """With and without header, any delimiter, with groups; missing files are named."""
    root = tree(tmp_path / "x", *(f"img/{n} ž.png" for n in range(6)))
    lines = [f"img/{n} ž.png,{'cat' if n % 2 else 'dog'},p{n // 2}" for n in range(6)] + ["img/gone.png,cat,p9"]
    (root / "labels.csv").write_text((header + "\n".join(lines)).replace(",", delimiter), encoding="utf-8-sig")

    data = opened(root / "labels.csv")

    assert data.classes == ["cat", "dog"]
    assert told(data)["img/3 ž.png"] == ("cat", "")
    assert data.groups.tolist() == [0, 0, 2, 2, 4, 4]
    assert any(
        "1 of 7 files named in labels.csv cannot be used, as the file is missing: img/gone.png" in note
        for note in data.notes
    )


def test_tables_of_other_shapes(tmp_path):
    """Columns by name in any order, a split, names without extension, absolute and Windows paths, empty labels."""
    root = tree(tmp_path / "x", *(f"img/{n}.png" for n in range(6)))
    lines = ["label,notes,id,split", "a,,img/0,train", "b,,img\\1.png,train", f"a,,{root}/img/2.png,val"]
    lines += ["b,,img/3.png,test", "a,,img/4.png,test", ",,img/5.png,test"]
    (root / "x.csv").write_text("\n".join(lines))

    data = opened(root / "x.csv")

    assert sorted(data.split) == ["test", "test", "train", "train", "val"]
    assert {name[-5]: label for name, (label, _) in told(data).items()} == dict(zip("01234", "ababa", strict=True))
    assert any("1 lines of x.csv have no label" in note for note in data.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("a.png\nb.png", "one column"),
        ("gone1.png,a\ngone2.png,b", "None of the 2 files"),
        ("img/0.png,a\nimg/0.png,b", "two labels, a and b"),
        ("img/0,a\nimg/0.png,b", "two labels, a and b"),
    ],
)
def test_tables_that_cannot_work(tmp_path, text, words):
    """One sentence each."""
    root = tree(tmp_path / "x", "img/0.png")
    (root / "x.csv").write_text(text)

    with pytest.raises(InputError, match=words):
        opened(root / "x.csv")


def test_a_line_that_comes_twice_counts_once(tmp_path):
    """Also under another spelling of the path; one-letter labels are no exception."""
    root = tree(tmp_path / "x", *(f"img/{n}.png" for n in range(6)))
    lines = [f"img/{n}.png,{'ab'[n % 2]},p{n}" for n in range(6)]
    (root / "x.csv").write_text("\n".join([*lines, *lines[:3], "img/1,b,p9", "gone.png,a", "gone.png,a"]))

    rows, _ = read_table(root / "x.csv")
    data = opened(root / "x.csv")

    assert [row.path for row in rows] == [*(f"img/{n}.png" for n in range(6)), "gone.png"]
    assert rows[1].group == "p1"
    assert len(data.images) == len(data.labels) == 6
    assert any("1 of 7 files named in x.csv cannot be used, as the file is missing" in note for note in data.notes)


@pytest.mark.parametrize("header", ["images,label", ",split,label", "images,kind"])
def test_a_header_may_be_the_name_of_a_folder(tmp_path, header):
    """Names of columns are known before names of folders are."""
    root = tree(tmp_path / "x", *(f"images/{n}.png" for n in range(6)))
    cells = "images/{n}.png,{label}" if header.count(",") == 1 else "images/{n}.png,train,{label}"
    lines = [cells.format(n=n, label="ab"[n % 2]) for n in range(6)]
    (root / "x.csv").write_text("\n".join([header, *lines]))

    data = opened(root / "x.csv")

    assert (len(data.images), data.classes) == (6, ["a", "b"])


def test_a_table_and_its_folder_have_stores_of_their_own(tmp_path):
    """Opening one does not throw the other away."""
    root = tree(tmp_path / "x", *(f"{n % 2}/{n}.png" for n in range(8)))
    (root / "x.csv").write_text("\n".join(f"{n % 2}/{n}.png,{n % 2}" for n in range(4)))

    opened(root)
    opened(root / "x.csv")

    assert len(list((tmp_path / "cache").glob("images/*/*/files.json"))) == 2


def test_groups_from_a_pattern(tmp_path):
    """The first group of the expression, or all of what it matches."""
    root = tree(tmp_path / "x", *(f"{c}/p{n // 2}_{n}.png" for c in "ab" for n in range(4)), "a/other.png")

    one, other = opened(root, group=r"(p\d)_"), opened(root, group=r"p\d")

    assert (one.groups == other.groups).all()
    assert len(set(one.groups.tolist())) == 3
    assert any("all but 1 images" in note for note in one.notes)
    with pytest.raises(InputError, match="matches none"):
        opened(root, group="q")


def test_copies_are_one_group_and_wrong_labels_among_them_are_said(tmp_path):
    """The same picture as PNG and as JPEG of quality 60; a copy under another class."""
    root = tree(tmp_path / "x", *(f"{c}/{n}.png" for c in "ab" for n in range(6)))
    (root / "b" / "again.jpg").write_bytes(encoded(Image.open(root / "b" / "1.png"), "JPEG", quality=60))
    (root / "b" / "wrong.png").write_bytes((root / "a" / "0.png").read_bytes())

    data = opened(root)

    group = dict(zip(data.images.names, data.groups, strict=True))
    assert group["b/again.jpg"] == group["b/1.png"]
    assert group["b/wrong.png"] == group["a/0.png"]
    assert len(set(data.groups.tolist())) == 12
    assert any("2 of 14 images nearly repeat another one" in note for note in data.notes)
    assert any("1 groups of nearly identical images carry different labels" in note for note in data.notes)


def test_copies_across_the_users_split_leave_training(tmp_path):
    """A test image that is also in training stays in the test set only; so do groups."""
    root = tree(
        tmp_path / "x", *(f"{part}/{c}/{n}.png" for part in ("train", "val", "test") for c in "ab" for n in range(3))
    )
    (root / "train" / "a" / "copy.png").write_bytes((root / "test" / "a" / "0.png").read_bytes())
    (root / "val" / "a" / "copy.png").write_bytes((root / "test" / "a" / "1.png").read_bytes())
    (root / "train" / "a" / "copy2.png").write_bytes((root / "val" / "a" / "1.png").read_bytes())

    data = opened(root)

    assert not [name for name in data.images.names if "copy" in name]
    assert any("2 train images" in note and "left out" in note for note in data.notes)
    assert any("1 val images" in note for note in data.notes)
    grouped = opened(root, group=r"/(\w)/")  # all of a class is one group: only the test images are left
    assert set(grouped.split) == {"test"}


def labelled(count: int, classes: int, groups: list[int] | None = None, seed: int = 0) -> LabelledImages:
    """Labelled images of nothing, with random hashes."""
    random = np.random.default_rng(seed)
    images = labels.ImageStore(
        pixels=np.zeros((count, 3, 8, 8), np.uint8),
        names=[str(number) for number in range(count)],
        hashes=[random.bytes(16).hex() for _ in range(count)],
        skipped=[],
        notes=[],
        source="x",
        sources=[None] * count,
    )
    return LabelledImages(
        images=images,
        labels=np.arange(count, dtype=np.int64) % classes,
        classes=[str(number) for number in range(classes)],
        split=np.array([""] * count, dtype=object),
        groups=np.arange(count) if groups is None else np.array(groups),
        notes=[],
    )


def test_a_third_of_each_class_is_the_test_set():
    """Stratified, disjoint, complete."""
    data = labelled(300, 3)

    pool, test = labels.test_split(data)

    assert np.bincount(data.labels[test]).tolist() == [33, 33, 33]
    assert sorted([*pool, *test]) == list(range(300))


def test_the_test_set_follows_content_not_order():
    """Shuffled images have the same test images; other images others."""
    data = labelled(90, 3)
    order = np.random.default_rng(1).permutation(90)
    shuffled = data.select(order)

    chosen, again, other = (labels.test_split(x)[1] for x in (data, shuffled, labelled(90, 3, seed=1)))

    assert {data.images.hashes[n] for n in chosen} == {shuffled.images.hashes[n] for n in again}
    assert set(chosen.tolist()) != set(other.tolist())


def test_groups_never_straddle():
    """Whole groups of mixed classes and sizes go to one side, and the share is about kept."""
    random = np.random.default_rng(0)
    data = labelled(600, 4, groups=np.sort(random.integers(0, 80, 600)).tolist())

    pool, test = labels.test_split(data)

    assert not set(data.groups[pool]) & set(data.groups[test])
    assert (np.bincount(data.labels[test], minlength=4) > 35).all()
    assert len(test) <= 204


def test_large_groups_leave_something_on_both_sides():
    """Two patients per class: one is the pool, one the test set."""
    data = labelled(40, 2)
    data = labels.LabelledImages(
        data.images, data.labels, data.classes, data.split, data.labels * 2 + (np.arange(40) >= 16), []
    )

    pool, test = labels.test_split(data)

    assert set(data.labels[pool]) == set(data.labels[test]) == {0, 1}
    assert not set(data.groups[pool]) & set(data.groups[test])


def test_sentences_are_single_lines(tmp_path):
    """Every note ends with a full stop."""
    data = opened(tree(tmp_path / "x", *(f"a/{n}.png" for n in range(4)), "b/1.png", "9.png"))

    assert all(re.fullmatch(r"[^\n]+\.", note) for note in data.notes)
