"""Reports as tables and as Markdown, as GitHub shows it."""

from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from hf2triton_client.evaluation.latency import Latency
from hf2triton_client.evaluation.results import Check, Score
from hf2triton_client.report.comparison import combine
from hf2triton_client.report.html import to_page
from hf2triton_client.report.json_form import from_json, to_json
from hf2triton_client.report.markdown import MOST_BYTES, escape, to_markdown
from hf2triton_client.report.tables import figures_table, numeric_columns, tables
from hf2triton_client.report.verdict import verdict

from ..reports import bad, benchmark, difference, good, report


def shown(markdown):
    """The tables in Markdown as GitHub shows them: of each its rows of cells, without emphasis."""
    found = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type == "inline" and token.level >= 4 and found:
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


def test_markdown_shows_what_the_tables_hold():
    """Every table with all of its cells is there, whatever signs they hold."""
    made = report()
    expected = [[list(own.columns), *map(list, own.rows)] for own in tables(made)]
    assert shown(to_markdown(made)) == expected


def test_the_verdict_comes_first():
    """The first line says whether it passed; what failed follows."""
    assert to_markdown(report(validations=(good(),))).splitlines()[0] == (
        "✅ **Passed.** sentiment (fp16) gives PyTorch's answers in 5 checks."
    )
    lines = to_markdown(report()).splitlines()
    assert lines[0].startswith("❌ **Failed.** tags")
    assert "in reverse order: logits: largest difference 0.71 is above 0.5 – text 12" in lines[2]
    assert to_markdown(report(validations=())).startswith(
        "📏 **Measured.** Nothing was compared with PyTorch's answers."
    )
    assert "The report holds nothing." in to_markdown(report(validations=(), benchmarks=()))


def test_numbers_are_aligned_right():
    """Columns of numbers, and no others."""
    lines = to_markdown(report()).splitlines()
    header = lines.index("| contender | size | load | p50 ms | p90 ms | p99 ms | mean ms | texts/s | calls | errors |")
    assert lines[header + 1] == "| :-- | :-- | :-- | --: | --: | --: | --: | --: | --: | --: |"
    rows = [("1", "a", "–", "–", "≥ 0.9", "1.2.3"), ("1,234.5", "1", "–", "3.1 ms", "1.2e-06", "1.3.0")]
    assert numeric_columns(rows) == [True, False, False, True, True, False]


def test_details_are_folded():
    """What one decides by is in sight; everything else is one click away, and all that is opened is closed."""
    text = to_markdown(report())
    assert text.index("Figures to decide by") < text.index("<details>")
    assert text.count("<details><summary>") == text.count("</summary>") == text.count("</details>") == 7


def test_it_fits_the_summary_of_a_step():
    """However much a report holds, Markdown stays below a mebibyte, and says what was left out."""
    many = tuple(Score(f"score {place} 😀", 9, 0.5, 0.5) for place in range(30_000))
    text = to_markdown(report(validations=(replace(good(), scores=many),)))
    assert len(text.encode()) <= MOST_BYTES < 1 << 20
    assert "1 more tables with 30,000 rows do not fit here" in text
    assert "Machine and versions" in text


@pytest.mark.parametrize("text", ["a|b", "<b>x</b>", "a_b_c *d* `e` [f](g)", "~~a~~ \\ & &amp; #1", "line\nbreak"])
def test_text_is_shown_as_it_is(text):
    """Nothing that a name holds is taken for Markdown or HTML."""
    (paragraph,) = [
        t for t in MarkdownIt("commonmark").enable("strikethrough").parse(escape(text)) if t.type == "inline"
    ]
    assert "".join(child.content for child in paragraph.children) == " ".join(text.split())
    assert {child.type for child in paragraph.children} <= {"text", "text_special"}


def test_changes_stand_before_details():
    """A comparison is in sight, each figure with its change."""
    _, comparison = combine(
        [report(validations=(good(),)), report(validations=(good(),), benchmarks=(benchmark(1.5),))]
    )
    text = to_markdown(report(validations=(good(),)), comparison)
    changed = text.index("**What changed: calls**")
    assert changed < text.index("<details>")
    assert "| Triton, gRPC, fp16 | 1 a call, 1 in flight | 10.1 → 15.1 (+50%) |" in text
    failed = to_markdown(report(validations=(good(),)), replace(comparison, failures=("it is slower",)))
    assert failed.startswith("❌ **Failed.**")
    assert "\n- it is slower\n" in failed


def test_only_checks_that_changed_are_listed():
    """Those with another difference or result stand alone, all others in one line."""
    failing = replace(
        good(), checks=(*good().checks[:-1], replace(good().checks[-1], differences=bad().checks[1].differences))
    )
    _, comparison = combine([report(validations=(one,), benchmarks=()) for one in (good(), failing)])
    (table,) = [own for own in tables(report(), comparison) if own.title == "What changed: largest differences"]
    assert table.rows == (
        ("sentiment", "five items a request, in reverse order", "logits", "0.0029", "0.71", "ok → failed"),
        ("sentiment", "2 that are as before", "all", "0.0025", "0.0025", "ok → ok"),
    )
    assert table.bad == {0}


def test_the_figures_are_of_what_was_proved():
    """Speed and size are those of the served contender whose answers were proved, not of a faster one that failed."""
    fast = replace(good(), precision="int8", checks=bad().checks)
    made = report(validations=(good(), fast))
    rows = {row[0]: row for row in figures_table(made).rows}
    assert rows["One call, median"] == (
        *("One call, median", "10.1 ms"),
        "1.4× as fast as PyTorch (14.2 ms); Triton, gRPC, fp16; 1 a call, 1 in flight",
    )
    assert rows["Weights"] == ("Weights", "45.2 MB", "PyTorch 90.9 MB; Triton, gRPC, fp16")
    alone = {row[0]: row for row in figures_table(report(validations=())).rows}
    assert alone["Highest throughput"][1] == "585 texts/s"


