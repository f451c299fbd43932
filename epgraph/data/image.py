"""One image file → 8-bit pixels, gray or RGB; or the reason why not."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epgraph.errors import Diagnostic, EpgraphError

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
# Only these decoders read the bytes, whatever the file's suffix is.
DECODERS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 2**26
"""Larger images are refused: a file of a few bytes can declare any size, and decoding allocates it."""
BACKGROUND = (255, 255, 255)
"""Color behind transparent pixels: white."""

_PHOTOMETRIC, _BLACK_IS_ZERO = 262, 1
_SAMPLE_FORMAT, _UNSIGNED = 339, 1


class ImageError(EpgraphError):
    """An image file that cannot be used; it keeps its message on the way from a DataLoader's worker.

    A DataLoader raises a worker's exception again, with the worker's traceback as its only argument. The last line of
    that is the message, and the only line that helps to replace the image.
    """

    def __init__(self, problem: str | Diagnostic | tuple[Diagnostic, ...], hint: str = "") -> None:
        if isinstance(problem, str) and "\nOriginal Traceback" in problem:
            problem = problem.strip().splitlines()[-1].partition(": ")[2]
        super().__init__(problem, hint, rule="data")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.diagnostics,)


def unreadable(path: Path, reason: str) -> ImageError:
    """Return the error for an image file that cannot be used."""
    # One line, whatever the file's name is: see ImageError.
    return ImageError(" ".join(f"the image {path} cannot be read: {reason}".split()), "replace or remove it")


def is_image(name: str) -> bool:
    """Whether a file's suffix is one of an image."""
    return name.lower().endswith(EXTENSIONS)


def decode(content: bytes) -> Image:
    """Return the image in a file as 8-bit pixels, of mode ``L`` (gray) or ``RGB``.

    An animation gives its first frame. The orientation in the EXIF data is applied. Transparent pixels show
    ``BACKGROUND``. 16-bit values keep their upper 8 bits.

    Raises
    ------
    ValueError
        With the reason, if the file is no image or Pillow would misread its values. Decoders raise other exceptions
        for damaged files.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=DECODERS)
    except UnidentifiedImageError:
        raise ValueError("it is no image") from None
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"it has {image.width}×{image.height} pixels, and {MAX_PIXELS:,} are the most that are read")
    _refuse_unusual(image, content)
    image.load()
    image = _to_eight_bits(_turned(image))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (*BACKGROUND, 255)), over)
    return image if image.mode == mode else image.convert(mode)


def _refuse_unusual(image: Image, content: bytes) -> None:
    """Refuse files that Pillow opens but misreads; called before the pixels are decoded."""
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if any(kind != _UNSIGNED for kind in tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))):
            raise ValueError("its values are signed or real numbers, not 8 or 16 bits without a sign")
        # Pillow takes 12 bits for 16, and white for black.
        if image.mode.startswith("I;16") and (
            not _raw_mode(image).startswith("I;16") or tags.get(_PHOTOMETRIC) != _BLACK_IS_ZERO
        ):
            raise ValueError("its gray values are neither 8 bits nor 16 bits from black to white")
    elif image.format == "PNG" and content[24] == 16 and "transparency" in image.info:
        raise ValueError("it has 16 bits and one color that is transparent")
    wide = image.mode.startswith(("I", "F")) and not image.mode.startswith("I;16")
    # Of the formats above, only PGM gives 16-bit values as integers.
    if wide and (image.format, image.mode) != ("PPM", "I"):
        raise ValueError("it has more than 16 bits a channel")


def _raw_mode(image: Image) -> str:
    arguments = image.tile[0].args  # type: ignore[attr-defined]
    return str(arguments if isinstance(arguments, str) else arguments[0])


def _turned(image: Image) -> Image:
    """Rotate and mirror an image by its EXIF orientation; unreadable EXIF data are ignored."""
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    orientation = 1
    with suppress(Exception):
        orientation = image.getexif().get(Base.Orientation, 1)
    methods = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(methods[orientation]) if orientation in methods else image


def _to_eight_bits(image: Image) -> Image:
    """Keep the upper 8 of 16 gray bits, as Pillow does for 16-bit color; its own conversion of gray would clip."""
    import numpy as np
    from PIL import Image as Pillow

    if not image.mode.startswith("I"):
        return image
    return Pillow.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
