"""A report as GitHub's Markdown: the verdict first, key figures visible, details folded; fits into a step's summary."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .comparison import Comparison
from .model import Report
from .tables import Table, comparison_tables, failures_table, figures_table, numeric_columns, tables
from .verdict import STATES, verdict

#: GitHub shows no step summary above 1 MiB. Details that do not fit are left out, and a note says so.
MOST_BYTES = (1 << 20) - 4096
_SIGNS = {"passed": "✅", "failed": "❌", "measured": "📏"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def to_markdown(report: Report, comparison: Comparison | None = None) -> str:
    """The report in Markdown, in at most MOST_BYTES bytes of UTF-8."""
    said = verdict(report, comparison)
    lines = [f"{_SIGNS[said.state]} **{STATES[said.state][0]}.** {escape(said.summary)}", ""]
    lines += [f"- {escape(reason)}" for reason in said.reasons]
    lines += [f"- 💡 {escape(advice)}" for advice in said.advice]
    lines += [f"- ⚠️ {escape(caution)}" for caution in said.cautions]
    blocks, left = ["\n".join(lines).rstrip()], []
    open_ones = [figures_table(report), *map(failures_table, report.validations)]
    open_ones += comparison_tables(comparison) if comparison else []
    details = [own for own in tables(report) if own not in open_ones]
    size = len(blocks[0].encode())
    for own in [one for one in (*open_ones, *details) if one.rows]:
        block = _folded(own) if own in details else _table(own)
        if size + len(block.encode()) + 2 > MOST_BYTES:
            left.append(own)
            continue
        size += len(block.encode()) + 2
        blocks.append(block)
    if left:
        rows = sum(len(own.rows) for own in left)
        blocks.append(f"{len(left)} more tables with {rows:,} rows do not fit here: the JSON and the page hold them.")
    return "\n\n".join(blocks) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows unchanged, on one line."""
    return _SPECIAL.sub(r"\\\1", _html(text))


def _html(text: str) -> str:
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _folded(own: Table) -> str:
    return f"<details><summary>{_html(own.title)}</summary>\n\n{_table(own, title=False)}\n\n</details>"


def _table(own: Table, title: bool = True) -> str:
    right = numeric_columns(own.rows)
    lines = [f"**{escape(own.title)}**", ""] if title else []
    lines.append(_line([escape(column) for column in own.columns]))
    lines.append(_line(["--:" if one else ":--" for one in right]))
    for place, row in enumerate(own.rows):
        cells = [escape(cell) for cell in row]
        lines.append(_line([f"**{cell}**" if place in own.bad and cell.strip() else cell for cell in cells]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
