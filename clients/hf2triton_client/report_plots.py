"""The plots of the page, as inline SVG: parity scatters, lines over loads, bars of sizes and speeds.

Colours are the page's: an element's class (`s0` to `s7`) names the series, so that light, dark and print have their own; each
series also has a marker of its own shape. What a mark stands for is its <title>, which browsers show when it is pointed at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from .report_scales import Scale, amounts, linear
from .report_words import difference, significant
from .results import Scatter

#: Series that have a colour and a marker of their own; further ones begin again.
SERIES = 8
#: Points of a scatter that are drawn: more than these hide each other, and make the page heavy.
MOST_POINTS = 1000
_WIDTH, _HEIGHT, _SQUARE = 440, 290, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 26, 42
#: Paths of markers around (0, 0), about as large as each other.
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
class Line:
    """A series: its number, what it is called, and (place on the x axis, value) of its marks."""

    series: int
    label: str
    points: tuple[tuple[int, float], ...]
    dashed: bool = False


@dataclass(frozen=True)
class Bar:
    """A bar: the number of its series, what it is called, and how long it is."""

    series: int
    label: str
    value: float


def parity_scatter(scatter: Scatter, name: str, about: str) -> str:
    """Each value that PyTorch gave (x) and that was served (y), on the diagonal where they are the same. The pair that is
    farthest from it has a ring. `name`: unique on the page."""
    pairs = finite_pairs(scatter)
    drawn = pairs if len(pairs) <= MOST_POINTS else [pairs[i * len(pairs) // MOST_POINTS] for i in range(MOST_POINTS)]
    values = [value for pair in pairs for value in pair] or [0.0]
    x = linear(min(values), max(values), _LEFT, _SQUARE - _RIGHT, 6, around=True)
    y = linear(min(values), max(values), _SQUARE - _BOTTOM, _TOP, 6, around=True)
    svg = _svg(name, _SQUARE, _SQUARE, f"{about}: served values against PyTorch's", _told(pairs))
    _y_axis(svg, y, f"served {scatter.output}", _SQUARE)
    for tick, label in zip(x.ticks, x.labels(), strict=True):
        _line(svg, "grid", x(tick), _TOP, x(tick), _SQUARE - _BOTTOM)
        _text(svg, label, x(tick), _SQUARE - _BOTTOM + 16, "middle")
    _text(svg, f"PyTorch's {scatter.output}", (_LEFT + _SQUARE - _RIGHT) / 2, _SQUARE - 6, "middle", "label")
    _line(svg, "diagonal", x(x.low), y(y.low), x(x.high), y(y.high))
    group = SubElement(svg, "g", {"class": "points s0"})
    for theirs, ours in drawn:
        _titled(
            SubElement(group, "circle", {"cx": _n(x(theirs)), "cy": _n(y(ours)), "r": "2.6"}),
            f"PyTorch {significant(theirs, 5)}, served {significant(ours, 5)}",
        )
    if pairs:
        theirs, ours = max(pairs, key=_gap)
        ring = SubElement(svg, "circle", {"class": "ring", "cx": _n(x(theirs)), "cy": _n(y(ours)), "r": "6"})
        _titled(ring, f"the farthest: PyTorch {significant(theirs, 5)}, served {significant(ours, 5)}")
    return _written(svg)


def finite_pairs(scatter: Scatter) -> list[tuple[float, float]]:
    """The pairs of values that can be drawn."""
    pairs = zip(scatter.pytorch, scatter.served, strict=True)
    return [pair for pair in pairs if all(map(math.isfinite, pair))]


def lines(drawn: Sequence[Line], places: Sequence[str], name: str, about: str, x_label: str, y_label: str) -> str:
    """Values over loads, which stand at equal distances: 1, 8 and 32 are steps, not a length."""
    y = amounts([value for line in drawn for _, value in line.points], _HEIGHT - _BOTTOM, _TOP)
    inset = (_WIDTH - _LEFT - _RIGHT) / (2 * len(places) + 1)
    first, last = (_LEFT + inset, _WIDTH - _RIGHT - inset) if len(places) > 1 else 2 * ((_LEFT + _WIDTH - _RIGHT) / 2,)
    at = [first + (last - first) * place / max(1, len(places) - 1) for place in range(len(places))]
    said = "; ".join(f"{line.label}: {', '.join(significant(value) for _, value in line.points)}" for line in drawn)
    svg = _svg(name, _WIDTH, _HEIGHT, about, f"{y_label} at {x_label} {', '.join(places)}. {said}.")
    _y_axis(svg, y, y_label + (", logarithmic" if y.logarithmic else ""), _HEIGHT)
    each = math.ceil(len(places) / 8)  # labels that fit beside each other
    for place, label in enumerate(places):
        _line(svg, "tick", at[place], _HEIGHT - _BOTTOM, at[place], _HEIGHT - _BOTTOM + 4)
        if place % each == 0:
            _text(svg, label, at[place], _HEIGHT - _BOTTOM + 17, "middle")
    _text(svg, x_label, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "middle", "label")
    for line in drawn:
        kind = f"line s{line.series % SERIES}{' dashed' if line.dashed else ''}"
        group = SubElement(svg, "g", {"class": kind})
        points = [(at[place], y(value)) for place, value in line.points]
        SubElement(group, "polyline", {"points": " ".join(f"{_n(a)},{_n(b)}" for a, b in points)})
        for (place, value), (a, b) in zip(line.points, points, strict=True):
            mark = _mark(group, line.series, a, b)
            _titled(mark, f"{line.label}, {places[place]} {x_label}: {significant(value)} {y_label}")
    return _written(svg)


def bars(drawn: Sequence[Bar], name: str, about: str, unit: str) -> str:
    """Bars from 0, each below what it is called and beside its value."""
    row, longest = 42, _WIDTH - 110
    height = row * len(drawn) + 6
    most = max(bar.value for bar in drawn) or 1.0
    said = "; ".join(f"{bar.label}: {significant(bar.value)} {unit}" for bar in drawn)
    svg = _svg(name, _WIDTH, height, about, f"{said}.")
    for place, bar in enumerate(drawn):
        top, length = place * row, max(1.5, longest * bar.value / most)
        _text(svg, bar.label, 2, top + 15, "start", "name")
        shape = {"class": f"bar s{bar.series % SERIES}", "x": "2", "y": _n(top + 21), "height": "15", "rx": "2"}
        _titled(SubElement(svg, "rect", shape | {"width": _n(length)}), f"{bar.label}: {significant(bar.value)} {unit}")
        _text(svg, f"{significant(bar.value)} {unit}", 2 + length + 7, top + 33, "start", "value")
    return _written(svg)


def marker(series: int, dashed: bool = False) -> str:
    """The sample of a series in a legend."""
    attributes = {"class": "sample", "viewBox": "0 0 28 12", "width": "28", "height": "12", "aria-hidden": "true"}
    svg = Element("svg", attributes)
    group = SubElement(svg, "g", {"class": f"line s{series % SERIES}{' dashed' if dashed else ''}"})
    SubElement(group, "polyline", {"points": "1,6 27,6"})
    _mark(group, series, 14, 6)
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
    SubElement(svg, "text", {"class": kind, "x": _n(x), "y": _n(y), "text-anchor": anchor}).text = text


def _mark(group: Element, series: int, x: float, y: float) -> Element:
    return SubElement(group, "path", {"d": _MARKERS[series % SERIES], "transform": f"translate({_n(x)} {_n(y)})"})


def _titled(element: Element, title: str) -> None:
    SubElement(element, "title").text = title


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _written(svg: Element) -> str:
    return ElementTree.tostring(svg, encoding="unicode")
