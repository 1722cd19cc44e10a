"""Tables of any content fit the width, and keep every word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hf2triton.cli.layout import table_lines

WORDS = st.text(st.sampled_from("abcxyz0123456789./_-%é日本"), min_size=1, max_size=24)
CELLS = st.lists(WORDS, max_size=12).map(" ".join)


@st.composite
def tables(draw):
    columns = draw(st.lists(WORDS, min_size=1, max_size=8))
    rows = st.lists(CELLS, min_size=len(columns), max_size=len(columns))
    return draw(CELLS), columns, draw(st.lists(rows, max_size=6))


@given(tables(), st.integers(4, 120), st.booleans())
def test_tables_fit_and_lose_nothing(table, width, ruled):
    """Each line fits, unless it consists of one word that does not. All words of all cells are there, as often as given."""
    title, columns, rows = table
    lines = table_lines(title, columns, rows, width, ruled)
    assert all(cell_len(line) <= width or len(line.split()) == 1 for line in lines)
    words = " ".join(lines).split()
    for word in {word for row in rows for cell in row for word in cell.split()}:
        given = sum(cell.split().count(word) for row in rows for cell in row)
        assert words.count(word) >= given
    assert set(title.split()) <= set(words)


def test_a_table_that_fits_is_aligned():
    """Columns are separated by two blanks, and numbers are on the right."""
    lines = table_lines("a title", ("name", "size"), [("x [3]", 5), ("longer", 12.5)], 80)
    assert lines == ["a title", "name    size", "x [3]      5", "longer  12.5"]


def test_prose_wraps_at_words():
    """The long column is narrowed, the others are not."""
    rows = [("config-version", "error", "the config serves version 3, which is not in the folder of the model")]
    assert table_lines("r", ("rule", "severity", "what"), rows, 60) == [
        "r",
        "rule            severity  what",
        "config-version  error     the config serves version 3, which",
        "                          is not in the folder of the model",
    ]


def test_long_names_have_their_own_line():
    """Where columns would take more lines, or do not fit, the rest of a row is below its name."""
    name = "a-model-with-a-very-long-name-" * 2
    assert table_lines("r", ("name", "task", "ms"), [(name, "text-classification", 3)], 62) == [
        "r",
        "name",
        "  task                 ms",
        name,
        "  text-classification   3",
    ]


def test_a_narrow_terminal_gets_a_list():
    """Where not even the rest fits, each cell is after its column's name."""
    rows = [("minilm", 1, "sentence-similarity", "fp16", "package:minilm")]
    assert table_lines("r", ("name", "version", "task", "precision", "source"), rows, 42) == [
        "r",
        "minilm",
        "  version 1    task sentence-similarity",
        "  precision fp16    source package:minilm",
    ]


@pytest.mark.parametrize("rows", [[], [("", "", "")]])
def test_nothing_to_show(rows):
    """Tables without rows or with empty cells have their header."""
    assert table_lines("r", ("name", "task", "source"), rows, 80)[1] == "name  task  source"
