"""Writes reports as JSON, Markdown or an HTML page, and reads them from JSON.

Only reading needs pydantic, and only the page needs jinja2; both come with the extra `report`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ReportError, UnknownForm
from ..evaluation.results import Validation
from ..loadgen.results import Benchmark
from .json_form import from_json, to_json
from .machine import describe_machine
from .model import FORMAT, Report

if TYPE_CHECKING:
    from .comparison import Comparison

#: The largest file that is read as a report. A complete report is smaller than a megabyte.
_MOST_BYTES = 256 << 20


def new_report(
    server: str = "", validations: Sequence[Validation] = (), benchmarks: Sequence[Benchmark] = ()
) -> Report:
    """A report of findings that were made just now, on this machine."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Report(now, metadata.version("hf2triton"), describe_machine(), server, tuple(validations), tuple(benchmarks))


def write_report(report: Report, path: Path, comparison: Comparison | None = None) -> None:
    """Writes a report in the format that the file's ending names, one of FORMS. Pages and Markdown also show the comparison
    with an earlier run. Raises UnknownForm."""
    require_form(path)
    text = FORMS[path.suffix.lower()][0](report, comparison)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def require_form(path: Path) -> None:
    """Checks that a report can be written to a path, before hours are spent on its content.

    Raises UnknownForm for an ending that does not name a format, and ModuleNotFoundError for a package that the format needs.
    """
    if path.suffix.lower() not in FORMS:
        raise UnknownForm(f"{str(path)!r} names no form of a report by its ending; known are {', '.join(FORMS)}")
    for package in FORMS[path.suffix.lower()][1]:
        import_module(package)


def read_report(path: Path) -> Report:
    """Reads a report that `write_report` wrote as JSON. Raises ReportError."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ReportError(f"{path} is not a report: it has more than {_MOST_BYTES >> 20} MiB")
        written = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{path} cannot be read as a report: {reason}; give the .json that --report wrote") from error
    if not isinstance(written, dict) or "machine" not in written or "format" not in written:
        raise ReportError(
            f"{path} is not a report of a validation or a benchmark; give the .json that their --report wrote"
        )
    if written["format"] != FORMAT:
        raise ReportError(f"{path} has format {written['format']!r}, this version of hf2triton reads {FORMAT}")
    try:
        return from_json(written)
    except ReportError as error:
        raise ReportError(f"{path} {error}") from error


def _write_json(report: Report, comparison: Comparison | None) -> str:
    return json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _write_markdown(report: Report, comparison: Comparison | None) -> str:
    from .markdown import to_markdown

    return to_markdown(report, comparison)


def _write_page(report: Report, comparison: Comparison | None) -> str:
    from .html import to_page

    return to_page(report, comparison)


#: A file's ending -> the function that makes the text, and the packages it needs.
FORMS: dict[str, tuple[Callable[[Report, Comparison | None], str], tuple[str, ...]]] = {
    ".json": (_write_json, ()),
    ".md": (_write_markdown, ()),
    ".html": (_write_page, ("jinja2",)),
}
