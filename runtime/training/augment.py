"""Augmentation of pictures: random crop with padding, flip, random resized crop, colour jitter.

Pictures are uint8 [n, H, W, C] throughout and are changed a whole batch at a time, except by `random_resized_crop`,
which takes pictures of any size one by one and stands in the place of the net's own cropping and resizing. What is
drawn depends on seed, epoch and sample alone (see `random`). Normalisation is the net's `preprocess` and comes last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from PIL import Image

from ...compiler.errors import NetcError, near_miss
from ...compiler.spec import Spec, as_integer, as_number, parse_specs
from ..data.images import Pixels
from .random import SampleRandom

Numbers = NDArray[Any]
"""Of masks: the class number of each pixel, integers [n, H, W, 1]."""


class Transform(Protocol):
    """Changes a batch of pictures of one size, uint8 [n, H, W, C]; may work in place."""

    def __call__(self, pixels: Pixels, random: SampleRandom) -> Pixels:
        """Return the changed pictures."""
        ...

    def move(self, masks: Numbers, random: SampleRandom, outside: int) -> Numbers:
        """Return the masks, changed as their pictures are; `outside` is the number of what lies beside a picture."""
        ...


@dataclass(frozen=True, slots=True)
class Crop:
    """Surround with `padding` black pixels, or mirrored ones, and cut the old size out at a random place."""

    padding: int
    reflect: bool = False

    def __call__(self, pixels: Pixels, random: SampleRandom) -> Pixels:
        """Windows of the padded pictures, without a loop over them."""
        return self._windows(pixels, random, 0)

    def move(self, masks: Numbers, random: SampleRandom, outside: int) -> Numbers:
        """The same windows of masks."""
        return self._windows(masks, random, outside)

    def _windows(self, pixels: Numbers, random: SampleRandom, outside: int) -> Numbers:
        p = self.padding
        count, height, width, channels = pixels.shape
        around = ((0, 0), (p, p), (p, p), (0, 0))
        padded = np.pad(pixels, around, "reflect") if self.reflect else _pad(pixels, p, outside)
        offsets = 2 * p + 1
        batch, row, column, channel = padded.strides
        windows = as_strided(
            padded,
            (count, offsets, offsets, height, width, channels),
            (batch, row, column, row, column, channel),
            writeable=False,
        )
        tops, lefts = random.below("crop.top", offsets), random.below("crop.left", offsets)
        return windows[np.arange(count), tops, lefts]


def _pad(pixels: Numbers, by: int, outside: int) -> Numbers:
    count, height, width, channels = pixels.shape
    padded = np.full((count, height + 2 * by, width + 2 * by, channels), outside, pixels.dtype)
    padded[:, by : by + height, by : by + width] = pixels
    return padded


@dataclass(frozen=True, slots=True)
class Flip:
    """Mirror left and right with a probability, or, with `alternate`, in every second epoch.

    Then a coin for each sample decides in which of the first two: any two epochs in a row show both of its sides
    (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024).
    """

    probability: float = 0.5
    alternate: bool = False

    def __call__(self, pixels: Pixels, random: SampleRandom) -> Pixels:
        """Mirror the chosen pictures in place."""
        chosen = np.flatnonzero(self._choice(random))
        _, height, width, channels = pixels.shape
        # In rows of single bytes: NumPy moves these faster than pixels of a few.
        mirrored = np.arange(width * channels).reshape(width, channels)[::-1].ravel()
        rows = pixels[chosen].reshape(-1, height, width * channels)
        pixels[chosen] = np.take(rows, mirrored, axis=2).reshape(-1, height, width, channels)
        return pixels

    def move(self, masks: Numbers, random: SampleRandom, outside: int) -> Numbers:
        """Mirror the masks of the chosen pictures in place."""
        return self(masks, random)

    def _choice(self, random: SampleRandom) -> NDArray[np.bool_]:
        coin = replace(random, epoch=0) if self.alternate else random
        heads: NDArray[np.bool_] = coin.uniform("flip") < self.probability
        return ~heads if self.alternate and random.epoch % 2 else heads


@dataclass(frozen=True, slots=True)
class ColorJitter:
    """Change brightness, contrast and saturation, in this order, each by a factor from 1 - x to 1 + x.

    Brightness scales towards black, contrast towards the picture's mean grey, saturation towards each pixel's grey
    (ITU-R BT.601 luma); a result is clipped to 0..255 after each.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __call__(self, pixels: Pixels, random: SampleRandom) -> Pixels:
        """Compute in float32 and round once at the end."""
        values = pixels.astype(np.float32)
        if self.brightness:
            _blend(values, np.float32(0), self._factors(random, "brightness"))
        if self.contrast:
            mean = np.rint(_grey(values)).astype(np.int64).mean(axis=(1, 2, 3), keepdims=True)
            _blend(values, mean.astype(np.float32), self._factors(random, "contrast"))
        if self.saturation:
            _blend(values, _grey(values), self._factors(random, "saturation"))
        return np.rint(values).astype(np.uint8)

    def move(self, masks: Numbers, random: SampleRandom, outside: int) -> Numbers:
        """Nothing: colours don't move."""
        return masks

    def _factors(self, random: SampleRandom, which: str) -> NDArray[np.float32]:
        spread = float(getattr(self, which))
        factors = 1 + spread * (2 * random.uniform(f"color.{which}") - 1)
        return np.maximum(factors, 0).astype(np.float32).reshape(-1, 1, 1, 1)


