"""Files that say of themselves what would take too long or too much are refused by what they say; ordinary ones are read."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from hf2triton.triton_models import image_files, images
from hf2triton.triton_models.image_files import MAX_EXIF, EncodedImage, Refused
from hf2triton.triton_models.images import ImageEncoder

from .pictures import (
    CLIP,
    COUNTS,
    DEFLATE,
    OFFSETS,
    ORIENTATION,
    RESOLUTION,
    ROWS_PER_STRIP,
    TILE_COUNTS,
    TILE_LENGTH,
    TILE_OFFSETS,
    TILE_WIDTH,
    VIT,
    bmp,
    chunk,
    encoded,
    exif_within,
    noise,
    png,
    progressive,
    strips,
    tiff,
    tiles,
)

MAX_PIXELS = 1 << 26
EDGE = image_files.MAX_EDGE
#: A scan of the 64 x 64 pixels is one of 8,000 x 8,000 as well: what is not there is black.
HUGE = (8000, 8000)


#: What is wrong -> the file, and the message that refuses it.
REFUSED = {
    "a PNG that is too high": (
        lambda: png(1, EDGE + 1),
        "the image is 1 x 1,048,577 pixels; an edge may have at most 1,048,576",
    ),
    "a PNG that is too wide": (
        lambda: png(EDGE + 1, 1),
        "the image is 1,048,577 x 1 pixels; an edge may have at most 1,048,576",
    ),
    "a bitmap that is too wide": (
        lambda: bmp(EDGE + 1, 1, b"\0\1"),
        "the image is 1,048,577 x 1 pixels; an edge may have at most 1,048,576",
    ),
    "a TIFF that is too high": (
        lambda: tiff(1, EDGE + 1, strips(1, EDGE + 1), b"\0", DEFLATE),
        "the image is 1 x 1,048,577 pixels; an edge may have at most 1,048,576",
    ),
    "runs of 8 bits": (
        lambda: bmp(4096, 2049, b"\xff\5" * 99),
        "the image is a bitmap in runs of 4,096 x 2,049 pixels, 8,392,704 in all; at most 8,388,608 are taken",
    ),
    "runs of 4 bits": (
        lambda: bmp(8000, 8000, b"\xff\5" * 99, bits=4),
        "the image is a bitmap in runs of 8,000 x 8,000 pixels, 64,000,000 in all; at most 8,388,608 are taken",
    ),
    "ends of rows instead of runs": (
        lambda: bmp(60_000, 1_100, b"\0\0" * 1_100),
        "the image is a bitmap in runs of 60,000 x 1,100 pixels, 66,000,000 in all; at most 8,388,608 are taken",
    ),
    "scans": (
        lambda: progressive(*HUGE, repeated=7),
        "the image is 8,000 x 8,000 pixels in more than 16 scans, which are the most that are taken",
    ),
    "scans behind comments": (
        lambda: progressive(*HUGE, b"\xff\xfe\0\4\xff\xd9", 7),
        "the image is 8,000 x 8,000 pixels in more than 16 scans, which are the most that are taken",
    ),
    "scans behind markers without a length": (
        lambda: progressive(*HUGE, b"\xff\xd0\xff\x01", 7),
        "the image is 8,000 x 8,000 pixels in more than 16 scans, which are the most that are taken",
    ),
    "scans behind fill": (
        lambda: progressive(*HUGE, b"\xff" * 9, 7),
        "the image is 8,000 x 8,000 pixels in more than 16 scans, which are the most that are taken",
    ),
    "a huge tile": (
        lambda: tiff(16, 16, tiles(1, 30_000, 30_000), zlib.compress(bytes(9)), DEFLATE),
        "the image has tiles of 30,000 x 30,000 pixels, 900,000,000 in all; at most 67,108,864 are taken",
    ),
    "strips": (
        lambda: tiff(1, 65_537, strips(65_537), bytes(65_537)),
        "the image has 65,537 strips or tiles; at most 65,536 are taken",
    ),
    "tiles": (
        lambda: tiff(257, 256, tiles(257 * 256, 1, 1), b"\0"),
        "the image has 65,792 strips or tiles; at most 65,536 are taken",
    ),
    "a million tiles": (
        lambda: tiff(1024, 1024, tiles(1 << 20, 1, 1), b"\0"),
        "the image has 1,048,576 strips or tiles; at most 65,536 are taken",
    ),
    "numbers of a tag": (
        lambda: tiff(16, 16, strips(1, 16) | {RESOLUTION: [1] * ((1 << 22) - 8)}, bytes(256)),
        "the image has 4,194,305 numbers in its tags; at most 4,194,304 are taken",
    ),
    "numbers of a tag within EXIF": (lambda: exif_within(1 << 22), "the image has 4,194,314 numbers in its tags"),
    "a frame that is larger than its GIF": (
        lambda: encoded(noise(1, 1).quantize(2), "GIF").replace(b",\0\0\0\0\1\0\1\0", b",\0\0\0\0\xff\xff\xff\xff"),
        "the image has too many pixels; at most 67,108,864 are taken",
    ),
}


@pytest.fixture
def never_decoded(monkeypatch):
    """Decoding anything fails the test."""

    def decode(*arguments):
        pytest.fail("it was decoded")

    monkeypatch.setattr(EncodedImage, "decoded", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)


def encode(spec, data, max_pixels=MAX_PIXELS):
    [result] = ImageEncoder(spec, 1 << 25, max_pixels, 1).encode([data])
    return result


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_says_is_enough_to_refuse_it(name, never_decoded):
    """Nothing is decoded, the file is small, and the message names the limit."""
    make, message = REFUSED[name]
    data = make()
    assert len(data) < 17 << 20
    result = encode(VIT, data)
    assert isinstance(result, Refused)
    assert str(result).startswith(message)


SMALL = encoded(noise(64, 64), "JPEG")
GIF = encoded(noise(10, 10).quantize(2), "GIF")
PALETTE = 13 + (3 << ((GIF[10] & 7) + 1))
#: Files of many parts: some of them are found by the header, others while decoding.
PARTS = {
    "chunks before": lambda many: png(8, 8, bytes(64), before=chunk(b"abCd", b"") * many),
    "chunks after": lambda many: png(8, 8, bytes(64), after=chunk(b"abCd", b"") * many),
    "chunks of text": lambda many: png(8, 8, bytes(64), before=chunk(b"tEXt", b"key\0value") * many),
    "empty chunks of pixels": lambda many: png(8, 8, bytes(64), before=chunk(b"IDAT", b"") * many),
    "pixels in bytes": lambda many: png(64, 64, noise(64, 64, "L").tobytes(), size=1),
    "segments": lambda many: SMALL[:2] + b"\xff\xe5\0\2" * many + SMALL[2:],
    "comments of a JPEG": lambda many: SMALL[:2] + b"\xff\xfe\0\2" * many + SMALL[2:],
    "fill": lambda many: SMALL[:2] + b"\xff" * many + SMALL[2:],
    "junk": lambda many: SMALL[:2] + b"\xff\0" * many + SMALL[2:],
    "segments between scans": lambda many: progressive(64, 64, b"\xff\xfe\0\2" * many, 1),
    "a comment in bytes": lambda many: GIF[:PALETTE] + b"!\xfe" + b"\1x" * many + b"\0" + GIF[PALETTE:],
    "junk in a GIF": lambda many: GIF[:PALETTE] + b"\0" * many + GIF[PALETTE:],
    "runs": lambda many: bmp(100, 100, b"\1\5" * many),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_counted(name, monkeypatch):
    """Whatever Pillow reads piece by piece ends at so many pieces."""
    monkeypatch.setattr(image_files, "MAX_READS", 1000)
    result = encode(VIT, PARTS[name](1200))
    assert str(result) == "the image has too many parts; at most 1,000 are read"


def test_the_limit_of_parts_itself():
    """Half a million bytes of fill, with nothing patched."""
    data = PARTS["fill"](image_files.MAX_READS)
    assert str(encode(VIT, data)) == "the image has too many parts; at most 524,288 are read"
    assert isinstance(encode(VIT, PARTS["fill"](10_000)), np.ndarray)


@pytest.mark.parametrize("place", ["before", "after"])
def test_exif_is_limited(place):
    """Wherever it is in a PNG, before its numbers are unpacked; as much as JPEGs can hold is read."""
    for size, taken in ((60_000, True), (MAX_EXIF, True), (MAX_EXIF + 1, False)):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        data = exif.tobytes()[6:].ljust(size - 6, b"\0")  # before it Pillow puts "Exif", and two zeros
        result = encode(VIT, png(8, 8, bytes(64), **{place: chunk(b"eXIf", data)}))
        assert isinstance(result, np.ndarray) == taken
    assert str(result) == "the image has 1,048,577 bytes of EXIF; at most 1,048,576 are taken"


def test_rows_that_are_resized_first(never_decoded):
    """Pillow resizes the rows, and then the columns: what lies between may be larger than what was, and what will be."""
    wide = VIT | {"size": {"height": 10, "width": 400}, "image_size": None}
    assert str(encode(wide, png(60, 60), max_pixels=20_000)) == (
        "the image, 60 x 60 pixels, would be resized to 400 x 10 by way of 400 x 60, 24,000 in all; at most 20,000 are taken"
    )


def test_a_thin_image_whose_rows_alone_are_too_many(monkeypatch):
    """It is read, as it would be taken if it were turned upright, but never resized."""
    monkeypatch.setattr(Image.Image, "resize", lambda *arguments: pytest.fail("it was resized"))
    assert str(encode(VIT, png(1, EDGE, bytes(EDGE)))) == (
        "the image, 1 x 1,048,576 pixels, would be resized to 224 x 224 by way of 224 x 1,048,576, 234,881,024 in all;"
        " at most 67,108,864 are taken"
    )


def test_what_is_turned_upright_is_refused_by_either_shape(never_decoded):
    """A thin image, which lies on its side, may become huge once it stands."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    message = str(encode(CLIP, encoded(Image.new("L", (65_000, 1)), exif=exif), max_pixels=60_000_000))
    assert message == (
        "the image, 65,000 x 1 pixels, would be resized to 2,080,000 x 32, 66,560,000 in all; at most 60,000,000 are taken"
    )


