"""A listing names every file that may be an image, once."""

import os

import pytest

from selfsup.data.listing import check_folder, list_folder, printable
from selfsup.errors import InputError


def names(root) -> list[str]:
    return [entry.path for entry in list_folder(root).entries]


def test_nested_files_in_a_fixed_order(tmp_path):
    """Folders at any depth; names with spaces, accents and no extension; text beside them is counted."""
    for path in ("b/2.jpg", "b/c/d/1.png", "a file.jpg", "žluť.webp", "noextension", "labels.csv", "b/notes.TXT"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    assert names(tmp_path) == ["a file.jpg", "b/2.jpg", "b/c/d/1.png", "noextension", "žluť.webp"]
    assert list_folder(tmp_path).ignored == {"csv": 1, "txt": 1}


def test_hidden_and_system_files_are_not_looked_at(tmp_path):
    """.DS_Store, ._resource forks, __MACOSX and Thumbs.db."""
    for path in (".hidden/1.jpg", ".a.jpg", "__MACOSX/1.jpg", "Thumbs.db", "._1.jpg", "1.jpg"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()

    assert names(tmp_path) == ["1.jpg"]


def test_links_are_followed_once(tmp_path):
    """Loops end, a folder keeps its own name, a link to a listed file does not count twice, a broken one is said."""
    root = tmp_path / "root"
    (root / "z").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for path in ("root/z/1.jpg", "elsewhere/2.jpg", "outside.jpg"):
        (tmp_path / path).touch()
    for link, target in {
        "a": root / "z",
        "z/loop": root,
        "up": tmp_path,
        "self": root / "self",
        "linked": tmp_path / "elsewhere",
        "again": tmp_path / "elsewhere",
        "1.jpg": root / "z" / "1.jpg",
        "3.jpg": tmp_path / "outside.jpg",
        "4.jpg": tmp_path / "gone.jpg",
    }.items():
        (root / link).symlink_to(target)

    listing = list_folder(root)

    assert [entry.path for entry in listing.entries] == ["3.jpg", "again/2.jpg", "z/1.jpg"]
    assert {item.name for item in listing.skipped} == {"4.jpg", "self"}


def test_long_chains_of_links(tmp_path):
    """One that the system follows leads to its file, once; one that is too long for it, or ends nowhere, is said."""
    (tmp_path / "root").mkdir()
    (tmp_path / "image.jpg").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "2.jpg").touch()
    for kind, target, length in (
        ("short", tmp_path / "image.jpg", 10),
        ("long", tmp_path / "image.jpg", 60),
        ("to", tmp_path / "folder", 10),
        ("folder", tmp_path / "folder", 60),
        ("dead", tmp_path / "gone", 10),
    ):
        for step in range(length):
            link = (tmp_path / "root" if step == length - 1 else tmp_path) / f"{kind}{step}.jpg"
            link.symlink_to(target)
            target = link

    listing = list_folder(tmp_path / "root")

    assert [entry.path for entry in listing.entries] == ["short9.jpg", "to9.jpg/2.jpg"]
    assert [item.name for item in listing.skipped] == ["dead9.jpg", "folder59.jpg", "long59.jpg"]
    assert {item.name: item.reason for item in listing.skipped}["dead9.jpg"].startswith(
        "a link to a file that does not"
    )


def test_names_that_are_no_unicode(tmp_path):
    """Such a file is listed and can be shown."""
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb"):
        pass

    assert printable(names(tmp_path)[0]) == "caf\\xe9.jpg"


def test_pipes_are_no_files(tmp_path):
    """Opening one would wait for ever."""
    os.mkfifo(tmp_path / "1.jpg")

    assert names(tmp_path) == []


def test_a_missing_folder_is_said_with_the_nearest_name(tmp_path):
    """A slip of the pen is recognized, a file is not a folder."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "x.jpg").touch()

    with pytest.raises(InputError, match=r"did you mean .*photos"):
        check_folder(tmp_path / "fotos")
    with pytest.raises(InputError, match="is a file"):
        check_folder(tmp_path / "x.jpg")
