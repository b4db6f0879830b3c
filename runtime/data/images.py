"""Pictures into tensors: decoding with Pillow, and the preprocessing that a net declares.

What stands in a net's `preprocess` decides its accuracy, so each step is exact: the central square has a side of
round(crop x short side) with left and top rounded down, `resize` is Pillow's antialiased filter of that name, and a
pixel becomes (pixel / divide - mean) / std, rounded to float32 once. EXIF rotation and colour profiles are ignored
and transparency is dropped, as in the pipelines that the published weights were trained with.

Pixels have 8 bits. Grey pictures of 16 or 32 bits are scaled to them: `white`, 65535 unless `preprocess` says
otherwise, becomes 255, and what is above it is clipped; `depth_note` says what that loses, and `Preprocess` warns of it
unless it is given the result of `eight_bits`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ...compiler.errors import NetcError, near_miss
from ...compiler.preprocess import SETTINGS, declaration
from ...compiler.reading import read_bytes
from ...compiler.signature import Network
from ...compiler.types import TensorType
from .decoding import TooLargeError, jpeg_pixels, open_picture, pixels_of
from .layout import sample_shape

Pixels = NDArray[np.uint8]
"""A picture: uint8 [height, width, channels], one channel (grey) or three (RGB)."""
Mask = NDArray[np.uint8]
"""The class number of each pixel: uint8 [height, width]."""
Picture = NDArray[Any]
"""A picture as it was stored: `Pixels`, or grey of more bits as uint16 or uint32 [height, width, 1]."""
WHITE = 65535.0
"""What stands for white in grey pictures of more than 8 bits, where nothing else is declared."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def decode(source: str | os.PathLike[str] | bytes, name: str | None = None) -> Picture:
    """Read a picture in one of the formats of `decoding`, from a file or from the bytes of one.

    Grey pictures give one channel, all others three; grey of 16 or 32 bits stays what it is (numbers below 0 become 0);
    of an animation the first frame counts. Raises `NetcError`, naming the file (`name` for bytes), if it is missing,
    damaged or unreasonably large.
    """
    return _decoded(source, name, _to_pixels)


def decode_mask(source: str | os.PathLike[str] | bytes, name: str | None = None) -> Mask:
    """Read the numbers of an indexed or grey picture as they are, whatever its colours; errors as those of `decode`."""
    return _decoded(source, name, _to_numbers)


def _decoded(
    source: str | os.PathLike[str] | bytes, name: str | None, to_array: Callable[[Image.Image, bytes], NDArray[Any]]
) -> NDArray[Any]:
    shown = name or (f"{len(source)} bytes" if isinstance(source, bytes) else str(source))
    try:
        data = source if isinstance(source, bytes) else read_bytes(source, "picture")
        with open_picture(data) as image:
            return to_array(image, data)
    except NetcError:
        raise
    except TooLargeError as error:
        raise NetcError(f"picture {shown} is too large: {error}", hint="scale it down first") from None
    except Exception as error:  # Pillow's decoders raise whatever they stumble over in a damaged file
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "not a picture in a format that is read"
        raise NetcError(f"can't read picture {shown}: {reason or type(error).__name__}") from None


def _to_pixels(image: Image.Image, data: bytes) -> Picture:
    if (pixels := jpeg_pixels(image, data)) is not None:
        return pixels
    if image.mode.startswith("I"):
        wide = np.uint16 if image.mode.startswith("I;16") else np.uint32
        deep: Picture = np.maximum(np.asarray(image), 0).astype(wide)[:, :, np.newaxis]
        return deep
    if image.mode == "F":
        raise ValueError("floating-point pixels have no range to scale to 0..255")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return _as_hwc(pixels_of(image, mode))


def _to_numbers(image: Image.Image, data: bytes) -> Mask:
    if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
        raise ValueError(f"a mask is grey or indexed, with class numbers, not {image.mode}")
    numbers = np.asarray(image)
    if numbers.dtype != bool and not 0 <= numbers.min() <= numbers.max() <= 255:
        raise ValueError(f"class numbers of a mask go from 0 to 255, not to {numbers.max()}")
    return numbers.astype(np.uint8)


