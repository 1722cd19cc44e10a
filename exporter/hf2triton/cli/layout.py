"""Lays out a table in lines of a given width. Words are never cut: names, files and numbers stay whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from hf2triton_client.report.tables import numeric_columns

#: Blanks between two columns, and before the details of a row.
_GAP, _INDENT = 2, 2
#: Cells up to this width stay on one line; longer ones wrap at words, and their columns are at least as wide.
_SHORT = 18

Cells = Sequence[str]


def table_lines(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], width: int, ruled: bool = False
) -> list[str]:
    """The title, and the rows in columns, whose long cells wrap. Where that takes fewer lines, the first cell of a row is on its
    own line, and the others are below it. Where columns do not fit at all, each of these is after the name of its column.

    A line is longer than `width` only if one of its words is. `ruled`: a line is drawn below the columns' names.
    """
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    header = [" ".join(column.split()) for column in columns]
    forms = [form for form in (_in_columns(header, cells, width, ruled), _below(header, cells, width, ruled)) if form]
    shortest = min(forms, key=len, default=None)
    return wrapped(title, width) + (
        shortest or [line for row in cells for line in (*wrapped(row[0], width), *_labelled(header, row, width))]
    )


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines that break between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _in_columns(header: Cells, cells: Sequence[Cells], width: int, ruled: bool) -> list[str] | None:
    """The rows below the columns' names; None if they do not fit."""
    widths = _widths(header, cells, width)
    if widths is None:
        return None
    right = numeric_columns(cells) if cells else [False] * len(header)
    lines = _row(header, widths, right)
    if ruled:
        lines.append("─" * (sum(widths) + _GAP * (len(widths) - 1)))
    return lines + [line for row in cells for line in _row(row, widths, right)]


def _below(header: Cells, cells: Sequence[Cells], width: int, ruled: bool) -> list[str] | None:
    """The same with the first cell of each row on its own line; None if the others do not fit."""
    rest = [row[1:] for row in cells]
    widths = _widths(header[1:], rest, width - _INDENT) if header[1:] else None
    if widths is None:
        return None
    right = numeric_columns(rest) if rest else [False] * len(widths)
    lines = []
    for row in [header, *cells]:
        lines += wrapped(row[0], width)
        lines += [f"{' ' * _INDENT}{line}".rstrip() for line in _row(row[1:], widths, right)]
        if row is header and ruled:
            lines.append("─" * (_INDENT + sum(widths) + _GAP * (len(widths) - 1)))
    return lines


def _widths(header: Cells, cells: Sequence[Cells], width: int) -> list[int] | None:
    """The width of each column, or None if they do not fit. The widest columns are narrowed first."""
    columns = [[row[place] for row in cells] for place in range(len(header))]
    widths = [max(map(cell_len, (name, *column))) for name, column in zip(header, columns, strict=True)]
    least = [_least(name, column) for name, column in zip(header, columns, strict=True)]
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        narrowable = [place for place, least_width in enumerate(least) if widths[place] > least_width]
        if not narrowable:
            return None
        widths[max(narrowable, key=widths.__getitem__)] -= 1
        excess -= 1
    return widths


def _least(name: str, column: Cells) -> int:
    """The least width of a column: its longest word, and short cells whole."""
    words = (cell_len(word) for text in (name, *column) for word in text.split())
    return max((*words, *(min(cell_len(cell), _SHORT) for cell in column), 1))


def _row(row: Cells, widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """The lines of a row, whose cells may have several."""
    parts = [wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for place in range(max(map(len, parts))):
        own = [part[place] if place < len(part) else "" for part in parts]
        blanks = [" " * (width - cell_len(text)) for text, width in zip(own, widths, strict=True)]
        aligned = [
            blank + text if is_right else text + blank for text, blank, is_right in zip(own, blanks, right, strict=True)
        ]
        lines.append((" " * _GAP).join(aligned).rstrip())
    return lines


def _labelled(header: Cells, row: Cells, width: int) -> list[str]:
    """The cells after the first, each after its column's name, as many on a line as fit."""
    lines: list[str] = []
    for name, cell in zip(header[1:], row[1:], strict=True):
        first, *more = wrapped(f"{name} {cell}", width - 2 * _INDENT)
        if lines and not more and cell_len(lines[-1]) + 2 * _GAP + cell_len(first) <= width:
            lines[-1] += f"{' ' * 2 * _GAP}{first}"
            continue
        for line, indent in ((first, _INDENT), *((line, 2 * _INDENT) for line in more)):
            lines.append(" " * max(0, min(indent, width - cell_len(line))) + line)
    return lines
