"""Types of the graph IR: element types, layouts and tensor types, with their text form.

`f32[1,56,56,64]` is a dense row-major tensor. `f32[1,56,56,64]{0:0,1:1,1:1,0:16}` is the same tensor inside a larger
buffer: each dimension has a margin of elements before and after it. Margins are how convolution padding (spatial
margins, kept at zero) and conflict-free row pitches (a margin after the channels) are expressed.
"""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass

import numpy as np

from ..errors import NetcError


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

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy type with the same values."""
        return _NUMPY[self]

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        """True for the floating-point types."""
        return self in (DType.F64, DType.F32, DType.F16)

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
class TensorType:
    """Element type, shape and layout (None: dense row-major) of a value."""

    dtype: DType
    shape: tuple[int, ...]
    layout: Layout | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Margins of each dimension; zeros for a dense tensor."""
        return self.layout.margins if self.layout else ((0, 0),) * self.rank

    @property
    def buffer_shape(self) -> tuple[int, ...]:
        """Shape of the buffer in memory, margins included."""
        return self.layout.buffer_shape(self.shape) if self.layout else self.shape

    @property
    def bytes(self) -> int:
        """Bytes of the buffer in memory, margins included."""
        return math.prod(self.buffer_shape) * self.dtype.itemsize

    def dense(self) -> TensorType:
        """The same tensor without margins."""
        return TensorType(self.dtype, self.shape)

    def with_layout(self, layout: Layout | None) -> TensorType:
        """The same tensor in another layout; a layout without margins becomes None."""
        if layout is not None and not any(before or after for before, after in layout.margins):
            layout = None
        return TensorType(self.dtype, self.shape, layout)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]{self.layout or ''}"


TYPE_PATTERN = r"[a-z]+[0-9]+\[[0-9,]*\](?:\{[0-9:,]*\})?"
_TYPE = re.compile(r"([a-z]+[0-9]+)\[([0-9,]*)\](?:\{([0-9:,]*)\})?")


def parse_type(text: str) -> TensorType:
    """Read the text form of a tensor type; raises `NetcError` where it is malformed."""
    match = _TYPE.fullmatch(text.strip())
    names = {d.value: d for d in DType}
    if not match or match[1] not in names:
        raise NetcError(f"`{text}` is not a tensor type", hint="write for example f32[1,224,224,3]")
    shape = tuple(int(s) for s in match[2].split(",") if s)
    layout = None
    if match[3]:
        pairs = [pair.split(":") for pair in match[3].split(",")]
        if len(pairs) != len(shape) or any(len(p) != 2 or not all(p) for p in pairs):
            raise NetcError(f"layout of `{text}` must give before:after for each of its {len(shape)} dimensions")
        layout = Layout(tuple((int(p[0]), int(p[1])) for p in pairs))
    return TensorType(names[match[1]], shape).with_layout(layout)