def eight_bits(picture: Picture, white: float | None = None) -> Pixels:
    """A picture with pixels of 8 bits: numbers of more bits are scaled so that `white` becomes 255, and clipped."""
    if picture.dtype == np.uint8:
        return picture
    white = white or WHITE
    eight: Pixels = np.rint(np.minimum(picture, white) * (255 / white)).astype(np.uint8)
    return eight


def depth_note(picture: Picture, name: str, white: float | None = None) -> str | None:
    """What scaling a picture to 8 bits loses, in words; None for one of 8 bits, and where `white` is declared and fits.

    `white` None means that the net declares none.
    """
    high = int(picture.max(initial=0))
    if picture.dtype == np.uint8 or (white is not None and high <= white):
        return None
    levels, left = (len(np.unique(p)) for p in (picture, eight_bits(picture, white)))
    lost = f"{name} is {picture.dtype.itemsize * 8}-bit grey from {picture.min()} to {high}: {white or WHITE:g} counts"
    cure = "" if white is not None else "; `white` in preprocess declares another number"
    return f"{lost} as white, so that its {levels} values become {left}{cure}"


def _as_hwc(image: Image.Image | Pixels) -> Pixels:
    pixels: Pixels = np.asarray(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis]


def as_rgb(pixels: Pixels) -> Pixels:
    """A picture in three channels."""
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


