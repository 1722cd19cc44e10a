"""Tables that are extended by a file: each module of a package contributes one row."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TypeVar

Row = TypeVar("Row")


def rows_of(package: str, name: str, kind: type[Row]) -> list[Row]:
    """What the modules of a package call `name`, in the order of the modules' names; modules without it are passed over.

    Raises TypeError for a row of another kind.
    """
    rows = []
    for module in sorted(found.name for found in pkgutil.iter_modules(import_module(package).__path__)):
        row = getattr(import_module(f"{package}.{module}"), name, None)
        if row is not None and not isinstance(row, kind):
            raise TypeError(f"{name} in {package}.{module} must be a {kind.__name__}, not a {type(row).__name__}")
        rows += [] if row is None else [row]
    return rows
