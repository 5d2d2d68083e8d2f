"""The drawings: where things stand, and that arms can be told apart."""

import itertools
import re
from html import unescape
from pathlib import Path

import pytest

from selfsup.report import charts, svg, traces
from selfsup.report.arms import Arm, Arms
from selfsup.report.charts import CurvePoint
from selfsup.report.traces import Trace
from selfsup.report.values import Estimate

STYLE = Path(charts.__file__).with_name("style.css.j2").read_text()


def arms_of(methods: int, controls: int) -> list[Arm]:
    arms = Arms()
    named = [arms.get(f"method{n}", "method") for n in range(methods)]
    return [
        *named,
        *(arms.get(f"control{n}", "control") for n in range(controls)),
        arms.get("method0 fine-tuned", "finetuned"),
    ]


def numbers(drawing: str, attribute: str, inside: str = "") -> list[float]:
    return [float(value) for value in re.findall(rf'<[^>]*{inside}[^>]*\b{attribute}="(-?[\d.]+)"', drawing)]


def test_labels_lie_on_a_log_axis():
    """10, 100 and 1,000 labels are equally far from each other."""
    arm = Arms()["rotation"]
    drawn = charts.curves([CurvePoint(arm, n, 10.0 * n, Estimate(0.5)) for n in (1, 10, 100)], width=860)
    one, two, three = numbers(drawn, "cx")
    assert two - one == pytest.approx(three - two, abs=0.02)
    assert two - one > 100


def test_whiskers_span_the_interval():
    """On a linear axis the mean 0.5 of an interval 0.4 to 0.6 lies in the middle of the whisker."""
    arm = Arms()["rotation"]
    drawn = charts.curves([CurvePoint(arm, None, 100, Estimate(0.5, 0.4, 0.6))], width=860)
    whisker = drawn[drawn.index(f'<g stroke="{arm.colour}"') :]
    (low, *_), (high, *_) = numbers(whisker, "y1"), numbers(whisker, "y2")
    (middle,) = numbers(drawn, "cy")
    assert low > middle > high  # down is more
    assert low - middle == pytest.approx(middle - high, abs=0.02)


@pytest.mark.parametrize("width", [860, 350])
def test_every_arm_is_named_at_its_curve(width: int):
    """Ten arms that end at one height are all named, and no name covers another."""
    arms = arms_of(6, 3)
    points = [CurvePoint(arm, n, 10.0 * n, Estimate(0.5)) for arm in arms for n in (1, 10)]
    drawn = charts.curves(points, width=width)
    names = [unescape(name) for name in re.findall(r'class="name"[^>]*>([^<]*)<', drawn)]
    assert sorted(name[:7] for name in names) == sorted(arm.label[:7] for arm in arms)
    heights = sorted(
        numbers(drawn, "y", 'class="name"')
        or [float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" class="name"', drawn)]
    )
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 13.9
    assert heights[-1] <= 400


def test_arms_differ_without_colour():
    """Marker and line tell any two of eight methods, five controls, three references and a fine-tuned network apart."""
    registered = Arms()
    references = [registered.get(f"{n}.safetensors", "reference") for n in range(3)]
    arms = [*arms_of(8, 5), *references]
    looks = [(arm.shape, arm.hollow, arm.dash, arm.kind == "finetuned") for arm in arms]
    assert len(set(looks)) == len(arms)
    drawn = [svg.marker(arm, 0, 0).replace(arm.colour, "black") for arm in arms]
    assert len(set(drawn)) == len(arms)


@pytest.mark.parametrize(("theme", "start"), [("light", 0), ("dark", STYLE.index("prefers-color-scheme: dark"))])
def test_colours_can_be_read_on_the_page(theme: str, start: int):
    """Every colour that text may have stands 4.5 to 1 against the paper (WCAG AA), by day and by night."""
    colours = dict(
        re.findall(
            r"--([\w-]+): (#[0-9a-f]{6})\b",
            STYLE[start : STYLE.index("* { box-sizing")][: 1500 if start else STYLE.index("@media")],
        )
    )
    text = [name for name in colours if re.match(r"arm-\d|control|ink|soft|muted|good$|mixed$|bad$|quiet$", name)]
    assert len(text) == 16
    faint = {name: round(contrast(colours[name], colours["paper"]), 2) for name in text}
    assert all(ratio >= 4.5 for ratio in faint.values()), faint


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_and_attributes_are_escaped():
    """Markup in a text or in an attribute stays text."""
    drawn = svg.element("text", "<b>&", class_='"><script>')
    assert drawn == '<text class="&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;</text>'


@pytest.mark.parametrize(
    ("wanted", "placed"),
    [
        ([10, 50], [10, 50]),
        ([50, 50], [45, 55]),
        ([50, 10, 52], [46, 10, 56]),
        ([2, 3], [0, 10]),
        ([99, 100, 98], [90, 100, 80]),
        ([], []),
    ],
)
def test_labels_move_no_further_than_they_must(wanted: list[float], placed: list[float]):
    """With 10 between them and inside 0 to 100."""
    assert svg.spread(wanted, 10, 0, 100) == pytest.approx(placed)


def test_labels_that_cannot_fit_keep_their_order():
    placed = svg.spread([5.0, 4.0, 3.0, 2.0], 10, 0, 20)
    assert placed == sorted(placed, reverse=True)


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0.18, 0.63, [0.2, 0.3, 0.4, 0.5, 0.6]), (0, 2400, [0, 500, 1000, 1500, 2000])]
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]):
    assert svg.nice_ticks(low, high) == pytest.approx(ticks)


def test_thinning_keeps_the_ends_and_the_mean():
    """1,000 points become at most 160; first and last step stay, and so does the mean of a line."""
    points = [(float(step), 2.0 * step) for step in range(1001)]
    thin = traces.thinned(points)
    assert len(thin) == 160
    assert (thin[0][0], thin[-1][0]) == (0, 1000)
    assert sum(value for _, value in thin) / len(thin) == pytest.approx(1000, rel=0.01)
    assert traces.thinned([(0, 1), (1, float("nan")), (2, 3)]) == [(0, 1), (2, 3)]


def test_one_spike_does_not_flatten_a_loss():
    """A first loss of 1,000 leaves the picture; a loss that falls from 2 to 1 still fills most of its height."""
    points = [(0.0, 1000.0), *((float(step), 2 - step / 200) for step in range(1, 201))]
    drawn = traces.trace("loss", [Trace(Arms()["rotation"], points)], reference=(1.5, "blind guess"))
    corners = re.search(r'<polyline points="([^"]*)"', drawn)
    assert corners is not None
    heights = [float(pair.split(",")[1]) for pair in corners[1].split()][1:]
    assert max(heights) - min(heights) > 100
    assert "blind guess" in drawn


def test_nothing_to_draw_is_no_drawing():
    assert traces.trace("rank", [Trace(Arms()["rotation"], [])]) == ""
