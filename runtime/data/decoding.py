"""Pictures of strangers with Pillow: which formats are read, and how much memory one may take.

A few hundred bytes can ask for gigabytes, or for hours. So a picture's size and that of its tiles are looked at before
it is decoded, by what decoding takes in its format (measured, with the pixels that come out), and so is the number of
its scans; pixels are copied in strips.
"""

from __future__ import annotations

import importlib
import io
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

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
_USUAL = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
"""What files begin with."""
_SCANS = 100
"""In which a JPEG file may give its pixels: each takes a pass over all of them, and a few bytes. 10 are usual."""
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
"""Of a part of a JPEG file: not among them are stuffed zeros and what restarts decoding, which belong to the pixels."""
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
"""The tags of TIFF that say how large the parts are that pixels are decoded in; the picture itself may be smaller."""
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
            image = _usual(data) or Image.open(io.BytesIO(data))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(str(error)) from None
    cost = _BYTES.get(image.format or "")
    if cost is None:
        raise UnidentifiedImageError
    limit = MEMORY // (max(cost, _DEEP_BYTES) if image.mode[0] in "IF" else cost)
    for what, width, height in (("", image.width, image.height), ("a tile of ", *_tile(image))):
        if width * height > limit:
            raise TooLargeError(f"{what}{width} x {height} pixels, of which {limit:,} may be decoded")
    if image.format in ("JPEG", "MPO") and (scans := _scans(data)) > _SCANS:
        raise TooLargeError(f"{scans} scans, of which {_SCANS} may be decoded")
    return image


def _usual(data: bytes) -> Image.Image | None:
    """A picture in one of the usual formats, if it is one that is read. Pillow would import what reads five of them."""
    name = next((name for name, start in _USUAL.items() if data.startswith(start)), None)
    if name is None:
        return None
    importlib.import_module(f"PIL.{name.capitalize()}ImagePlugin")
    factory, _ = Image.OPEN[name]
    image, limit = None, Image.MAX_IMAGE_PIXELS
    with suppress(Exception):  # `Image.open` says what is wrong, or finds another format
        image = factory(io.BytesIO(data), "")
    return None if image is None or (limit and image.width * image.height > limit) else image


def _tile(image: Image.Image) -> tuple[int, int]:
    """Width and height of the tiles that a TIFF picture consists of; 0 if it doesn't."""
    if image.format != "TIFF":
        return 0, 0
    from PIL.TiffImagePlugin import TiffImageFile  # as long to import as the rest of Pillow, and seldom needed

    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    width, height = (tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_HEIGHT))
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def _scans(data: bytes) -> int:
    """How many times a JPEG file goes over its pixels."""
    place, count = 2, 0
    while found := _MARKER.search(data, place):
        place, marker = found.end(), found[1][0]
        if marker == 0xD9:  # the end; more pictures, or anything else, may follow
            break
        if marker >= 0xC0 and marker != 0xD8:  # the others have no contents
            place += int.from_bytes(data[place : place + 2], "big")
        count += marker == 0xDA
    return count


def jpeg_pixels(image: Image.Image, data: bytes) -> NDArray[np.uint8] | None:
    """The pixels of a picture of `open_picture` by simplejpeg, if it is installed: in two thirds of Pillow's time.

    Both use libjpeg-turbo, in the same way, and give the same pixels. None for all but grey and RGB pictures in JPEG
    files, and where simplejpeg finds something wrong: Pillow then has its say.
    """
    if image.format != "JPEG" or image.mode not in ("L", "RGB") or (decode := _simplejpeg()) is None:
        return None
    try:
        pixels: NDArray[np.uint8] = decode(data, "GRAY" if image.mode == "L" else "RGB")
    except ValueError:
        return None
    return pixels if pixels.shape[:2] == (image.height, image.width) else None


@cache
def _simplejpeg() -> Callable[[bytes, str], Any] | None:
    try:
        decode: Callable[[bytes, str], Any] = importlib.import_module("simplejpeg").decode_jpeg
    except ImportError:
        return None
    return decode


def pixels_of(image: Image.Image, mode: str) -> NDArray[np.uint8]:
    """The pixels of a picture, converted to "L" or "RGB": uint8 [height, width] or [height, width, 3]."""
    shape = (image.height, image.width, 3) if mode == "RGB" else (image.height, image.width)
    pixels = np.empty(shape, np.uint8)
    rows = max(1, _STRIP // image.width)
    for start in range(0, image.height, rows):
        strip = image.crop((0, start, image.width, min(start + rows, image.height)))
        pixels[start : start + rows] = np.asarray(strip.convert(mode))
    return pixels