#: Files that are near a limit, or look like others that are not taken.
TAKEN = {
    "a progressive JPEG": lambda: encoded(noise(300, 200), "JPEG", progressive=True),
    "a progressive JPEG without subsampling": lambda: encoded(noise(300, 200), "JPEG", progressive=True, subsampling=0),
    "a progressive JPEG in grey": lambda: encoded(noise(300, 200, "L"), "JPEG", progressive=True),
    "a progressive JPEG in CMYK": lambda: encoded(noise(300, 200, "CMYK"), "JPEG", progressive=True),
    "a progressive JPEG with restarts": lambda: encoded(
        noise(300, 200), "JPEG", progressive=True, restart_marker_rows=1
    ),
    "a small JPEG with many scans": lambda: progressive(64, 64, b"\xff\xfe\0\4ab", 200),
    "a JPEG in one scan with many comments": lambda: SMALL[:2] + b"\xff\xfe\0\4ab" * 200 + SMALL[2:],
    "a bitmap": lambda: encoded(noise(301, 199), "BMP"),
    "a bitmap in grey": lambda: encoded(noise(301, 199, "L"), "BMP"),
    "runs of 8 bits": lambda: bmp(
        200, 100, b"".join(bytes([100, row, 100, 255 - row, 0, 0]) for row in range(100)) + b"\0\1"
    ),
    "runs of 4 bits": lambda: bmp(200, 100, b"".join(bytes([200, row, 0, 0]) for row in range(100)) + b"\0\1", bits=4),
    "a TIFF in strips": lambda: encoded(noise(300, 200), "TIFF", strip_size=900),
    "a TIFF in strips of a row": lambda: tiff(1, 900, strips(900), noise(1, 900, "L").tobytes()),
    "a compressed TIFF in many strips": lambda: tiff(
        *(1, 70_000, {ROWS_PER_STRIP: [1], OFFSETS: [0] * 70_000, COUNTS: [len(BYTE)] * 70_000}, BYTE, DEFLATE)
    ),
    "a TIFF in tiles": lambda: tiff(
        *(32, 16, {TILE_WIDTH: [16], TILE_LENGTH: [16], TILE_OFFSETS: [0, 256], TILE_COUNTS: [256] * 2}),
        noise(16, 32, "L").tobytes(),
    ),
    "a TIFF in compressed tiles": lambda: tiff(
        *(30, 20, {TILE_WIDTH: [32], TILE_LENGTH: [32], TILE_OFFSETS: [0], TILE_COUNTS: [len(PACKED)]}),
        *(PACKED, DEFLATE),
    ),
    **{
        f"a TIFF, {name}": lambda name=name: encoded(noise(300, 200), "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    },
    "a PNG in many chunks": lambda: png(64, 64, noise(64, 64, "L").tobytes(), size=7),
    "a thin PNG": lambda: encoded(noise(1, 3000)),
    "a GIF with a long comment": lambda: encoded(noise(30, 20).quantize(9), "GIF", comment=b"x" * 9000),
    "a WebP": lambda: encoded(noise(300, 200), "WEBP"),
}
BYTE = zlib.compress(b"\x55")
PACKED = zlib.compress(noise(32, 32, "L").tobytes())


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_ordinary_is_read(name):
    """Pixels are those that Pillow itself opens."""
    data = TAKEN[name]()
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(EncodedImage(data, MAX_PIXELS).decoded("RGB")), expected)
    assert isinstance(encode(VIT, data), np.ndarray)


def test_so_many_scans_are_taken():
    """Sixteen, where an image is as large as is allowed; a smaller one may have more."""
    EncodedImage(progressive(*HUGE, repeated=6), MAX_PIXELS)
    with pytest.raises(Refused, match="more than 16 scans"):
        EncodedImage(progressive(*HUGE, repeated=7), MAX_PIXELS)
    EncodedImage(progressive(4000, 4000, repeated=57), MAX_PIXELS)
    with pytest.raises(Refused, match="4,000 x 4,000 pixels in more than 67 scans"):
        EncodedImage(progressive(4000, 4000, repeated=58), MAX_PIXELS)


@pytest.mark.parametrize(
    ("width", "height", "orientation"), [(1, 60_000, 1), (1, 60_000, 6), (60_001, 2, 1), (3000, 50, 1), (50, 3000, 6)]
)
def test_of_an_enlarged_image_only_what_is_kept_is_computed(width, height, orientation, monkeypatch):
    """A thin image's pixels are those that come of resizing it whole, bit for bit."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(noise(width, height), compress_level=1, exif=exif)
    asked = []
    resized_part = images.resized_part
    monkeypatch.setattr(images, "resized_part", lambda *one: asked.append(one) or resized_part(*one))
    actual = encode(CLIP, data)
    assert len(asked) == (max(width, height) > 3000)
    monkeypatch.setattr(images, "_WHOLE", 1 << 40)
    expected = encode(CLIP, data)
    assert len(asked) <= 1
    assert actual.shape == (3, 32, 32)
    np.testing.assert_array_equal(actual, expected)


def test_a_reason_keeps_nothing():
    """What is refused is not kept in memory by its reason."""
    for data in (b"GIF89a", png(1, EDGE), REFUSED["runs of 8 bits"][0]()):
        result = encode(VIT, data)
        assert isinstance(result, Refused)
        assert result.__traceback__ is result.__context__ is result.__cause__ is None