def test_the_figures_tell_the_worst():
    """The difference that failed is shown before a larger one that did not, and the score that failed first."""
    rows = figures_table(report()).rows
    assert rows[0][:2] == ("Largest difference", "0.71")
    assert rows[2] == ("Entity F1", "0.8610", "PyTorch 0.9020, must be ≥ 0.8920; tags_<b>&|int8, 200 rows")


def test_a_score_says_what_it_was_held_against():
    """PyTorch's and the limit stand beside it; without PyTorch's it is no check that passed, in tables, figures and verdict."""
    held, alone = Score("accuracy", 60, 0.8167, 0.8167, 1 / 60), Score("macro F1", 60, 0.7)
    made = report(validations=(replace(good(), scores=(held, alone)),), benchmarks=())
    [table] = [own for own in tables(made) if own.title.endswith("scores")]
    assert [row[2:] for row in table.rows] == [
        ("0.8167", "0.8167", "≥ 0.8000", "ok"),
        ("0.7000", "–", "–", "not compared"),
    ]
    assert verdict(made).summary == "sentiment (fp16) gives PyTorch's answers in 4 checks."
    beside = {row[0]: row[2] for row in figures_table(made).rows}
    assert beside["Accuracy"] == "PyTorch 0.8167, must be ≥ 0.8000; sentiment, 60 rows"
    assert beside["Macro F1"] == "not compared, PyTorch's is not known; sentiment, 60 rows"


def test_nothing_that_was_compared_is_no_pass():
    """Scores without PyTorch's, checks of nothing, and benchmarks are measured, and no sign says passed."""
    alone = replace(good(), checks=(), scores=(Score("accuracy", 60, 0.8167),))
    for made in (report(validations=(alone,)), report(validations=())):
        assert (verdict(made).state, verdict(made).summary) == (
            *("measured", "Nothing was compared with PyTorch's answers."),
        )
        assert "✅" not in to_markdown(made)
        assert 'class="tag passed"' not in to_page(made)
    two = verdict(report(validations=(good(), replace(alone, model="other"))))
    assert two.summary == "sentiment (fp16) gives PyTorch's answers in 5 checks."


def test_pytorchs_latency_of_another_moment_is_not_there():
    """Only what was measured through the server stands in the table of calls."""
    made = report(validations=(replace(good(), served_latency=Latency(6.6, 7.1, 30)),), benchmarks=())
    [table] = [own for own in tables(made) if own.title.endswith("one at a time")]
    assert table.rows == (("served, over gRPC", "6.60", "7.10", "30"),)


def test_failed_calls_are_a_caution():
    """Errors under load, and contenders that could not take part, are told beside the verdict."""
    made = benchmark()
    broken = replace(made, measurements=(replace(made.measurements[4], errors=3, calls=100),))
    assert verdict(report(validations=(good(),), benchmarks=(broken,))).cautions == (
        "Triton, gRPC, fp32: 3 of 100 calls failed",
        "ONNX Runtime, GPU was not measured: there is no GPU",
    )


PLACE = 'text 12 ("Maria <user> went to | Paris"), row 2 of its batch, token 3, label 4 (B-<PER>)'


def test_where_it_failed_is_in_sight():
    """The input, the row of its batch, the place in the output and both values, in the first reason and in an open table."""
    text = to_markdown(report())
    first = verdict(report()).reasons[0]
    assert first.endswith(f"logits: largest difference 0.71 is above 0.5 – {PLACE}: PyTorch 1.234, served 0.524")
    assert escape(first) in text
    assert text.index("Where tags") < text.index("<details>")
    [table] = [rows for rows in shown(text) if "expected" in rows[0]]
    assert table[1:] == [["five items a request, in reverse order", "logits", PLACE, "1.234", "0.524"]]


def test_a_report_of_before_has_no_such_table():
    """What was written without places is read and shown, and says nothing about them."""
    written = to_json(report())
    for validation in written["validations"]:
        for check in validation["checks"]:
            for one in check["differences"]:
                del one["worst"]
    made = from_json(written)
    assert not made.validations[1].passed
    assert verdict(made).reasons[0].endswith("logits: largest difference 0.71 is above 0.5")
    assert "Where tags" not in to_markdown(made)
    together, comparison = combine([made, report()])
    assert "Where tags" in to_markdown(together, comparison)


def checked(passed, output="logits"):
    return Check("a check", (difference(output, 0.1, *([] if passed else ["too far"])),))


@pytest.mark.parametrize(
    ("checks", "score", "precision", "says", "never"),
    [
        ((False, True), 1, "fp32", "Even inputs that are asked alone", "--precision"),
        ((False, False), 1, "fp16", "or export with --precision fp32", "fp16"),
        ((True, False), 1, "int8", "in a batch do not", "fp32"),
        ((True, True, "answers"), 1, "fp16", "labels, tokenizer or settings", "--precision"),
        ((True, True), 0, "int8", "the scores are not", "fp32"),
    ],
)
def test_what_to_try_next_follows_from_what_failed(checks, score, precision, says, never):
    """Each kind of failure has advice of its own, and none is to do what was done already."""
    made = tuple(checked(False, one) if one == "answers" else checked(one) for one in checks)
    own = replace(good(), checks=made, scores=(Score("accuracy", 9, score, 1.0),), precision=precision)
    [advice] = verdict(report(validations=(own,))).advice
    assert says in advice
    assert never not in advice
    assert escape(advice) in to_markdown(report(validations=(own,)))
    assert verdict(report(validations=(good(),))).advice == ()
