"""The plots of the page, as inline SVG: parity scatters, lines over loads, bars of sizes and speeds.

The page sets the colours: an element's class (`s0` to `s7`) names the series, so light, dark and print can differ. Each series
also has its own marker shape. A mark's <title> explains it; browsers show it on hover.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ..evaluation.results import Scatter
from .formatting import difference, is_ordinary, significant
from .scales import Scale, amounts, linear

#: How many series have their own colour and marker; further series reuse them.
SERIES = 8
#: How many points of a scatter are drawn. More points would hide each other and make the page heavy.
MOST_POINTS = 1000
_WIDTH, _HEIGHT, _SQUARE, _NARROW = 440, 290, 380, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 26, 42
#: The width of a letter in wide fonts.
_LETTER = 7.6
#: Paths of markers around (0, 0), of about the same size.
_MARKERS = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z",
    "M-3.6,-3.6h7.2v7.2h-7.2z",
    "M0,-4.8L4.6,3.4H-4.6z",
    "M0,-5L5,0L0,5L-5,0z",
    "M0,4.8L4.6,-3.4H-4.6z",
    "M-1.6,-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
    "M0,-5L4.8,-1.5L3,4.2H-3L-4.8,-1.5z",
    "M-4.6,-4.6L0,-1.6L4.6,-4.6L1.6,0L4.6,4.6L0,1.6L-4.6,4.6L-1.6,0z",
)


@dataclass(frozen=True)
class Mark:
    """A value at a position on the x axis, and the end of the whisker above it, if there is one."""

    place: int
    value: float
    upper: float | None = None


@dataclass(frozen=True)
class Line:
    """A series: its number, its label, and its marks from left to right."""

    series: int
    label: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Bar:
    """A bar: the number of its series, its label and its length."""

    series: int
    label: str
    value: float


def parity_scatter(scatter: Scatter, name: str, about: str) -> str:
    """PyTorch's values (x) and the served values (y). Equal pairs lie on the diagonal, and a ring marks the pair farthest
    from it. `name`: unique on the page."""
    values = [value for pair in finite_pairs(scatter) for value in pair] or [0.0]
    range_ = min(values), max(values)
    title = f"{about}: served values against PyTorch's"
    return _cloud(scatter, name, title, f"served {scatter.output}", range_, range_, lambda theirs, ours: ours, True)


def residual_scatter(scatter: Scatter, name: str, about: str) -> str:
    """How far the served values are above PyTorch's (y), against PyTorch's (x). Shows differences too small to see on the
    diagonal."""
    pairs = finite_pairs(scatter) or [(0.0, 0.0)]
    values, widest = [theirs for theirs, _ in pairs], max(map(_gap, pairs))
    title, label = f"{about}: differences over PyTorch's values", "served − PyTorch"
    ranges = (min(values), max(values)), (-widest, widest)
    return _cloud(scatter, name, title, label, *ranges, lambda theirs, ours: ours - theirs, False)


def finite_pairs(scatter: Scatter) -> list[tuple[float, float]]:
    """The pairs of values that can be drawn."""
    pairs = zip(scatter.pytorch, scatter.served, strict=True)
    return [pair for pair in pairs if all(map(is_ordinary, pair))]


def lines(drawn: Sequence[Line], places: Sequence[str], name: str, about: str, x_label: str, y_label: str) -> str:
    """Values against loads, at equal distances: 1, 8 and 32 are steps, not lengths. Series with whiskers are shifted
    slightly to keep them apart."""
    values = [value for line in drawn for mark in line.marks for value in (mark.value, mark.upper)]
    y = amounts([value for value in values if value is not None and is_ordinary(value)], _HEIGHT - _BOTTOM, _TOP)
    inset = (_WIDTH - _LEFT - _RIGHT) / (2 * len(places) + 1)
    first, last = (_LEFT + inset, _WIDTH - _RIGHT - inset) if len(places) > 1 else 2 * ((_LEFT + _WIDTH - _RIGHT) / 2,)
    at = [first + (last - first) * place / max(1, len(places) - 1) for place in range(len(places))]
    said = "; ".join(f"{line.label}: {', '.join(significant(mark.value) for mark in line.marks)}" for line in drawn)
    svg = _svg(name, _WIDTH, _HEIGHT, about, f"{y_label} at {x_label} {', '.join(places)}. {said}.")
    _y_axis(svg, y, y_label + (", logarithmic" if y.logarithmic else ""), _HEIGHT)
    each = math.ceil(len(places) / 8)  # labels that fit next to each other
    for place, label in enumerate(places):
        _line(svg, "tick", at[place], _HEIGHT - _BOTTOM, at[place], _HEIGHT - _BOTTOM + 4)
        if place % each == 0:
            _text(svg, label, at[place], _HEIGHT - _BOTTOM + 17, "middle")
    _text(svg, x_label, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "middle", "label")
    apart = min(9.0, 2 * inset / (len(drawn) + 1)) if any(mark.upper is not None for mark in drawn[0].marks) else 0.0
    for index, line in enumerate(drawn):
        group = SubElement(svg, "g", {"class": f"line s{line.series % SERIES}"})
        aside = (index - (len(drawn) - 1) / 2) * apart
        marks = [mark for mark in line.marks if is_ordinary(mark.value)]
        points = [(at[mark.place] + aside, y(mark.value)) for mark in marks]
        SubElement(group, "polyline", {"points": " ".join(f"{_n(a)},{_n(b)}" for a, b in points)})
        for mark, (a, b) in zip(marks, points, strict=True):
            said = f"{line.label}, {places[mark.place]} {x_label}: {significant(mark.value)} {y_label}"
            if mark.upper is not None and is_ordinary(mark.upper):
                said += f", p99 {significant(mark.upper)} {y_label}"
                top = y(mark.upper)
                whisker = {"class": "whisker", "d": f"M{_n(a)},{_n(b)}V{_n(top)}M{_n(a - 3)},{_n(top)}h6"}
                _titled(SubElement(group, "path", whisker), said)
            _titled(_mark(group, line.series, a, b), said)
    return _written(svg)


def bars(drawn: Sequence[Bar], name: str, about: str, unit: str) -> str:
    """Bars from 0. Each has its label above it and its value beside it."""
    row, longest = 42, _NARROW - 96
    height = row * len(drawn) + 6
    most = max(bar.value for bar in drawn) or 1.0
    said = "; ".join(f"{bar.label}: {significant(bar.value)} {unit}" for bar in drawn)
    svg = _svg(name, _NARROW, height, about, f"{said}.")
    for place, bar in enumerate(drawn):
        top, length = place * row, max(1.5, longest * bar.value / most)
        _text(svg, bar.label, 2, top + 15, "start", "name")
        shape = {"class": f"bar s{bar.series % SERIES}", "x": "2", "y": _n(top + 21), "height": "15", "rx": "2"}
        _titled(SubElement(svg, "rect", shape | {"width": _n(length)}), f"{bar.label}: {significant(bar.value)} {unit}")
        _text(svg, f"{significant(bar.value)} {unit}", 2 + length + 7, top + 33, "start", "value")
    return _written(svg)


def marker(series: int) -> str:
    """A sample of the series for a legend."""
    attributes = {"class": "sample", "viewBox": "0 0 28 12", "width": "28", "height": "12", "aria-hidden": "true"}
    svg = Element("svg", attributes)
    group = SubElement(svg, "g", {"class": f"line s{series % SERIES}"})
    SubElement(group, "polyline", {"points": "1,6 27,6"})
    _mark(group, series, 14, 6)
    return _written(svg)


def _cloud(
    scatter: Scatter,
    name: str,
    title: str,
    y_label: str,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    height: Callable[[float, float], float],
    diagonal: bool,
) -> str:
    """Points against PyTorch's values, and the line of no difference."""
    pairs = finite_pairs(scatter)
    drawn = pairs if len(pairs) <= MOST_POINTS else [pairs[i * len(pairs) // MOST_POINTS] for i in range(MOST_POINTS)]
    x = linear(*x_range, _LEFT, _SQUARE - _RIGHT, 8, around=True)
    y = linear(*y_range, _SQUARE - _BOTTOM, _TOP, 8, around=True)
    svg = _svg(name, _SQUARE, _SQUARE, title, _told(pairs))
    _y_axis(svg, y, y_label, _SQUARE)
    for tick, label in zip(x.ticks, x.labels(), strict=True):
        _line(svg, "grid", x(tick), _TOP, x(tick), _SQUARE - _BOTTOM)
        _text(svg, label, x(tick), _SQUARE - _BOTTOM + 16, "middle")
    _text(svg, f"PyTorch's {scatter.output}", (_LEFT + _SQUARE - _RIGHT) / 2, _SQUARE - 6, "middle", "label")
    left, right = (y.low, y.high) if diagonal else (0.0, 0.0)
    _line(svg, "same", x(x.low), y(left), x(x.high), y(right))
    group = SubElement(svg, "g", {"class": "points s0"})
    for theirs, ours in drawn:
        place = {"cx": _n(x(theirs)), "cy": _n(y(height(theirs, ours)))}
        said = f"PyTorch {significant(theirs, 5)}, served {significant(ours, 5)}"
        _titled(SubElement(group, "circle", place | {"r": "2.6"}), said)
    if pairs:
        theirs, ours = max(pairs, key=_gap)
        place = {"cx": _n(x(theirs)), "cy": _n(y(height(theirs, ours)))}
        said = f"the farthest: PyTorch {significant(theirs, 5)}, served {significant(ours, 5)}"
        _titled(SubElement(svg, "circle", place | {"class": "ring", "r": "6"}), said)
    return _written(svg)


def _gap(pair: tuple[float, float]) -> float:
    return abs(pair[0] - pair[1])


def _told(pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return "No value can be drawn."
    return f"{len(pairs)} values; the farthest from the diagonal is {difference(max(map(_gap, pairs)))} away."


def _svg(name: str, width: int, height: int, title: str, description: str) -> Element:
    attributes = {"viewBox": f"0 0 {width} {height}", "role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    svg = Element("svg", attributes)
    SubElement(svg, "title", {"id": f"{name}-title"}).text = title
    SubElement(svg, "desc", {"id": f"{name}-desc"}).text = description
    return svg


def _y_axis(svg: Element, y: Scale, label: str, height: int) -> None:
    right = float(svg.get("viewBox", "").split()[2]) - _RIGHT
    for tick, said in zip(y.ticks, y.labels(), strict=True):
        _line(svg, "grid", _LEFT, y(tick), right, y(tick))
        _text(svg, said, _LEFT - 7, y(tick) + 4, "end")
    _line(svg, "axis", _LEFT, height - _BOTTOM, right, height - _BOTTOM)
    _text(svg, label, 2, 12, "start", "label")


def _line(svg: Element, kind: str, x1: float, y1: float, x2: float, y2: float) -> None:
    SubElement(svg, "line", {"class": kind, "x1": _n(x1), "y1": _n(y1), "x2": _n(x2), "y2": _n(y2)})


def _text(svg: Element, text: str, x: float, y: float, anchor: str, kind: str = "number") -> None:
    left, right = x, float(svg.get("viewBox", "").split()[2]) - x
    room = int({"start": right, "middle": 2 * min(left, right), "end": left}[anchor] / _LETTER)
    shown = text if len(text) <= room else f"{text[: max(1, room - 1)]}…"
    element = SubElement(svg, "text", {"class": kind, "x": _n(x), "y": _n(y), "text-anchor": anchor})
    element.text = shown
    if shown != text:
        _titled(element, text)


def _mark(group: Element, series: int, x: float, y: float) -> Element:
    return SubElement(group, "path", {"d": _MARKERS[series % SERIES], "transform": f"translate({_n(x)} {_n(y)})"})


def _titled(element: Element, title: str) -> None:
    SubElement(element, "title").text = title


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _written(svg: Element) -> str:
    return ElementTree.tostring(svg, encoding="unicode")
