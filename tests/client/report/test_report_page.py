"""The page of a report in a real browser: light, dark and on paper, on a desk and on a telephone.

The browser is Chromium. Where there is none these tests are skipped, unless HF2TRITON_BROWSER=required: then they fail.
"""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hf2triton_client.evaluation.results import Scatter
from hf2triton_client.loadgen.results import Load, Measurement
from hf2triton_client.report import formatting as words
from hf2triton_client.report.comparison import combine
from hf2triton_client.report.html import to_page
from hf2triton_client.report.io import write_report
from hf2triton_client.report.tables import tables

from ...browser import chromium
from ..reports import benchmark, good, report, scatter

SCRIPTS = Path(__file__).parent / "page.js"


def broad():
    """A benchmark of a model that generates, in open and closed loops, with calls of two sizes and some that failed."""
    loads = [Load(size, 128, calls) for size in (1, 8) for calls in (1, 2, 4)] + [
        Load(1, None, None, rate) for rate in (5.0, 20.0)
    ]
    made = benchmark()
    measurements = [
        Measurement(who, load, 3, 90, who, 30.0, 20.0 + place, 40.0, 900.0, 30.0, 400.0 + place, 12.5)
        for who in range(4)
        for place, load in enumerate(loads)
    ]
    return replace(made, task="text-generation", measurements=tuple(measurements))


def compared():
    """A report beside an earlier one, with a failure that was asked for."""
    together, comparison = combine([report(), report(benchmarks=(benchmark(1.3),))])
    return together, replace(comparison, failures=("it is slower",))


def long():
    """Names that are longer than any plot or telephone is wide."""
    name = "a_model_with_a_long_name_" * 5
    made, validation = benchmark(model=name), replace(good(), model=name, scatters=(scatter(name, 0.1),))
    contenders = tuple(replace(own, name=f"{own.name} {name}", remark=name) for own in made.contenders)
    return report(validations=(validation,), benchmarks=(replace(made, contenders=contenders, inputs=name),)), None


#: What is looked at: everything a report can hold, and as little as it can.
PAGES = {
    "realistic": lambda: (report(), None),
    "passed": lambda: (report(validations=(good(),)), None),
    "broad": lambda: (report(validations=(), benchmarks=(broad(),)), None),
    "compared": compared,
    "long": long,
    "empty": lambda: (report(validations=(), benchmarks=()), None),
}


