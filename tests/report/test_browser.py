"""The page in a real browser, where one is installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from report import fixtures
from report.browser import Browser, find_browser

from selfsup.report import write_report

PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="No Chromium or Chrome is installed, so no page was rendered.")

# what sticks out to the right, except inside a box that scrolls
OVERFLOWING = """[...document.querySelectorAll("main *")].filter(e => !e.closest(".scroll, .grid, .unseen, svg")
    && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"""
SHOWN = """[...document.querySelectorAll("%s")].filter(e => e.getBoundingClientRect().width > 0).length"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("browser")
    return {
        "advice": write_report(fixtures.write_advice(root / "advice", seeds=(0,))),
        "unlabelled": write_report(fixtures.write_unlabelled(root / "unlabelled")),
        "run": write_report(fixtures.write_evaluation(fixtures.write_run(root / "run"))),
    }


@pytest.mark.parametrize("name", ["advice", "unlabelled", "run"])
@pytest.mark.parametrize("width", [360, 390, 1200])
def test_page_fits_any_screen_and_asks_for_nothing(browser: Browser, pages: dict[str, Path], name: str, width: int):
    """No sideways scroll, no request but the file itself, nothing in the console; with scripts off too."""
    browser.open(pages[name], width=width, scripts=False)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OVERFLOWING) == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [pages[name].resolve().as_uri()]
    assert browser.complaints() == []


def test_one_drawing_of_the_curves_is_shown(browser: Browser, pages: dict[str, Path]):
    """The wide one on a wide screen, the narrow one on a phone, with letters of readable size on both."""
    for width, shown, hidden in ((1200, "svg.wide", "svg.narrow"), (360, "svg.narrow", "svg.wide")):
        browser.open(pages["advice"], width=width)
        assert browser.evaluate(SHOWN % shown) == 1
        assert browser.evaluate(SHOWN % hidden) == 0
        scale = browser.evaluate(
            f'(e => e.getBoundingClientRect().width / e.viewBox.baseVal.width)(document.querySelector("{shown}"))'
        )
        assert scale > 0.85


def test_colours_follow_the_system(browser: Browser, pages: dict[str, Path]):
    """Dark paper and light ink at night, also inside the drawings."""
    seen = {}
    for dark in (False, True):
        browser.open(pages["advice"], width=1200, dark=dark)
        paper = 'getComputedStyle(document.querySelector("section")).backgroundColor'
        ink = 'getComputedStyle(document.querySelector("h1")).color'
        curve = 'getComputedStyle(document.querySelector("svg.wide .curve")).stroke'
        seen[dark] = [browser.evaluate(expression) for expression in (paper, ink, curve)]
    assert seen[False][:2] == ["rgb(255, 255, 255)", "rgb(25, 27, 31)"]
    assert seen[True][:2] == ["rgb(23, 25, 29)", "rgb(236, 237, 237)"]
    assert seen[True][2] != seen[False][2]
    assert seen[True][2].startswith("rgb(")


def test_pictures_are_decoded(browser: Browser, pages: dict[str, Path]):
    """Every picture of the page has pixels."""
    browser.open(pages["advice"], width=1200)
    widths = browser.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 6
    assert min(widths) > 100
