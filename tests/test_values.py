"""Text to values and back."""

from pathlib import Path
from typing import Literal

import pytest

from selfsup import values


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, "3", 3),
        (int | None, "none", None),
        (float, "1e-3", 1e-3),
        (float | None, "3", 3.0),
        (int | float, "3", 3),
        (int | float, "3.5", 3.5),
        (bool, "no", False),
        (str | None, "none", None),
        (Path, "a b", Path("a b")),
        (Literal["sgd", "adam"], "adam", "adam"),
        (Literal["sgd"] | None, "none", None),
        (tuple[int | None, ...], "5,20,all", (5, 20, None)),
        (tuple[float, float], "0.1, 2", (0.1, 2.0)),
        (tuple[str, ...], "", ()),
    ],
)
def test_text_is_read_by_its_type(kind, text, value):
    read = values.read(kind, text)

    assert read == value
    assert type(read) is type(value)
    assert values.read(kind, values.write(value)) == value


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        (int, "3.5", "'3.5' is not a whole number"),
        (int | None, "3.0", "a whole number or none"),
        (tuple[int, ...], "5,2.5", "'2.5' is not a whole number"),
        (float, "fast", "a number"),
        (bool, "maybe", "yes or no"),
        (tuple[float, float], "1", "has 1 values, not 2"),
        (Literal["cosine", "constant"], "cosin", "did you mean cosine?"),
        (Literal["cosine", "constant"], "xyz", "choose one of cosine, constant"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(kind, text, says):
    """Above all, no number is rounded: 3.5 is no whole number."""
    with pytest.raises(ValueError, match=says):
        values.read(kind, text)


def test_nearest_name_or_all_names():
    assert values.nearest("rotaton", ["rotation", "dae"]) == "did you mean rotation?"
    assert values.nearest("zzz", ["rotation", "dae"]) == "choose one of rotation, dae."


def test_none_among_several_values_is_written_as_all():
    """A label budget of None means all labels."""
    assert values.write((5, 20, None)) == "5,20,all"
