"""One image file → 8-bit pixels: every kind of file is read right, or refused by name."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from epgraph.data.image import MAX_PIXELS, decode

WIDE = np.array([[0, 255, 256, 1000], [32768, 65279, 65280, 65535]], dtype=np.uint16)
"""16-bit values; the upper 8 bits of each are the right 8-bit value."""

CORNERS = np.array([[10, 20, 30], [40, 50, 60]], dtype=np.uint8)
"""An image that no turn or reflection leaves as it is."""


def pixels(content: bytes) -> list[object]:
    image = decode(content)
    assert image.mode in ("L", "RGB")
    return np.asarray(image).tolist()


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, bits: int, color: int, *, width: int | None = None, extra: bytes = b"") -> bytes:
    """Write a PNG of any kind; ``values`` are rows of samples, packed where they have fewer than 8 bits."""
    size = struct.pack(">IIBBBBB", width or values.shape[1], len(values), bits, color, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2" if bits == 16 else "u1").tobytes() for row in values)
    body = extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + body


def tiff(values: np.ndarray, order: str = "<", *, white_is_zero: bool = False, format: int = 1, bits: int = 0) -> bytes:
    """Write an uncompressed TIFF; ``values`` are (H, W) or (H, W, channels)."""
    height, width, *rest = values.shape
    channels = rest[0] if rest else 1
    bits = bits or values.dtype.itemsize * 8
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    kinds = {1: 0 if white_is_zero else 1, 3: 2, 4: 5}
    tags = {256: width, 257: height, 259: 1, 262: kinds[channels], 277: channels, 278: height, 339: format}
    start = 8 + 2 + 12 * (len(tags) + 3) + 4
    depths = struct.pack(f"{order}{channels}H", *[bits] * channels) if channels > 1 else b""
    long = {258: (3, channels, start if depths else bits), 273: (4, 1, start + len(depths)), 279: (4, 1, len(data))}
    out = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags) + len(long))
    for tag in sorted({**tags, **long}):
        kind, count, value = long.get(tag, (3, 1, tags.get(tag, 0)))
        inline = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        out += struct.pack(f"{order}HHI", tag, kind, count) + inline
    return out + struct.pack(f"{order}I", 0) + depths + data


# Turned by EXIF

TURNS = {
    1: CORNERS,
    2: CORNERS[:, ::-1],
    3: CORNERS[::-1, ::-1],
    4: CORNERS[::-1],
    5: CORNERS.T,
    6: CORNERS[::-1].T,
    7: CORNERS[::-1, ::-1].T,
    8: CORNERS.T[::-1],
}
"""How ``CORNERS`` is shown, by the orientation that EXIF data give."""


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation(format: str, orientation: int) -> None:
    image = Image.fromarray(CORNERS).resize((48, 32), Image.Resampling.NEAREST)
    options = {"lossless": True} if format == "WEBP" else {"quality": 100} if format == "JPEG" else {}
    found = np.asarray(decode(saved(image, format, exif=exif(orientation), **options)).convert("L")).astype(int)
    right = TURNS[orientation]
    assert found.shape == (16 * right.shape[0], 16 * right.shape[1])
    assert np.abs(found[8::16, 8::16] - right).max() <= (2 if format == "JPEG" else 0)


def test_orientation_of_16_bits() -> None:
    image = Image.fromarray(WIDE)
    assert pixels(saved(image, "PNG", exif=exif(6))) == (WIDE >> 8)[::-1].T.tolist()


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    "damaged", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\1\0"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_says_nothing(format: str, damaged: bytes) -> None:
    image = Image.fromarray(np.repeat(CORNERS[:, :, None], 3, axis=2))
    assert pixels(saved(image, format, exif=damaged)) == pixels(saved(image, format))


# Transparent pixels

WHITE, BLACK, RED = [255] * 3, [0] * 3, [255, 0, 0]


def test_transparent_pixels_show_white() -> None:
    colors = np.array([[[9, 8, 7, 0], [9, 8, 7, 255], [0, 0, 0, 128]]], dtype=np.uint8)
    half = 255 - 128
    for format in ("PNG", "TIFF"):
        assert pixels(saved(Image.fromarray(colors), format)) == [[WHITE, [9, 8, 7], [half] * 3]]
    gray = Image.merge("LA", [Image.new("L", (1, 1), 7), Image.new("L", (1, 1), 0)])
    assert pixels(saved(gray, "PNG")) == [[255]]


def test_transparent_entry_of_a_palette() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([0, 0, 0, 255, 0, 0, 1, 2, 3])
    image.putdata([0, 1, 2])
    for format in ("PNG", "GIF"):
        assert pixels(saved(image, format)) == [[BLACK, RED, [1, 2, 3]]]
        assert pixels(saved(image, format, transparency=1)) == [[BLACK, WHITE, [1, 2, 3]]]


def test_transparent_color() -> None:
    gray = np.array([[0, 7, 255]])
    assert pixels(png(gray, 8, 0, extra=chunk(b"tRNS", b"\0\x07"))) == [[0, 255, 255]]
    color = np.array([[0, 0, 0, 255, 0, 0]])
    key = chunk(b"tRNS", b"\0\xff\0\0\0\0")
    assert pixels(png(color, 8, 2, width=2, extra=key)) == [[BLACK, WHITE]]


# More and fewer than 8 bits


@pytest.mark.parametrize(
    ("bits", "packed", "right"), [(1, 0b01000000, [0, 255]), (2, 0b01110000, [85, 255]), (4, 0x1F, [17, 255])]
)
def test_few_bits(bits: int, packed: int, right: list[int]) -> None:
    assert pixels(png(np.array([[packed]]), bits, 0, width=2)) == [right]


def test_16_bits_of_a_png() -> None:
    upper = (WIDE >> 8).tolist()
    assert pixels(png(WIDE, 16, 0)) == upper
    color = [[[value] * 3 for value in row] for row in upper]
    assert pixels(png(np.repeat(WIDE, 3, axis=1), 16, 2, width=4)) == color
    opaque = np.stack([WIDE, np.full_like(WIDE, 65535)], axis=2).reshape(2, 8)
    assert pixels(png(opaque, 16, 4, width=4)) == color
    opaque = np.stack([*[WIDE] * 3, np.full_like(WIDE, 65535)], axis=2).reshape(2, 16)
    assert pixels(png(opaque, 16, 6, width=4)) == color


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_of_a_tiff(order: str) -> None:
    upper = (WIDE >> 8).tolist()
    assert pixels(tiff(WIDE, order)) == upper
    for compression in ("raw", "tiff_lzw", "tiff_deflate"):
        assert pixels(saved(Image.fromarray(WIDE), "TIFF", compression=compression)) == upper
    assert pixels(tiff(np.stack([WIDE] * 3, axis=2), order)) == [[[value] * 3 for value in row] for row in upper]


def test_16_bits_of_a_pgm() -> None:
    assert pixels(b"P5 4 2 65535\n" + WIDE.astype(">u2").tobytes()) == (WIDE >> 8).tolist()
    # The largest value is white.
    assert pixels(b"P5 2 1 1023\n" + struct.pack(">2H", 0, 1023)) == [[0, 255]]
    assert pixels(b"P6 1 1 65535\n" + struct.pack(">3H", 0, 32768, 65535)) == [[[0, 128, 255]]]


def test_white_is_zero() -> None:
    assert pixels(tiff(CORNERS, white_is_zero=True)) == (255 - CORNERS).tolist()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (png(WIDE, 16, 0, extra=chunk(b"tRNS", b"\0\0")), "it has 16 bits and one color that is transparent"),
        (
            png(np.repeat(WIDE, 3, axis=1), 16, 2, width=4, extra=chunk(b"tRNS", bytes(6))),
            "it has 16 bits and one color that is transparent",
        ),
        (tiff(WIDE, white_is_zero=True), "its gray values are neither 8 bits nor 16 bits from black to white"),
        (tiff(WIDE, bits=12), "its gray values are neither 8 bits nor 16 bits from black to white"),
        (tiff(WIDE, format=2), "its values are signed or real numbers, not 8 or 16 bits without a sign"),
        (tiff(CORNERS, format=2), "its values are signed or real numbers, not 8 or 16 bits without a sign"),
        (
            tiff(WIDE.astype(np.float32), format=3),
            "its values are signed or real numbers, not 8 or 16 bits without a sign",
        ),
        (tiff(WIDE.astype(np.uint32)), "it has more than 16 bits a channel"),
        (b"Pf\n4 2\n-1.0\n" + bytes(32), "it has more than 16 bits a channel"),
        (b"no image", "it is no image"),
        (b"", "it is no image"),
        (saved(Image.fromarray(CORNERS), "JPEG2000"), "it is no image"),
    ],
    ids=[
        "gray key",
        "color key",
        "white 16",
        "12",
        "signed 16",
        "signed 8",
        "float",
        "32",
        "pfm",
        "text",
        "empty",
        "jp2",
    ],
)
def test_what_would_not_be_read_right_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        decode(content)


# Other kinds


def test_cmyk() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for format in ("JPEG", "TIFF"):
        found = np.asarray(decode(saved(image, format)))
        assert np.abs(found.astype(int) - RED).max() <= 2


def test_lab() -> None:
    found = pixels(saved(Image.new("LAB", (1, 1), (255, 128, 128)), "TIFF"))
    assert np.abs(np.array(found) - 255).max() <= 1


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame(format: str) -> None:
    first, second = (Image.new("RGB", (8, 8), color) for color in ((255, 0, 0), (0, 0, 255)))
    options = {"lossless": True} if format == "WEBP" else {}
    content = saved(first, format, save_all=True, append_images=[second], **options)
    assert pixels(content) == [[RED] * 8] * 8


@pytest.mark.parametrize("size", [(2**13, 2**13 + 1), (2**14, 2**14), (2**30, 2**30)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_giant_is_refused_before_it_is_decoded(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    content = bytearray(png(np.zeros((1, 1)), 8, 0))
    content[16:24] = struct.pack(">II", *size)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    with pytest.raises((ValueError, Image.DecompressionBombError), match="pixels"):
        decode(bytes(content))


def test_cut_short() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    for format in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
        content = saved(noise, format)
        with pytest.raises(OSError, match=r"truncated|could not create decoder"):
            decode(content[: len(content) // 2])
