"""What a person sees while work goes on, and that nothing shown can harm a terminal."""

import io
import subprocess
import sys

import pytest

from selfsup import progress
from selfsup.progress import Shown, clock, silent
from selfsup.terminal import say, table, visible


def test_plain_lines_at_first_now_and_then_and_at_the_end(monkeypatch):
    """A log file gets a handful of lines, not one per image."""
    now = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)) / 4)
    stream = io.StringIO()

    with Shown(stream) as shown:
        for done in range(1, 101):
            shown("decoding", done, 100)

    lines = stream.getvalue().splitlines()
    assert lines[0] == "decoding: 1 of 100"
    assert lines[-1] == "decoding: 100 of 100"
    assert 3 <= len(lines) <= 8
    assert all("left" in line for line in lines[1:-1])


def test_training_line_says_what_matters():
    stream = io.StringIO()
    row = {"loss": 1.25, "chance": 1.3863, "metrics": {"accuracy": 0.5}, "images_per_second": 912.4, "waiting": 0.01}

    Shown(stream).step("rotation", 40, 200, row)

    line = "rotation: 40 of 200  loss 1.25  (chance 1.386)  accuracy 0.5  912 images/s  waiting 1%\n"
    assert stream.getvalue() == line


def test_live_bars_show_names_as_they_are():
    """No markup is read in names: a folder called [red] is a folder called [red]."""
    stream = io.StringIO()

    with Shown(stream, live=True) as shown:
        shown("[red]x\x1b[2J", 1, 2)
        shown.note("[bold]:smile: \x07")
        shown("[red]x\x1b[2J", 2, 2)

    text = stream.getvalue()
    assert "[red]x\\x1b[2J" in text
    assert "[bold]:smile: \\x07" in text
    assert "\x1b[2J" not in text
    assert "\x07" not in text


def test_silence_is_silent(capsys):
    silent("decoding", 1, 2)
    silent.step("rotation", 1, 2, {"loss": 1.0})
    silent.note("hello")

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Äpfel 猫.jpg", "Äpfel 猫.jpg"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),  # would turn the reading direction
        ("caf\udce9", "caf\\udce9"),  # a file name that is not valid Unicode
    ],
)
def test_control_characters_are_shown_not_obeyed(text, shown):
    assert visible(text) == shown


def test_a_poor_encoding_is_no_reason_to_die():
    """A terminal without Unicode shows question marks."""
    code = "from selfsup.terminal import say; say('猫 caf\\udce9')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONIOENCODING": "ascii", **path()}, capture_output=True
    )

    assert done.stdout == b"? caf\\udce9\n"
    assert done.returncode == 0


def path() -> dict[str, str]:
    """Where a new process finds our packages."""
    return {"PYTHONPATH": ":".join(filter(None, sys.path))}


def test_table_stands_in_columns():
    assert table(("stage", "10", "all"), [("conv1", "50.1", 61), ("last", "4", 5.5)]) == [
        "stage    10  all",
        "conv1  50.1   61",
        "last      4  5.5",
    ]


def test_say_writes_one_line(capsys):
    say("two\nlines")

    assert capsys.readouterr().out == "two\\nlines\n"


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (200.0, "3:20 min"), (7500.0, "2:05 h")])
def test_clock(seconds, text):
    assert clock(seconds) == text
