"""Types of the graph IR: element types, layouts and tensor types, with their text form.

`f32[1,56,56,64]` is a dense row-major tensor. `f32[1,56,56,64]{0:0,1:1,1:1,0:16}` is the same tensor inside a larger
buffer: each dimension has a margin of elements before and after it. Margins are how convolution padding (spatial
margins, kept at zero) and conflict-free row pitches (a margin after the channels) are expressed.

`i8[1,56,56,64]<0.0235:-128>` holds quantized numbers: element q stands for 0.0235 * (q + 128). Weights may have a scale
for each channel: `i8[3,3,1,2]<axis=3 0.01,0.02>`. Scales are float32, written in the fewest digits that read back to
the same bits; a zero point of 0 is left out.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from .errors import NetcError


class DType(enum.Enum):
    """Element types, named as in the text form."""

    F64 = "f64"
    F32 = "f32"
    F16 = "f16"
    I64 = "i64"
    I32 = "i32"
    I16 = "i16"
    I8 = "i8"
    U8 = "u8"
    BOOL = "i1"

    __hash__ = object.__hash__  # each is the only one; types are hashed often, and that of `Enum` is slow

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy type with the same values."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory."""
        return _BYTES[self]

    @property
    def is_float(self) -> bool:
        """True for the floating-point types."""
        return self is DType.F32 or self is DType.F64 or self is DType.F16

    def holds(self, number: float) -> bool:
        """True if the number is one of an element's values; floats hold all, but for their precision and range."""
        if self.is_float:
            return True
        limits = None if self is DType.BOOL else np.iinfo(str(self.numpy))
        low, high = (0, 1) if limits is None else (limits.min, limits.max)
        return bool(low <= number <= high) and number == int(number)

    @staticmethod
    def of(array_type: np.dtype[np.generic]) -> DType:
        """Return the element type of a NumPy type, or raise `NetcError`."""
        for dtype, candidate in _NUMPY.items():
            if candidate == array_type:
                return dtype
        raise NetcError(f"arrays of {array_type} are not supported", hint="supported: " + ", ".join(map(str, _NUMPY)))

    def __str__(self) -> str:
        return self.value


_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.F64: np.dtype(np.float64),
    DType.F32: np.dtype(np.float32),
    DType.F16: np.dtype(np.float16),
    DType.I64: np.dtype(np.int64),
    DType.I32: np.dtype(np.int32),
    DType.I16: np.dtype(np.int16),
    DType.I8: np.dtype(np.int8),
    DType.U8: np.dtype(np.uint8),
    DType.BOOL: np.dtype(np.bool_),
}


_BYTES: dict[DType, int] = {dtype: each.itemsize for dtype, each in _NUMPY.items()}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a tensor lies in its buffer: `margins[d]` elements stand before and after dimension d."""

    margins: tuple[tuple[int, int], ...]

    def buffer_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the row-major buffer that holds a tensor of `shape`."""
        return tuple(before + size + after for size, (before, after) in zip(shape, self.margins, strict=True))

    def __str__(self) -> str:
        return "{" + ",".join(f"{before}:{after}" for before, after in self.margins) + "}"


@dataclass(frozen=True, slots=True)
class Quantization:
    """What integers stand for: element q is the number scale * (q - zero_point).

    One scale for the whole tensor, or one for each index of dimension `axis`. Scales are float32 values; there are as
    many zero points as scales.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            object.__setattr__(self, "scales", tuple(np.array(self.scales, np.float32).tolist()))
        if not self.scales or len(self.scales) != len(self.zero_points):
            raise NetcError(f"{len(self.scales)} scales don't go with {len(self.zero_points)} zero points")
        if any(not 0 < s < math.inf for s in self.scales):
            raise NetcError("scales must be positive and finite")
        if any(not -(1 << 31) <= z < 1 << 31 for z in self.zero_points):
            raise NetcError("zero points must be 32-bit integers")
        if self.axis is None and len(self.scales) > 1:
            raise NetcError(f"{len(self.scales)} scales need an axis")

    @staticmethod
    def of(scale: float, zero_point: int = 0) -> Quantization:
        """One scale and zero point for a whole tensor."""
        return Quantization((scale,), (zero_point,))

    @property
    def scale(self) -> float:
        """The only scale."""
        (scale,) = self.scales
        return scale

    @property
    def zero_point(self) -> int:
        """The only zero point."""
        (zero_point,) = self.zero_points
        return zero_point

    @property
    def is_per_tensor(self) -> bool:
        """True if one scale serves all elements."""
        return self.axis is None

    def problem(self, dtype: DType, shape: tuple[int, ...]) -> str | None:
        """Why a tensor of this element type and shape can't be quantized like this; None if it can."""
        if dtype.is_float or dtype is DType.BOOL:
            return f"elements of type {dtype} have no scale"
        if self.axis is not None and not (0 <= self.axis < len(shape) and len(self.scales) == shape[self.axis]):
            return f"{len(self.scales)} scales along dimension {self.axis} don't fit {list(shape)}"
        info = np.iinfo(str(dtype.numpy))
        low, high = int(info.min), int(info.max)
        if low <= min(self.zero_points) and max(self.zero_points) <= high:
            return None
        outside = next(z for z in self.zero_points if not low <= z <= high)
        return f"zero point {outside} lies outside {dtype} ({low} to {high})"

    def __str__(self) -> str:
        axis = "" if self.axis is None else f"axis={self.axis} "
        pairs = zip(self.scales, self.zero_points, strict=True)
        return f"<{axis}{','.join(f'{np.float32(s)!s}:{z}' if z else str(np.float32(s)) for s, z in pairs)}>"


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type, shape, layout (None: dense row-major) and quantization (None: plain numbers) of a value."""

    dtype: DType
    shape: tuple[int, ...]
    layout: Layout | None = None
    quantization: Quantization | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def zero_point(self) -> int:
        """The integer that stands for zero, as margins hold it: 0 where the type states none for all elements."""
        given = self.quantization
        return given.zero_point if given is not None and given.is_per_tensor else 0

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Margins of each dimension; zeros for a dense tensor."""
        return self.layout.margins if self.layout else ((0, 0),) * self.rank

    def has_margins(self, needed: Sequence[tuple[int, int]]) -> bool:
        """True if the margins of all dimensions are at least as wide as these."""
        return all(m[0] >= n[0] and m[1] >= n[1] for m, n in zip(self.margins, needed, strict=True))

    @property
    def buffer_shape(self) -> tuple[int, ...]:
        """Shape of the buffer in memory, margins included."""
        return self.layout.buffer_shape(self.shape) if self.layout else self.shape

    @property
    def bytes(self) -> int:
        """Bytes of the buffer in memory, margins included."""
        return math.prod(self.buffer_shape) * _BYTES[self.dtype]

    def dense(self) -> TensorType:
        """The same tensor without margins."""
        return TensorType(self.dtype, self.shape, None, self.quantization)

    def with_quantization(self, quantization: Quantization | None) -> TensorType:
        """The same tensor whose elements stand for other numbers."""
        return TensorType(self.dtype, self.shape, self.layout, quantization)

    def with_layout(self, layout: Layout | None) -> TensorType:
        """The same tensor in another layout; a layout without margins becomes None."""
        if layout is not None and not any(before or after for before, after in layout.margins):
            layout = None
        return TensorType(self.dtype, self.shape, layout, self.quantization)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{self.layout or ''}{self.quantization or ''}"


