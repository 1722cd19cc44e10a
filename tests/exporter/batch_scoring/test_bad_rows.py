"""Rows of every bad kind among good ones: each says why in its own row, and the run goes on."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib

import pytest
from PIL import Image

from .conftest import read_lines, write_lines

#: What Pillow says of this GIF is what decided, once, that the model was not there.
GIF = b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0, 0, 0) + b"!\xfe\x00;"


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG whose header says so, and whose data may be anything."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def saved(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 30), "red").save(file, format)
    return file.getvalue()


#: What is wrong -> what the row says of it.
IMAGES = {
    GIF: "the image cannot be read as GIF: image not found in GIF frame",
    b"GIF89a": "the image cannot be read as GIF",
    b"Request for unknown model: 'clothes' is not found": "not an image in a format that is taken",
    b"\x89PNG\r\n\x1a\nStub process is not healthy.": "the image cannot be read as PNG",
    png(100_000, 100_000): "10,000,000,000 in all; at most",
    png(3, 3, b"short"): "the image cannot be read as PNG",
    saved("JPEG")[:200]: "the image cannot be read as JPEG",
    saved("WEBP")[:40]: "the image cannot be read as WEBP",
    saved("TIFF")[:20]: "the image cannot be read as TIFF",
    saved("BMP")[:30]: "the image cannot be read as BMP",
    b"RIFF\0\0\0\0WEBP" + b"\xff" * 50: "the image cannot be read as WEBP",
    b"II*\0" + b"\xff" * 50: "the image cannot be read as TIFF",
    b"\xff\xd8\xff" + b"\0" * (1 << 25): "at most 33,554,432 are taken",
}


def test_bad_images_are_errors_of_their_rows(run, tmp_path):
    """Files of every kind that cannot be read, beside one that can; paths that are none; values that are no images."""
    good = tmp_path / "good.png"
    good.write_bytes(saved("PNG"))
    rows, expected = [], []
    for index, (content, why) in enumerate(IMAGES.items()):
        (tmp_path / f"bad {index}").write_bytes(content)
        rows += [{"image": f"bad {index}"}, {"image": "good.png"}]
        expected += [why, None]
    for value, why in (
        (7, "image should be a path, a URL or bytes"),
        ("no such file", "there is no file"),
        ("x" * 5_000, "there is no file"),
        ("a\0b", "there is no file"),
        (".", "there is no file"),
        ({"path": None}, "image should be a path"),
        ("http://localhost:1/x.png", "cannot be fetched"),
        ("http://[", "cannot be fetched"),
        ("https://\ud800", "cannot be fetched"),
        (base64.b64encode(saved("PNG")).decode(), "there is no file"),
        ([], "it has no image"),
        (None, "it has no image"),
    ):
        rows.append({"image": value})
        expected.append(why)
    rows.append({"image": "good.png"})
    source = write_lines(tmp_path / "in.jsonl", rows)
    summary = run(source, tmp_path / "out.jsonl", name="clothes")
    found = read_lines(tmp_path / "out.jsonl")
    told = [row.get("error") for row in found]
    assert [why is None or why in (error or "") for why, error in zip([*expected, None], told, strict=True)] == [
        True
    ] * len(rows), told
    assert [error is None for error in told] == [why is None for why in [*expected, None]]
    assert summary.errors == sum(why is not None for why in expected)
    assert {json.dumps(row["answer"]) for row in found if row.get("error") is None} == {json.dumps(found[1]["answer"])}


@pytest.mark.parametrize("first", [True, False])
def test_texts_are_answered_whatever_they_hold(run, tmp_path, rows, first):
    """Words that mean something elsewhere, text that cannot be sent and texts that are too long; the first row may be bad."""
    triggers = ["not found", "Stub process 'x' is not healthy.", "Socket closed", "UNAVAILABLE: busy", "\u2028", "\0"]
    bad = [{"text": "x" * (1 << 20) + "x"}, {"text": "\ud800"}, {"text": ["a"]}, {"text": {"a": 1}}, {"text": True}]
    good = [{"text": text} for text in triggers] + [{"text": rows[0]["text"]}]
    source = write_lines(tmp_path / "in.jsonl", [*bad, *good] if first else [*good, *bad])
    summary = run(source, tmp_path / "out.jsonl")
    found = read_lines(tmp_path / "out.jsonl")
    assert (summary.rows, summary.errors) == (len(bad) + len(good), len(bad))
    errors = [row["error"] for row in found if row.get("error")]
    assert "at most 1,048,576 are taken" in errors[0]
    assert "text 0" not in "".join(errors)
    assert all(row["answer"]["label"] for row in found if not row.get("error"))
