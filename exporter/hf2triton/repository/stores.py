"""Where a repository is kept: a folder, or objects in S3, Google Cloud Storage or Azure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from .folder import Folder
from .store import Store

#: URL scheme that fsspec opens -> the package that it needs for it; None if fsspec alone is enough.
SCHEMES: Mapping[str, str | None] = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "memory": None,
}


def open_store(place: str | Path) -> Store:
    """The repository in a folder or at a URL. Raises UsageError and MissingExtra."""
    scheme, separator, rest = str(place).partition("://")
    if not separator:
        return Folder(Path(place))
    if scheme == "file":
        return Folder(Path(rest))
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in ("file", *SCHEMES))
        raise UsageError(f"{place}: a repository is kept in a folder or at a URL that begins with one of {known}")
    from .objects import Objects

    return Objects(str(place), SCHEMES[scheme])
