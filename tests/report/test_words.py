"""Numbers and names as a person reads them."""

import pytest

from selfsup.report import words
from selfsup.report.values import Estimate, estimate, number, rows, sentences


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.percent(0.6123), "61.2 %"),
        (words.interval(Estimate(0.6, 0.587, 0.6149)), "58.7 to 61.5"),
        (words.interval(Estimate(0.6)), ""),
        (words.points(0.0912), "+9.1"),
        (words.points(-0.0912), "−9.1"),
        (words.points(-0.0001), "0.0"),
        (words.duration(4.21), "4.2 s"),
        (words.duration(754), "12 min 34 s"),
        (words.duration(59.7), "1 min"),
        (words.duration(7200), "2 h"),
        (words.compute(65600), "65.6 TFLOP"),
        (words.memory(2048), "2.0 GB"),
        (words.short(2400), "2.4k"),
        (words.plural(1, "image"), "1 image"),
        (words.plural(1000, "image"), "1,000 images"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.sentence("dae failed"), "dae failed."),
        (words.stage("stage3"), "stage 3"),
        (words.visible("a\tb"), r"a\tb"),
    ],
)
def test_numbers_are_said(said: str, expected: str):
    assert said.replace("\N{NO-BREAK SPACE}", " ") == expected


@pytest.mark.parametrize("value", [None, "0.5", True, float("nan"), float("inf"), [1]])
def test_what_is_no_number_is_nothing(value: object):
    assert number(value) is None
    assert estimate({"mean": value}) is None


def test_half_an_estimate_is_an_estimate_without_interval():
    assert estimate({"mean": 0.5, "low": None}) == Estimate(0.5, None, None)


def test_lists_of_anything_are_read_for_what_they_hold():
    assert rows([1, {"a": 1}, None]) == [{"a": 1}]
    assert rows({"a": 1}) == []
    assert sentences(["a", {"text": "b"}, 3, ["c"]]) == ["a", "b", "c"]
