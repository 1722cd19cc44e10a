"""Reports of validations and benchmarks: reading, writing, and verdicts."""

from __future__ import annotations

from .io import FORMS, new_report, read_report, require_form, write_report

__all__ = ["FORMS", "new_report", "read_report", "require_form", "write_report"]