@pytest.fixture(scope="module")
def browser():
    with chromium() as own:
        yield own


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The pages as files."""
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        made, comparison = make()
        write_report(made, folder / f"{name}.html", comparison)
    return folder


@pytest.fixture
def look(browser, written):
    """Opens a page and gives it with what it asked for and complained of."""
    opened = []

    def open_page(name, scheme="light", width=1280, media="screen"):
        page = browser.new_page(viewport={"width": width, "height": 900})
        opened.append(page)
        page.emulate_media(color_scheme=scheme, media=media)
        requests, complaints = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((written / f"{name}.html").as_uri())
        page.evaluate(SCRIPTS.read_text())
        return page, requests, complaints

    yield open_page
    for page in opened:
        page.close()


@pytest.mark.parametrize("name", PAGES)
def test_the_page_asks_for_nothing(look, written, name):
    """A browser loads the file and nothing else, and has nothing to complain of."""
    page, requests, complaints = look(name)
    own = (written / f"{name}.html").as_uri()
    assert [url for url in requests if url != own and not url.startswith("data:")] == []
    assert complaints == []
    assert page.evaluate("document.compatMode") == "CSS1Compat"


@pytest.mark.parametrize(
    ("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("light", "print"), ("dark", "print")]
)
@pytest.mark.parametrize("name", ["realistic", "passed", "broad", "compared"])
def test_everything_can_be_read(look, name, scheme, media):
    """Every text stands out from what is behind it by 4.5 to 1, and every mark of a plot by 3 to 1."""
    page, *_ = look(name, scheme, media=media)
    texts, marks = page.evaluate("contrasts()"), page.evaluate("markContrasts()")
    assert len(texts) > 50
    assert [found for found in texts if found["ratio"] < 4.5] == []
    assert len(marks) > 5
    assert [found for found in marks if found["ratio"] < 3] == []


def test_the_schemes_differ(look):
    """Dark is dark and light is light; paper is white in both."""
    backs = {
        (scheme, media): look("passed", scheme, media=media)[0].evaluate("lightness(document.body)")
        for scheme in ("light", "dark")
        for media in ("screen", "print")
    }
    assert backs["light", "screen"] > 0.9
    assert backs["dark", "screen"] < 0.05
    assert backs["light", "print"] == backs["dark", "print"] == 1


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_runs_over(look, name, width):
    """The page is as wide as the window; tables that are wider scroll by themselves, and nothing else is cut off."""
    page, *_ = look(name, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate("overflowing()") == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["realistic", "broad", "long"])
def test_plots_hold_what_they_draw(look, name, width):
    """Marks lie within their plot, texts too, no text lies on another, and none is too small to be read."""
    page, *_ = look(name, width=width)
    plots = page.evaluate("plots()")
    assert len(plots) == page.locator("svg[role=img]").count() >= 5
    for plot in plots:
        assert plot["marks"] > 0, plot
        assert (plot["outside"], plot["overlaps"]) == ([], []), plot
        assert plot["textSize"] >= 9, plot


def test_the_numbers_are_those_of_the_report(look):
    """Tables, cards, points and bars show what the report holds."""
    made = report()
    page, *_ = look("realistic")
    shown = [own.locator("tbody tr").evaluate_all(CELLS) for own in page.locator("table").all()]
    expected = {own.title: [list(row) for row in own.rows] for own in tables(made)[1:]}
    assert shown == list(expected.values())
    measured = page.locator("table").filter(has_text="Measurements").locator("tbody tr").evaluate_all(CELLS)
    for one, row in zip(made.benchmarks[0].measurements, measured, strict=True):
        numbers = [float(cell.replace(",", "")) for cell in row[3:8]]
        assert numbers == pytest.approx(
            [one.p50_ms, one.p90_ms, one.p99_ms, one.mean_ms, one.items_per_second], rel=5e-3
        )
    (card,) = [one for one in page.locator(".card").all() if "One call, median" in one.inner_text()]
    assert "10.1 ms" in card.inner_text()
    assert page.locator("svg[role=img]").first.locator(".points circle").count() == 500
    widths = (
        page.locator("figure")
        .filter(has_text="Weights by precision")
        .locator("rect")
        .evaluate_all("r => r.map(x => +x.getAttribute('width'))")
    )
    sizes = [own.weight_bytes for own in made.benchmarks[0].contenders]
    assert [width / widths[0] for width in widths] == pytest.approx([size / sizes[0] for size in sizes], rel=1e-3)


CELLS = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"


@pytest.mark.parametrize(
    ("name", "word", "says"),
    [
        ("realistic", "Failed", "largest difference 0.71 is above 0.5"),
        ("passed", "Passed", "sentiment (fp16) gives PyTorch's answers in 5 checks."),
        ("broad", "Measured", "Nothing was compared with PyTorch's answers."),
        ("compared", "Failed", "The comparison with an earlier run failed."),
    ],
)
def test_the_verdict_is_seen_first(look, name, word, says):
    """It stands at the top in words, and in the title of the window."""
    page, *_ = look(name)
    box = page.locator(".verdict")
    assert box.bounding_box()["y"] < 250
    assert box.locator(".word").inner_text() == word
    assert says in box.inner_text()
    assert page.title().startswith(f"{word}: ")


class _References(HTMLParser):
    """What a page could load: the values of attributes that name other files, and its scripts."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.found += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_one_file(name):
    """No script, no frame, no style or font from elsewhere: the only reference is the empty icon."""
    text = to_page(*PAGES[name]())
    references = _References()
    references.feed(text)
    assert references.found == ["data:,"]
    assert not references.tags & {"script", "iframe", "object", "embed", "img", "base", "form"}
    assert not re.search(r"@import|url\(|https?://", text)


def test_names_are_text_on_the_page():
    """What a report holds is shown and never run."""
    attack = "<img src=x onerror=alert(1)>"
    made = report(
        server=attack,
        validations=(replace(good(), model=attack, reference=attack, scatters=(Scatter(attack, (1.0,), (1.0,)),)),),
        benchmarks=(replace(benchmark(model=attack), inputs=attack, missing={attack: attack}),),
    )
    text = to_page(made)
    assert "<img" not in text
    assert text.count("&lt;img src=x onerror=alert(1)&gt;") >= 8


def test_a_page_stays_small():
    """Plots of many thousand values do not make a page that browsers choke on."""
    many = replace(good(), scatters=tuple(scatter(f"output {place}", 0.1, 20_000) for place in range(4)))
    assert len(to_page(report(validations=(many,)))) < 2_000_000


def test_numbers_in_words():
    """Digits that matter and no others, with signs that people write."""
    values = (0.0, 0.01234, 9.996, 56.72, 1234.5, 1e-7, float("nan"), float("inf"), None)
    said = ["0", "0.0123", "10.0", "56.7", "1,230", "0.000000100", "NaN", "∞", "–"]
    assert [words.significant(value) for value in values] == said
    assert [words.percent(10, after) for after in (10, 11.2, 9.95, 30, float("nan"))] == [
        "",
        "+12%",
        "−0.5%",
        "+200%",
        "",
    ]
    assert [words.share(value) for value in (1.0, 0.99999, 0.983)] == ["100.0%", "99.9%", "98.3%"]
    assert [words.cosine(value) for value in (1.0, 1 - 1e-12, 0.9999999)] == ["1.000000", "1.000000", "0.999999"]
    assert words.moment("2026-09-14T13:02:45+02:00") == "2026-09-14 11:02 UTC"
    assert words.moment("some day") == "some day"
