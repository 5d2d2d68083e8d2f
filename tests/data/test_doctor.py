"""The doctor says what is worth knowing before training."""

import numpy as np
from pictures import folder_of, picture

from selfsup.data import labels
from selfsup.data.doctor import diagnose, diagnose_labels
from selfsup.data.images import open_images


def topics(findings, level: str) -> set[str]:
    return {finding.topic for finding in findings if finding.level == level}


def test_a_folder_with_everything_wrong(tmp_path):
    """Unreadable files, copies, blank and gray images, thin and small ones."""
    source = folder_of(tmp_path / "images", 20)
    for number in range(5):
        (source / f"broken{number}.jpg").write_bytes(b"")
        (source / f"copy{number}.png").write_bytes((source / f"00{number}.png").read_bytes())
        picture(200 + number, 300, 60).save(source / f"thin{number}.png")
        picture(300 + number, 20, 20).save(source / f"small{number}.png")
        picture(400 + number).convert("L").save(source / f"gray{number}.png")
        picture(number).point(lambda _: 90).save(source / f"blank{number}.png")

    findings = diagnose(open_images(source, 32, cache=tmp_path / "cache"))

    assert {"unreadable", "duplicates", "sizes", "constant"} <= topics(findings, "warning")
    assert {"gray", "sizes"} <= topics(findings, "note")
    by_topic = {finding.topic: finding for finding in findings if finding.level == "warning"}
    assert by_topic["unreadable"].examples[0] == "broken0.jpg"
    assert "5 of 50 files" in by_topic["unreadable"].text
    assert "blank1.png = blank0.png" in by_topic["duplicates"].examples
    assert [finding.level for finding in findings] == sorted(
        (f.level for f in findings), key=("warning", "note", "ok").index
    )


def test_a_healthy_folder_has_few_words(tmp_path):
    """Nothing but its small number is worth a warning."""
    findings = diagnose(open_images(folder_of(tmp_path / "images", 40), 32, cache=tmp_path / "cache"))

    assert topics(findings, "warning") == {"number"}
    assert {"unreadable", "duplicates"} <= topics(findings, "ok")


def test_an_all_gray_folder_is_told(tmp_path):
    """Tasks of colour have nothing to work with."""
    source = tmp_path / "images"
    source.mkdir()
    for number in range(16):
        picture(number).convert("L").save(source / f"{number}.jpg")

    assert "gray" in topics(diagnose(open_images(source, 32, cache=tmp_path / "cache")), "note")


def test_classes_and_splits_are_looked_at(tmp_path):
    """Few images of a class, uneven classes, a class without a test image."""
    root = tmp_path / "x"
    for name, count, start in (("a", 30, 0), ("b", 2, 50), ("c", 1, 60)):
        folder_of(root / name, count, start)

    data = labels.open_labelled(root, 32, cache=tmp_path / "cache")
    findings = diagnose_labels(data, *labels.test_split(data))

    assert topics(findings, "warning") == {"classes", "split"}
    assert topics(findings, "note") == {"classes"}
    assert next(finding for finding in findings if finding.topic == "split").examples == ("c",)
    assert np.bincount(data.labels).tolist() == [30, 2, 1]


def test_one_colour_is_nothing_to_see_whatever_the_colour():
    """A plain violet image has channels that differ, and shows as little as a gray one."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)
    pixels[:10] = np.array([90, 20, 200], np.uint8)[:, None, None]
    (found,) = [finding for finding in diagnose(open_images(pixels, 32)) if finding.topic == "constant"]
    assert "25.0%" in found.text