@dataclass(frozen=True)
class Preprocess:
    """What a picture goes through before it becomes a tensor; `crop` None keeps all of it."""

    height: int
    width: int
    channels: int
    crop: float | None = None
    resize: str = "bilinear"
    divide: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    white: float | None = None
    """What becomes 255 where pixels have more than 8 bits; None: not declared."""

    @staticmethod
    def of(graph: Network) -> Preprocess:
        """The preprocessing that `graph` declares for its only input, of pictures; pixel / 255 if it has none.

        Pictures are [N, H, W, 1 or 3], [N, 1 or 3, H, W], or grey [N, H, W]; `laid_out` brings them into that order.

        Raises `NetcError` if the input is no picture or the declaration has unknown keys or values.
        """
        return Preprocess.for_shape(graph, _picture_shape(graph))

    @staticmethod
    def for_shape(graph: Network, shape: tuple[int, int, int]) -> Preprocess:
        """The same for samples [height, width, channels] that need not be pictures."""
        height, width, channels = shape
        declared = declaration(graph)
        for key in declared:
            if key not in SETTINGS:
                raise NetcError(f"preprocess of {graph.name} has no `{key}`", hint=near_miss(key, SETTINGS))
        resize = declared.get("resize", "bilinear")
        if resize not in _FILTERS:
            hint = near_miss(str(resize), _FILTERS) or "known: " + ", ".join(_FILTERS)
            raise NetcError(f"preprocess of {graph.name}: there is no resize filter {resize}", hint=hint)
        crop, white = declared.get("crop"), declared.get("white")
        return Preprocess(
            height,
            width,
            channels,
            None if crop is None else _number(graph, "crop", crop, highest=1.0),
            resize,
            _number(graph, "divide", declared.get("divide", 255)),
            _per_channel(graph, "mean", declared.get("mean", 0), channels),
            _per_channel(graph, "std", declared.get("std", 1), channels),
            None if white is None else _number(graph, "white", white),
        )

    def pixels(self, picture: Picture) -> Pixels:
        """Convert, crop and resize a picture to uint8 [height, width, channels]; warns if levels of grey are lost."""
        image = _as_image(self._eight_bits(picture))
        if picture.shape[2] != self.channels:
            image = image.convert("L" if self.channels == 1 else "RGB")
        if self.crop is not None:
            image = _central_square(image, self.crop)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), _FILTERS[self.resize])
        return _as_hwc(image)

    def mask(self, mask: NDArray[Any]) -> NDArray[Any]:
        """Crop and resize a mask [h, w] as `pixels` does its picture, to [height, width], without new numbers."""
        image = Image.fromarray(mask if mask.dtype == np.uint8 else mask.astype(np.int32))
        if self.crop is not None:
            image = _central_square(image, self.crop)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.NEAREST)
        return np.asarray(image).astype(mask.dtype)

    def region(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, top, width and height of the part of a picture that is brought to the size of the input."""
        return (0, 0, width, height) if self.crop is None else _square(height, width, self.crop)

    def normalize(self, pixels: Pixels) -> NDArray[np.float32]:
        """(pixel / divide - mean) / std for uint8 [..., channels], computed in float64 and rounded to float32."""
        scale = np.arange(256, dtype=np.float64)[:, np.newaxis] / self.divide
        table = ((scale - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        table = np.broadcast_to(table, (256, self.channels))
        values: NDArray[np.float32] = table[pixels, np.arange(self.channels)]
        return values

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        """From a decoded picture to float32 [height, width, channels]; warns if levels of grey are lost."""
        return self.normalize(self.pixels(self._eight_bits(picture)))

    def _eight_bits(self, picture: Picture) -> Pixels:
        """`eight_bits`, with a warning whose text is the same for all pictures, so that Python shows it once."""
        if picture.dtype != np.uint8 and (self.white is None or picture.max(initial=0) > self.white):
            what = f"{picture.dtype.itemsize * 8}-bit grey is scaled to 8 bits: {self.white or WHITE:g} counts as white"
            rest = "what is above it is clipped" if self.white else "`white` in preprocess declares another number"
            warnings.warn(f"{what}; {rest}", stacklevel=3)
        return eight_bits(picture, self.white)


def assumption(graph: Network) -> str | None:
    """How pixels are normalised for a float network of another tool that doesn't say it; None if nothing is assumed."""
    is_foreign = "format" in graph.attributes and graph.inputs[0].type.dtype.is_float
    if not is_foreign or any(key in declaration(graph) for key in ("divide", "mean", "std")):
        return None
    return (
        f"{graph.name} doesn't say how pixels are normalised: pixel / 255 is taken, from 0 to 1; "
        "--preprocess divide=127.5 --preprocess mean=1 would give -1 to 1"
    )


def white_of(graph: Network) -> float | None:
    """The number that the net declares as white in grey pictures of more than 8 bits."""
    return Preprocess.of(graph).white


def _central_square(image: Image.Image, crop: float) -> Image.Image:
    left, top, side, _ = _square(image.height, image.width, crop)
    return image.crop((left, top, left + side, top + side))


def _square(height: int, width: int, crop: float) -> tuple[int, int, int, int]:
    side = max(1, round(crop * min(height, width)))
    return (width - side) // 2, (height - side) // 2, side, side


def _picture_shape(graph: Network) -> tuple[int, int, int]:
    if len(graph.inputs) != 1:
        raise NetcError(f"net {graph.name} takes {len(graph.inputs)} inputs, not one picture")
    type_: TensorType = graph.inputs[0].type
    shape = sample_shape(graph)
    if len(shape) == 2:
        return *shape, 1
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise NetcError(f"the input of net {graph.name} is {type_}, not pictures [N, height, width, 1 or 3]")
    return shape[0], shape[1], shape[2]


def _number(graph: Network, key: str, value: object, highest: float = float("inf")) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= highest:
        bound = "" if highest == float("inf") else f" up to {highest:g}"
        raise NetcError(f"preprocess of {graph.name}: {key} must be a positive number{bound}, not {value}")
    return float(value)


def _per_channel(graph: Network, key: str, value: object, channels: int) -> tuple[float, ...]:
    items = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if len(items) not in (1, channels) or any(isinstance(v, bool) or not isinstance(v, int | float) for v in items):
        expected = f"a number or {channels} numbers" if channels > 1 else "a number"
        raise NetcError(f"preprocess of {graph.name}: {key} must be {expected}, not {value}")
    if key == "std" and not all(items):
        raise NetcError(f"preprocess of {graph.name}: std can't be 0")
    return tuple(float(v) for v in items)
