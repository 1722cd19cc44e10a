"""The plots of the page, as SVG: marks stand where their values belong, axes have round ticks."""

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf2triton_client.evaluation.results import Scatter
from hf2triton_client.report.plots import (
    MOST_POINTS,
    SERIES,
    Bar,
    Line,
    Mark,
    bars,
    lines,
    marker,
    parity_scatter,
    residual_scatter,
)
from hf2triton_client.report.scales import amounts, linear

from ..reports import scatter

_NUMBERS = st.floats(-1e12, 1e12, allow_nan=False)
#: Nothing, or more than a thousand millionth.
_AMOUNTS = st.lists(st.just(0.0) | st.floats(1e-9, 1e9), min_size=1, max_size=6)


def all_of(svg, kind, tag):
    """The elements of a kind, by the class of the element or of its group."""
    root = ElementTree.fromstring(svg)
    parents = {child: parent for parent in root.iter() for child in parent}
    found = [one for one in root.iter(tag) if kind in one.get("class", parents.get(one, root).get("class", "")).split()]
    return found


@given(_NUMBERS, _NUMBERS, st.booleans())
def test_linear_axes_hold_their_values(one, other, around):
    """Ends and ticks lie on the axis, ticks are evenly spaced and few, and no two say the same."""
    low, high = sorted((one, other))
    axis = linear(low, high, 100, 300, around=around)
    assert 1 <= len(axis.ticks) <= 8
    places = [axis(tick) for tick in axis.ticks]
    assert all(100 - 1e-3 <= place <= 300 + 1e-3 for place in (*places, axis(low), axis(high)))
    assert places == sorted(places)
    assert len(set(axis.labels())) == len(axis.ticks)


