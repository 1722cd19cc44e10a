"""Real texts of mixed length: 2,000 of them, about 30 tokens on average, with a tail to 256.

Reviews, tweets and editorials from the source distribution of `vaderSentiment` 3.3.2 (MIT licence), fetched with pip and
kept in a cache folder. Editorials come sentence by sentence with their article's number; neighbouring sentences are joined
into paragraphs of 1 to 12 sentences, which makes the tail.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tarfile
import tempfile
from itertools import groupby
from pathlib import Path

CACHE = Path(tempfile.gettempdir()) / "hf2triton-benchmark-texts-1.txt"
_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"


def mixed_texts(count: int = 2000) -> list[str]:
    """The same texts in the same order each time."""
    if not CACHE.exists():
        CACHE.write_text("\n".join(_make()), encoding="utf-8")
    return CACHE.read_text(encoding="utf-8").split("\n")[:count]


def _make() -> list[str]:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        package = "vaderSentiment==3.3.2"
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", package]
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
        path = next(Path(folder).glob("vader*.tar.gz"))
        with tarfile.open(path) as outer, tarfile.open(fileobj=outer.extractfile(_ARCHIVE)) as archive:
            rows = {name: _rows(archive, name) for name in ("movieReviewSnippets", "tweets", "nytEditorialSnippets")}
    paragraphs = []
    for _, sentences in groupby(rows["nytEditorialSnippets"], key=lambda row: row[0].split("_")[0]):
        left = [row[2] for row in sentences]
        while left:
            size = rng.choice((1, 1, 2, 3, 5, 8, 12))
            paragraphs.append(" ".join(left[:size]))
            left = left[size:]
    singles = [row[2] for name in ("movieReviewSnippets", "tweets") for row in rows[name]]
    texts = rng.sample(singles, 1750) + rng.sample(paragraphs, 250)
    rng.shuffle(texts)
    return texts


def _rows(archive: tarfile.TarFile, name: str) -> list[list[str]]:
    lines = archive.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read().decode("utf-8", "replace")
    rows = [line.split("\t") for line in lines.splitlines()]
    return [row for row in rows if len(row) == 3 and row[2].strip()]
