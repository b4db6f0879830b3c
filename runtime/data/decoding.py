"""Pictures of strangers with Pillow: which formats are read, and how much memory one may take.

A few hundred bytes can ask for gigabytes. So a picture's size is looked at before it is decoded, by what decoding takes
in its format (measured, with the pixels that come out), and pixels are copied in strips.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MEMORY = 600_000_000
"""What decoding a picture may take, in bytes."""
_BYTES = {
    **dict.fromkeys(("PNG", "BMP", "DIB", "GIF", "PPM", "TIFF", "TGA", "ICO", "PCX"), 8),
    **dict.fromkeys(("JPEG", "MPO"), 11),
    "AVIF": 13,
    "WEBP": 20,
    "JPEG2000": 23,
}
"""For each pixel, in the formats that are read. Not among them is what would run another program: EPS."""
_DEEP_BYTES = 20
"""For a pixel of more than 8 bits."""
_STRIP = 1 << 20
"""Pixels that are copied at once."""


class TooLargeError(ValueError):
    """Decoding a picture would take too much memory; the text says how large it is and how large it may be."""


def open_picture(data: bytes) -> Image.Image:
    """A picture whose pixels aren't decoded yet.

    Raises `TooLargeError`, `UnidentifiedImageError` for what is no picture or in a format that isn't read, or whatever
    else Pillow stumbles over.
    """
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(str(error)) from None
    cost = _BYTES.get(image.format or "")
    if cost is None:
        raise UnidentifiedImageError
    limit = MEMORY // (max(cost, _DEEP_BYTES) if image.mode[0] in "IF" else cost)
    if image.width * image.height > limit:
        raise TooLargeError(f"{image.width} x {image.height} pixels, of which {limit:,} may be decoded")
    return image


def pixels_of(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    """The pixels of a picture, converted to "L" or "RGB": uint8 [height, width] or [height, width, 3]."""
    shape = (image.height, image.width, 3) if mode == "RGB" else (image.height, image.width)
    pixels = np.empty(shape, np.uint8)
    rows = max(1, _STRIP // image.width)
    for start in range(0, image.height, rows):
        strip = image.crop((0, start, image.width, min(start + rows, image.height)))
        pixels[start : start + rows] = np.asarray(strip.convert(mode))
    return pixels
