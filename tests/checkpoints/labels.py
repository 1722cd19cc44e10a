"""Labels, heads and configs."""

from __future__ import annotations

from .case import Case

CASES: tuple[Case, ...] = ()