def _grey(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Luma of [n, H, W, C] as [n, H, W, 1]."""
    if values.shape[3] != 3:
        return values
    red, green, blue = (values[..., c : c + 1] for c in range(3))
    luma: NDArray[np.float32] = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
    return luma


def _blend(values: NDArray[np.float32], towards: NDArray[np.float32] | np.float32, share: NDArray[np.float32]) -> None:
    """Set values to clip(towards + share * (values - towards))."""
    values -= towards
    values *= share
    values += towards
    np.clip(values, 0, 255, out=values)


@dataclass(frozen=True, slots=True)
class Until:
    """A transform for the first `epochs` epochs only.

    The last epochs then see pictures as the test split has them, to which the net can settle (He, Xie et al., Data
    augmentation revisited: rethinking the distribution gap between clean and augmented data, 2019).
    """

    transform: Transform
    epochs: int

    def __call__(self, pixels: Pixels, random: SampleRandom) -> Pixels:
        """Apply the transform, or, in later epochs, nothing."""
        return self.transform(pixels, random) if random.epoch < self.epochs else pixels

    def move(self, masks: Numbers, random: SampleRandom, outside: int) -> Numbers:
        """Move masks, or, in later epochs, not."""
        return self.transform.move(masks, random, outside) if random.epoch < self.epochs else masks


@dataclass(frozen=True, slots=True)
class RandomResizedCrop:
    """A random part of a picture, of a random share of its area and a random aspect ratio, resized.

    The share is uniform in `scale`, the ratio log-uniform from 3/4 to 4/3; after ten parts that don't fit, the central
    one that does (Szegedy et al., Going deeper with convolutions, 2015).
    """

    size: int | None = None
    scale: tuple[float, float] = (0.08, 1.0)

    def cut(self, picture: Pixels, height: int, width: int, random: SampleRandom) -> Pixels:
        """From one picture of any size to uint8 [height, width, channels]; `random` is for this one sample."""
        top, left, rows, columns = self._box(picture.shape[0], picture.shape[1], random)
        image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
        box = (left, top, left + columns, top + rows)
        pixels: Pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box), np.uint8)
        return pixels.reshape(height, width, picture.shape[2])

    def cut_mask(self, mask: NDArray[Any], height: int, width: int, random: SampleRandom) -> NDArray[Any]:
        """The same part of a mask [h, w], as [height, width], without new numbers."""
        top, left, rows, columns = self._box(mask.shape[0], mask.shape[1], random)
        image = Image.fromarray(mask if mask.dtype == np.uint8 else mask.astype(np.int32))
        box = (left, top, left + columns, top + rows)
        return np.asarray(image.resize((width, height), Image.Resampling.NEAREST, box)).astype(mask.dtype)

    def _box(self, height: int, width: int, random: SampleRandom) -> tuple[int, int, int, int]:
        for attempt in range(10):
            share, ratio, y, x = (float(random.uniform(f"part.{n}.{attempt}")[0]) for n in ("area", "ratio", "y", "x"))
            area = height * width * (self.scale[0] + share * (self.scale[1] - self.scale[0]))
            aspect = math.exp((2 * ratio - 1) * math.log(4 / 3))
            columns, rows = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < columns <= width and 0 < rows <= height:
                return int(y * (height - rows + 1)), int(x * (width - columns + 1)), rows, columns
        rows, columns = min(height, max(1, round(width * 4 / 3))), min(width, max(1, round(height * 4 / 3)))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to training pictures: at most one `part` (cutting and resizing), then the transforms in order."""

    part: RandomResizedCrop | None = None
    transforms: tuple[Transform, ...] = ()

    def __bool__(self) -> bool:
        return self.part is not None or bool(self.transforms)


NO_AUGMENTATION = Augmentation()


def parse_augmentation(text: str) -> Augmentation:
    """Read an augmentation such as `crop(4), flip` or `random_resized_crop(224), flip, color_jitter(0.4, 0.4, 0.4)`.

    With `until=EPOCHS` any but random_resized_crop ends after so many epochs: `crop(4, until=20), flip`.
    Raises `NetcError` for unknown names and unsuitable arguments.
    """
    specs = parse_specs(text)
    transforms = [_transform(spec) for spec in specs]
    parts = [t for t in transforms if isinstance(t, RandomResizedCrop)]
    if len(parts) > 1 or (parts and transforms[0] is not parts[0]):
        raise NetcError(f"augmentation `{text}`: random_resized_crop comes once, and first")
    others = tuple(t for t in transforms if not isinstance(t, RandomResizedCrop))
    return Augmentation(parts[0] if parts else None, others)


def _transform(spec: Spec) -> Transform | RandomResizedCrop:
    if spec.name == "normalize":
        hint = "leave it out: the net's `preprocess` says how to normalise, for training as for inference"
        raise NetcError("`normalize` is no augmentation", hint=hint)
    if spec.name not in _TRANSFORMS:
        hint = near_miss(spec.name, _TRANSFORMS) or "there are " + ", ".join(_TRANSFORMS)
        raise NetcError(f"there is no augmentation `{spec.name}`", hint=hint)
    made = _TRANSFORMS[spec.name](replace(spec, named={k: v for k, v in spec.named.items() if k != "until"}))
    if "until" not in spec.named:
        return made
    if isinstance(made, RandomResizedCrop):
        raise NetcError(f"`{spec}`: random_resized_crop brings pictures to size in every epoch and can't end")
    return Until(made, as_integer(spec, "until", spec.named["until"], 1))


def _make_crop(spec: Spec) -> Transform:
    a = spec.bind({"padding": int, "mode": "zero"})
    if a["mode"] not in ("zero", "reflect"):
        raise NetcError(f"`{spec}`: `mode` must be zero or reflect")
    return Crop(as_integer(spec, "padding", a["padding"], 1), a["mode"] == "reflect")


def _make_flip(spec: Spec) -> Transform:
    a = spec.bind({"probability": 0.5, "alternate": False})
    if not isinstance(a["alternate"], bool):
        raise NetcError(f"`{spec}`: `alternate` must be true or false")
    if a["alternate"] and a["probability"] != 0.5:
        raise NetcError(f"`{spec}`: an alternating flip has no probability, it comes in every second epoch")
    return Flip(as_number(spec, "probability", a["probability"], 0, 1), a["alternate"])


def _make_color_jitter(spec: Spec) -> Transform:
    a = spec.bind({"brightness": 0.0, "contrast": 0.0, "saturation": 0.0})
    return ColorJitter(*(as_number(spec, name, value, 0) for name, value in a.items()))


def _make_resized_crop(spec: Spec) -> RandomResizedCrop:
    a = spec.bind({"size": None, "scale": (0.08, 1.0)})
    size = None if a["size"] is None else as_integer(spec, "size", a["size"], 1)
    scale = a["scale"] if isinstance(a["scale"], tuple) else (a["scale"], 1.0)
    if len(scale) != 2:
        raise NetcError(f"`{spec}`: `scale` must be two shares of the area, such as [0.08, 1]")
    low, high = (as_number(spec, "scale", s, 1e-6, 1) for s in scale)
    return RandomResizedCrop(size, (min(low, high), max(low, high)))


_TRANSFORMS: Mapping[str, Callable[[Spec], Transform | RandomResizedCrop]] = {
    "crop": _make_crop,
    "flip": _make_flip,
    "color_jitter": _make_color_jitter,
    "random_resized_crop": _make_resized_crop,
}
