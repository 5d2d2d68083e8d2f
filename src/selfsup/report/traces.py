"""Small charts of how a number moved over the steps of a run, as inline SVG."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from selfsup.report.arms import Arm
from selfsup.report.svg import element, line, marker, nice_ticks, picture, text
from selfsup.report.words import short


class Trace(NamedTuple):
    """A line over the steps of a run; a `faint` one lies behind (the raw loss behind the held-out loss)."""

    arm: Arm
    points: list[tuple[float, float]]
    faint: bool = False
    label: str = ""


def trace(
    title: str, traces: Sequence[Trace], reference: tuple[float, str] | None = None, floor: float | None = None
) -> Markup:
    """Draw how a number moved over the steps, with the line it should leave or stay above."""
    width, height, left, right, top, bottom = 320, 190, 40, 10, 12, 26
    traces = [each._replace(points=thinned(each.points)) for each in traces if each.points]
    if not traces:
        return Markup("")
    end = max(step for each in traces for step, _ in each.points) or 1.0
    values = sorted(value for each in traces for _, value in each.points)
    # one first spike must not flatten the rest: the highest hundredth may leave the picture
    low, high = values[0], values[min(len(values) - 1, int(0.99 * len(values)))]
    if reference is not None:
        low, high = min(low, reference[0]), max(high, reference[0])
    low = low if floor is None else min(floor, low)
    air = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = (low if floor == low else low - air), high + air

    def across(step: float) -> float:
        return left + step / end * (width - left - right)

    def down(value: float) -> float:
        return top + (high - min(max(value, low), high)) / (high - low) * (height - top - bottom)

    drawn = []
    for tick in nice_ticks(low, high, 4):
        drawn.append(line(left, down(tick), width - right, down(tick), class_="grid"))
        drawn.append(text(left - 6, down(tick) + 4, short(round(tick, 10)), class_="tick", text_anchor="end"))
    for tick in nice_ticks(0, end, 4):
        anchor = "start" if tick == 0 else "end" if across(tick) > width - 30 else "middle"
        drawn.append(text(across(tick), height - 8, short(tick), class_="tick muted", text_anchor=anchor))
    if reference is not None:
        drawn.append(line(left, down(reference[0]), width - right, down(reference[0]), class_="reference"))
        above = down(reference[0]) > top + 16
        drawn.append(
            text(
                width - right,
                down(reference[0]) + (-5 if above else 13),
                reference[1],
                class_="small muted",
                text_anchor="end",
            )
        )
    for each in sorted(traces, key=lambda one: not one.faint):
        places = [(across(step), down(value)) for step, value in each.points]
        inside = element("title", each.label) if each.label else Markup("")
        if len(places) == 1:
            drawn.append(marker(each.arm, *places[0], size=3.5, title=each.label))
            continue
        drawn.append(
            element(
                "polyline",
                inside,
                points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places),
                fill="none",
                stroke=each.arm.colour,
                stroke_width=1.2 if each.faint else 1.9,
                opacity=0.4 if each.faint else 1.0,
            )
        )
    first, last = traces[0].points[0][1], traces[0].points[-1][1]
    return picture(
        width, height, title, *drawn, description=f"From {short(first)} to {short(last)} after {short(end)} steps."
    )


def thinned(points: list[tuple[float, float]], most: int = 160) -> list[tuple[float, float]]:
    """Average neighbouring points until at most `most` are left; the ends of the axis stay where they are."""
    points = [(step, value) for step, value in points if math.isfinite(step) and math.isfinite(value)]
    if len(points) <= most:
        return points
    edges = [round(place * len(points) / most) for place in range(most + 1)]
    buckets = [points[start:stop] for start, stop in pairwise(edges)]
    kept = [(sum(s for s, _ in one) / len(one), sum(v for _, v in one) / len(one)) for one in buckets]
    kept[0] = (points[0][0], kept[0][1])
    kept[-1] = (points[-1][0], kept[-1][1])
    return kept
