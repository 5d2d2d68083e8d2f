"""The charts of a report, as inline SVG that follows the colours of the page."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from selfsup.report.arms import Arm
from selfsup.report.svg import element, line, marker, nice_ticks, picture, polyline, spread, text
from selfsup.report.values import Estimate
from selfsup.report.words import count, interval, percent, short


class CurvePoint(NamedTuple):
    """One arm at one label budget; `per_class` is None for all labels."""

    arm: Arm
    per_class: int | None
    labels: float
    value: Estimate


def curves(
    points: Sequence[CurvePoint], *, width: int, chance: float | None = None, measure: str = "accuracy"
) -> Markup:
    """Draw accuracy over the number of labels, on a log axis, with intervals and the arms' names at their ends."""
    narrow = width < 500
    left, right, top, bottom = (42, 100, 12, 40) if narrow else (62, 160, 12, 44)
    height = 340 if narrow else 400
    arms = list(dict.fromkeys(point.arm for point in points))
    amounts = sorted({point.labels for point in points})
    step = min(6.0, (26.0 if narrow else 44.0) / max(len(arms), 1))
    margin = step * (len(arms) - 1) / 2 + 6
    low, high = _vertical_range([point.value for point in points], chance)

    def across(labels: float, arm: Arm) -> float:
        span = math.log(amounts[-1] / amounts[0])
        share = math.log(labels / amounts[0]) / span if span > 0 else 0.5
        nudge = step * (arms.index(arm) - (len(arms) - 1) / 2)
        return left + margin + share * (width - left - right - 2 * margin) + nudge

    def down(share: float) -> float:
        return top + (high - share) / (high - low) * (height - top - bottom)

    drawn = [_grid(low, high, left, width - right, down)]
    if chance is not None and low <= chance <= high:
        drawn.append(line(left, down(chance), width - right, down(chance), class_="reference"))
    drawn.append(
        _label_axis(points, amounts, [across(amount, arms[len(arms) // 2]) for amount in amounts], height, bottom)
    )
    ends: list[tuple[Arm, float, float]] = []
    for arm in sorted(arms, key=lambda arm: arm.is_method):
        own = sorted((point for point in points if point.arm == arm), key=lambda point: point.labels)
        places = [(across(point.labels, arm), down(point.value.mean)) for point in own]
        drawn.append(
            polyline(places, stroke=arm.colour, stroke_width=2.0, stroke_dasharray=arm.dash or None, class_="curve")
        )
        for point, (x, y) in zip(own, places, strict=True):
            if point.value.low is not None and point.value.high is not None:
                drawn.append(_whisker(x, down(point.value.low), down(point.value.high), arm.colour))
            drawn.append(marker(arm, x, y, title=_tip(point)))
        ends.append((arm, *places[-1]))
    if chance is not None and low <= chance <= high:
        between = [across(amount, arms[len(arms) // 2]) for amount in amounts[:2]]  # where no points lie
        x = sum(between) / len(between)
        drawn.append(text(x, down(chance) - 5, "blind guess", class_="small muted halo", text_anchor="middle"))
    drawn.append(_end_labels(ends, width - right, top, height - bottom, narrow))
    best = max(points, key=lambda point: (not point.arm.is_reference, point.labels, point.value.mean))
    return picture(
        width,
        height,
        f"Label efficiency: {measure} over number of labels",
        *drawn,
        description=f"{len(arms)} arms. At the largest budget {best.arm.label} is highest with "
        f"{percent(best.value.mean)}.",
        kind="narrow" if narrow else "wide",
    )


def _vertical_range(values: Sequence[Estimate], chance: float | None) -> tuple[float, float]:
    """Cover every interval with a little air, never beyond what a share can be."""
    ends = [end for value in values for end in value if end is not None]
    low, high = min(ends), max(ends)
    if chance is not None and chance < low and low - chance < 0.5 * max(high - low, 0.05):
        low = chance
    air = max(0.06 * (high - low), 0.01)
    return max(low - air, -0.001 if low >= 0 else low - air), min(high + air, max(1.001, high))


def _grid(low: float, high: float, left: float, right: float, down: Callable[[float], float]) -> Markup:
    lines = []
    for tick in nice_ticks(low, high, 6):
        lines.append(line(left, down(tick), right, down(tick), class_="grid"))
        lines.append(text(left - 7, down(tick) + 4, percent(tick, 0), class_="tick", text_anchor="end"))
    return element("g", *lines)


def _label_axis(
    points: Sequence[CurvePoint], amounts: list[float], places: list[float], height: float, bottom: float
) -> Markup:
    """Name each label budget below the axis: labels per class, and how many labels that is in all."""
    row, total = height - bottom + 18, height - bottom + 32
    drawn = [text(0, row, "per class", class_="small"), text(0, total, "in all", class_="small muted")]
    last = -math.inf
    for amount, x in zip(amounts, places, strict=True):
        drawn.append(line(x, height - bottom, x, height - bottom + 5, class_="axis"))
        per_class = next(point.per_class for point in points if point.labels == amount)
        if x - last < 27:
            continue
        last = x
        drawn.append(
            text(x, row, "all" if per_class is None else str(per_class), class_="tick strong", text_anchor="middle")
        )
        drawn.append(text(x, total, short(amount), class_="small muted", text_anchor="middle"))
    return element("g", *drawn)


def _whisker(x: float, low: float, high: float, colour: str) -> Markup:
    return element(
        "g",
        line(x, low, x, high),
        line(x - 2.5, low, x + 2.5, low),
        line(x - 2.5, high, x + 2.5, high),
        stroke=colour,
        stroke_width=1.3,
        opacity=0.75,
    )


def _tip(point: CurvePoint) -> str:
    budget = "all labels" if point.per_class is None else f"{point.per_class} per class"
    ends = interval(point.value)
    return f"{point.arm.label}, {budget} ({count(point.labels)} labels): {percent(point.value.mean)}" + (
        f" ({ends})" if ends else ""
    )


def _end_labels(ends: list[tuple[Arm, float, float]], edge: float, top: float, floor: float, narrow: bool) -> Markup:
    """Name each curve at its right end, moved apart where names would touch."""
    gap = 14 if narrow else 17
    heights = spread([y for _, _, y in ends], gap, top + 4, floor - 2)
    drawn = []
    for (arm, x, y), place in zip(ends, heights, strict=True):
        drawn.append(
            polyline(
                [(x + 6, y), (edge + 4, place), (edge + 8, place)], stroke=arm.colour, stroke_width=0.8, opacity=0.6
            )
        )
        drawn.append(
            text(
                edge + 11, place + 4, _fit(arm.label, 13 if narrow else 18), class_="name", style=f"fill: {arm.colour}"
            )
        )
    return element("g", *drawn)


def _fit(label: str, length: int) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"


def range_bar(
    arm: Arm, value: Estimate, low: float, high: float, reference: float | None = None, width: int = 200
) -> Markup:
    """Draw one interval on a scale from `low` to `high`, for a cell of a table."""

    def across(share: float) -> float:
        return 8 + (share - low) / (high - low or 1) * (width - 16)

    drawn = [line(across(low), 12, across(high), 12, class_="grid")]
    if reference is not None:
        drawn.append(line(across(reference), 0, across(reference), 24, class_="reference"))
    if value.low is not None and value.high is not None:
        drawn.append(
            line(
                across(value.low),
                12,
                across(value.high),
                12,
                stroke=arm.colour,
                stroke_width=2.5,
                stroke_linecap="round",
            )
        )
    drawn.append(marker(arm, across(value.mean), 12, size=5))
    ends = interval(value)
    return picture(width, 24, f"{arm.label}: {percent(value.mean)}" + (f", {ends}" if ends else ""), *drawn, kind="bar")


def range_axis(low: float, high: float, width: int = 200) -> Markup:
    """Draw the scale of the bars below it."""
    drawn = []
    for tick in nice_ticks(low, high, 4):
        x = 8 + (tick - low) / (high - low or 1) * (width - 16)
        drawn.append(text(x, 11, f"{100 * tick:.3g}", class_="tick", text_anchor="middle"))
        drawn.append(line(x, 14, x, 18, class_="axis"))
    return picture(width, 18, "scale in percent", *drawn, kind="bar")


def swatch(arm: Arm) -> Markup:
    """Draw the key of an arm, a piece of its line with its marker; its name stands beside it, so this is decoration."""
    return element(
        "svg",
        line(1, 8, 29, 8, stroke=arm.colour, stroke_width=2.0, stroke_dasharray=arm.dash or None),
        marker(arm, 15, 8),
        viewBox="0 0 30 16",
        width=30,
        height=16,
        class_="swatch",
        aria_hidden="true",
    )