@given(_AMOUNTS)
def test_axes_of_amounts_hold_their_values(values):
    """Amounts lie between the axis' ends, linear or logarithmic, and larger ones further along."""
    axis = amounts(values, 300, 100)
    assert all(100 - 1e-6 <= axis(value) <= 300 + 1e-6 for value in values)
    places = [axis(value) for value in sorted(values)]
    assert places == sorted(places, reverse=True)
    assert len(set(axis.labels())) == len(axis.ticks) <= 10


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([140, 585], ["0", "200", "400", "600"]),
        ([5.3, 432], ["5", "10", "20", "50", "100", "200", "500"]),
        ([0.001, 40_000], ["0.01", "0.1", "1", "10", "100", "1,000", "10,000"]),
        ([0.4], ["0.0", "0.1", "0.2", "0.3", "0.4"]),
        ([0.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_ticks_are_round(values, labels):
    """Ticks are what people would choose; amounts far apart get a logarithmic axis."""
    assert amounts(values, 0, 1).labels() == labels


def test_points_of_a_scatter_stand_where_their_values_are():
    """Pairs that are the same lie on the diagonal; x is PyTorch's and y, upwards, what was served."""
    svg = parity_scatter(Scatter("x", (0.0, 1.0, 2.0), (0.0, 1.0, 1.0)), "n", "about")
    (diagonal,) = all_of(svg, "same", "line")
    x1, y1, x2, y2 = (float(diagonal.get(name)) for name in ("x1", "y1", "x2", "y2"))
    points = [(float(one.get("cx")), float(one.get("cy"))) for one in all_of(svg, "points", "circle")]
    above = [y1 + (x - x1) * (y2 - y1) / (x2 - x1) - y for x, y in points]
    assert above[:2] == pytest.approx([0, 0], abs=0.05)
    assert above[2] < -50
    (ring,) = all_of(svg, "ring", "circle")
    assert (float(ring.get("cx")), float(ring.get("cy"))) == points[2]
    assert "the farthest: PyTorch 2.0000, served 1.0000" in svg


def test_residuals_stand_around_nought():
    """What is served above PyTorch's value stands above the line, by how much it is."""
    svg = residual_scatter(Scatter("x", (5.0, 6.0, 7.0), (5.0, 6.5, 6.75)), "n", "about")
    (line,) = all_of(svg, "same", "line")
    up = [float(line.get("y1")) - float(one.get("cy")) for one in all_of(svg, "points", "circle")]
    assert up[0] == 0
    assert up[1] == pytest.approx(-2 * up[2], abs=0.05)
    assert up[1] > 50


@pytest.mark.parametrize("draw", [parity_scatter, residual_scatter])
def test_scatters_draw_what_can_be_drawn(draw):
    """NaN and infinities are left out, thousands of points are thinned, equal values and none at all have axes as well."""
    odd = Scatter("x", (1.0, math.nan, 2.0, math.inf), (1.0, 1.0, math.nan, 2.0))
    assert len(all_of(draw(odd, "n", ""), "points", "circle")) == 1
    assert len(all_of(draw(scatter("x", 0.1, 5000), "n", ""), "points", "circle")) == MOST_POINTS
    for values in ((), (0.0, 0.0), (1e-30, 1e-30), (3e38, 3e38)):
        assert len(all_of(draw(Scatter("x", values, values), "n", ""), "points", "circle")) == len(values)
    assert "No value can be drawn." in draw(Scatter("x", (), ()), "n", "")


def test_lines_and_whiskers_stand_where_their_values_are():
    """Higher values stand higher, in proportion; whiskers end at theirs; what is not finite is left out."""
    drawn = [Line(0, "a", (Mark(0, 10.0, 20.0), Mark(1, 20.0, 40.0), Mark(2, math.inf, 3.0)))]
    svg = lines(drawn, ["1", "8", "32"], "n", "about", "calls in flight", "ms")
    (polyline,) = all_of(svg, "line", "polyline")
    (x1, first), (x2, second) = (map(float, pair.split(",")) for pair in polyline.get("points").split())
    assert x1 < x2
    (axis,) = all_of(svg, "axis", "line")
    bottom = float(axis.get("y1"))
    assert bottom - second == pytest.approx(2 * (bottom - first), abs=0.05)
    tops = [float(one.get("d").split("V")[1].split("M")[0]) for one in all_of(svg, "whisker", "path")]
    assert [bottom - top for top in tops] == pytest.approx([2 * (bottom - first), 4 * (bottom - first)], abs=0.05)
    assert "a, 8 calls in flight: 20.0 ms, p99 40.0 ms" in svg


def test_bars_are_as_long_as_their_values():
    """In proportion, from 0, each with its value in words."""
    svg = bars([Bar(0, "a", 30.0), Bar(1, "b", 15.0), Bar(9, "c", 0.0)], "n", "about", "MB")
    lengths = [float(one.get("width")) for one in ElementTree.fromstring(svg).iter("rect")]
    assert lengths[0] == pytest.approx(2 * lengths[1])
    assert lengths[2] < 2
    assert [text.text for text in all_of(svg, "value", "text")] == ["30.0 MB", "15.0 MB", "0 MB"]


def test_series_are_told_apart_without_colours():
    """Each of the first series has a marker of its own."""
    assert len({ElementTree.fromstring(marker(one)).find(".//path").get("d") for one in range(SERIES)}) == SERIES


def test_names_are_text():
    """What a model or an output is called cannot become a part of the drawing."""
    svg = parity_scatter(Scatter("</svg><script>", (1.0,), (1.0,)), "n", "<b>&")
    assert "<script" not in svg
    assert ElementTree.fromstring(svg).find("title").text.startswith("<b>&: ")


def test_plots_say_what_they_show():
    """Those who do not see a plot get its title and its values."""
    svg = ElementTree.fromstring(bars([Bar(0, "a", 30.0)], "n", "Weights", "MB"))
    assert svg.get("role") == "img"
    assert svg.get("aria-labelledby") == "n-title n-desc"
    assert (svg.find("title").text, svg.find("desc").text) == ("Weights", "a: 30.0 MB.")
