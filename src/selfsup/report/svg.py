"""Write SVG elements. Every attribute and every text is escaped here, in one place."""

import math

from markupsafe import Markup, escape

from selfsup.report.arms import Arm


def element(tag: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Build an element; underscores in attribute names are dashes, None leaves an attribute out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(_attribute(name), _value(value))
        for name, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{}{}>{}</{}>").format(Markup(tag), written, inside, Markup(tag))


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def picture(
    width: float, height: float, title: str, *children: Markup, description: str = "", kind: str = ""
) -> Markup:
    """Build a whole SVG picture with a title that a screen reader speaks."""
    head = [element("title", title)] + ([element("desc", description)] if description else [])
    box = f"0 0 {_value(float(width))} {_value(float(height))}"
    return element("svg", *head, *children, viewBox=box, role="img", class_=f"chart {kind}".strip(), width=float(width))


def line(x1: float, y1: float, x2: float, y2: float, **attributes: str | float | None) -> Markup:
    """Build a straight line."""
    return element("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)


def text(x: float, y: float, content: str, **attributes: str | float | None) -> Markup:
    """Build a text."""
    return element("text", content, x=float(x), y=float(y), **attributes)


def polyline(points: list[tuple[float, float]], **attributes: str | float | None) -> Markup:
    """Build a line through points."""
    return element("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", **attributes)


def marker(arm: Arm, x: float, y: float, size: float = 4.5, title: str = "") -> Markup:
    """Draw the marker of an arm, with a title that shows when a pointer rests on it."""
    inside = [element("title", title)] if title else []
    look: dict[str, str | float | None] = {
        "fill": "var(--paper)" if arm.hollow else arm.colour,
        "stroke": arm.colour if arm.hollow else "var(--paper)",
        "stroke_width": 1.8 if arm.hollow else 1.2,
    }
    if arm.shape == "circle":
        drawn = element("circle", *inside, cx=float(x), cy=float(y), r=float(size), **look)
    else:
        corners = " ".join(f"{x + size * across:.1f},{y + size * down:.1f}" for across, down in _outline(arm.shape))
        drawn = element("polygon", *inside, points=corners, stroke_linejoin="round", **look)
    if arm.kind != "finetuned":
        return drawn
    return element("g", drawn, element("circle", cx=float(x), cy=float(y), r=1.6, fill=arm.colour))


def _outline(shape: str) -> list[tuple[float, float]]:
    """Give the corners of a marker of about the area of a circle of radius 1."""
    if shape == "square":
        return [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]
    if shape == "triangle":
        return [(0, -1.3), (1.2, 0.85), (-1.2, 0.85)]
    if shape == "wedge":
        return [(0, 1.3), (1.2, -0.85), (-1.2, -0.85)]
    if shape == "diamond":
        return [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)]
    if shape == "bar":
        return [(-1.3, -0.6), (1.3, -0.6), (1.3, 0.6), (-1.3, 0.6)]
    corners = 5 if shape == "pentagon" else 10
    return [
        (radius * math.sin(2 * math.pi * corner / corners), -radius * math.cos(2 * math.pi * corner / corners))
        for corner in range(corners)
        for radius in (1.15 if corners == 5 else (1.5, 0.7)[corner % 2],)
    ]


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers inside [low, high], about as many as wanted."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [tick * step for tick in range(first, last + 1)]


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart until none is closer than `gap` to the next, each as near to its place as that allows.

    Pools neighbours that collide and centres each pool on its members' wanted places (a least-squares
    fit under order), then keeps the whole inside [low, high] as far as it fits.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    pools: list[tuple[float, int]] = []  # sum of (wanted - offset in the pool), members
    for index in order:
        total, members = wanted[index], 1
        while pools and pools[-1][0] / pools[-1][1] + gap * pools[-1][1] > total / members:
            before, count = pools.pop()
            total, members = before + total - members * gap * count, members + count
        pools.append((total, members))
    placed = [total / members + gap * place for total, members in pools for place in range(members)]
    room = high - low - gap * (len(placed) - 1)
    if placed and room >= 0:
        for place in range(len(placed)):
            placed[place] = max(placed[place], low + gap * place)
        for place in range(len(placed)):
            placed[-1 - place] = min(placed[-1 - place], high - gap * place)
    result = [0.0] * len(wanted)
    for place, index in enumerate(order):
        result[index] = placed[place]
    return result
