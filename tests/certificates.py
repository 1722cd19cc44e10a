"""Certificates made by the commands that the documentation shows."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .docs.pages import DOCS
from .docs.snippets import read_page


def make_certificates(folder: Path) -> Path:
    """Fills a folder with `server`, `caller`, `authority.key` and `control.key`."""
    [block] = [block.text for block in read_page(DOCS / "how-to" / "tls.md").blocks if "openssl req" in block.text]
    result = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


def sign(folder: Path, name: str, subject_alternative: str) -> Path:
    """A folder with one more certificate of the same authority, for other names."""
    made = folder / name
    made.mkdir()
    command = [
        *(
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "365",
        ),
        *("-CA", "server/ca.crt", "-CAkey", "authority.key", "-addext", "basicConstraints=critical,CA:FALSE"),
        *("-subj", f"/CN={name}", "-addext", f"subjectAltName={subject_alternative}"),
        *("-keyout", f"{name}/tls.key", "-out", f"{name}/tls.crt"),
    ]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return made