_NAMES: Mapping[str, DType] = MappingProxyType({dtype.value: dtype for dtype in DType})
QUANTIZATION_PATTERN = r"<(?:axis=[0-9]{1,9}[ ])?[0-9][0-9.e+:,-]*>"
TYPE_PATTERN = rf"[a-z]+[0-9]+\[[0-9,]*\](?:\{{[0-9:,]*\}})?(?:{QUANTIZATION_PATTERN})?"
_TYPE = re.compile(rf"([a-z]+[0-9]+)\[([0-9,]*)\](?:\{{([0-9:,]*)\}})?({QUANTIZATION_PATTERN})?")


def parse_type(text: str) -> TensorType:
    """Read the text form of a tensor type; raises `NetcError` where it is malformed."""
    match = _TYPE.fullmatch(text.strip())
    if not match or match[1] not in _NAMES:
        raise NetcError(f"`{text}` is not a tensor type", hint="write for example f32[1,224,224,3]")
    shape = tuple(int(s) for s in match[2].split(",") if s)
    layout = None
    if match[3]:
        pairs = [pair.split(":") for pair in match[3].split(",")]
        if len(pairs) != len(shape) or any(len(p) != 2 or not all(p) for p in pairs):
            raise NetcError(f"layout of `{text}` must give before:after for each of its {len(shape)} dimensions")
        layout = Layout(tuple((int(p[0]), int(p[1])) for p in pairs))
    quantization = parse_quantization(match[4]) if match[4] else None
    problem = quantization.problem(_NAMES[match[1]], shape) if quantization is not None else None
    if problem is not None:
        raise NetcError(f"the quantization of `{text}` doesn't fit its elements or its shape: {problem}")
    return TensorType(_NAMES[match[1]], shape, None, quantization).with_layout(layout)


_ELEMENTS = re.compile(rf"([a-z]+[0-9]+)({QUANTIZATION_PATTERN})?")


@lru_cache(maxsize=256)
def parse_elements(text: str) -> tuple[DType, Quantization | None]:
    """Read an element type with what its integers stand for, `i8` or `i8<0.5:-3>`.

    Raises `NetcError` for any other text.
    """
    match = _ELEMENTS.fullmatch(text)
    if match is None or match[1] not in _NAMES:
        raise NetcError(
            f"there is no element type `{text}`", hint=", ".join(_NAMES) + ", or for example i8<0.0235:-128>"
        )
    return _NAMES[match[1]], parse_quantization(match[2]) if match[2] else None


def parse_quantization(text: str) -> Quantization:
    """Read the text form of a quantization, `<0.5:-3>` or `<axis=3 0.1,0.2:4>`.

    Raises `NetcError` for any other text.
    """
    inner = text.strip("<>")
    axis, _, pairs = inner.rpartition(" ")
    scales: list[float] = []
    zero_points: list[int] = []
    try:
        for pair in pairs.split(","):
            scale, _, zero_point = pair.partition(":")
            scales.append(float(scale))
            zero_points.append(int(zero_point or 0))
    except ValueError:
        raise NetcError(f"`{text}` is not a quantization", hint="write for example <0.0235:-128>") from None
    return Quantization(tuple(scales), tuple(zero_points), int(axis.removeprefix("axis=")) if axis else None)
