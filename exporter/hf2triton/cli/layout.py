"""Lays out a table in lines of a given width. Words are never cut: names, files and numbers stay whole."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from hf2triton_client.report.tables import numeric_columns

#: Blanks between two columns, and before the details of a block.
_GAP, _INDENT = 2, 2
#: Cells up to this width stay on one line; longer ones wrap at words, and their columns are at least as wide.
_SHORT = 18


def table_lines(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], width: int, ruled: bool = False
) -> list[str]:
    """The title, and the rows in columns. Where columns do not fit, each row is a block: its first cell, and below it the
    others with their columns' names. `ruled`: a line is drawn below the columns' names.

    A line is longer than `width` only if one of its words is.
    """
    cells = [[" ".join(str(cell).split()) for cell in row] for row in rows]
    header = [" ".join(column.split()) for column in columns]
    widths = _widths(header, cells, width)
    lines = wrapped(title, width)
    if widths is None:
        for row in cells:
            lines += _block(header, row, width)
        return lines
    right = numeric_columns(cells) if cells else [False] * len(header)
    lines += _row(header, widths, right)
    if ruled:
        lines.append("─" * (sum(widths) + _GAP * (len(widths) - 1)))
    for row in cells:
        lines += _row(row, widths, right)
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines that break between words."""
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]


def _widths(header: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """The width of each column, or None if they do not fit. The widest columns are narrowed first."""
    columns = [[row[place] for row in cells] for place in range(len(header))]
    widths = [max(map(cell_len, (name, *column))) for name, column in zip(header, columns, strict=True)]
    least = [_least(name, column) for name, column in zip(header, columns, strict=True)]
    excess = sum(widths) + _GAP * (len(widths) - 1) - width
    while excess > 0:
        spare = [wide - narrow for wide, narrow in zip(widths, least, strict=True)]
        widest = max((place for place in range(len(widths)) if spare[place]), key=widths.__getitem__, default=None)
        if widest is None:
            return None
        widths[widest] -= 1
        excess -= 1
    return widths


def _least(name: str, column: Sequence[str]) -> int:
    """The least width of a column: its longest word, and short cells whole."""
    words = (cell_len(word) for text in (name, *column) for word in text.split())
    return max((*words, *(min(cell_len(cell), _SHORT) for cell in column), 1))


def _row(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    """The lines of a row, whose cells may have several."""
    parts = [wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for place in range(max(map(len, parts))):
        own = [part[place] if place < len(part) else "" for part in parts]
        aligned = (
            " " * (width - cell_len(text)) * is_right + text + " " * (width - cell_len(text)) * (not is_right)
            for text, width, is_right in zip(own, widths, right, strict=True)
        )
        lines.append((" " * _GAP).join(aligned).rstrip())
    return lines


def _block(header: Sequence[str], row: Sequence[str], width: int) -> list[str]:
    """A row below its first cell: `name  text` for each further cell that is not empty."""
    lines = wrapped(row[0], width)
    widest = max((cell_len(name) for name in header[1:]), default=0)
    for name, cell in zip(header[1:], row[1:], strict=True):
        if not cell:
            continue
        label = " " * _INDENT + name + " " * (widest - cell_len(name)) + " " * _GAP
        room = width - cell_len(label)
        if max(map(cell_len, cell.split())) <= room:
            first, *more = wrapped(cell, room)
            lines += [label + first, *(" " * cell_len(label) + line for line in more)]
            continue
        lines += wrapped(f"{' ' * _INDENT}{name}", width) if cell_len(name) + _INDENT > width else [label.rstrip()]
        for line in wrapped(cell, width - 2 * _INDENT):
            lines.append(" " * max(0, min(2 * _INDENT, width - cell_len(line))) + line)
    return lines
