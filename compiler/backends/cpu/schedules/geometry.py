"""Geometry of contractions: which input elements and weights each result of a convolution or dense layer sums.

A `Walk` describes one nest of loops: a grid of result pixels, the window of input pixels that each one reads, the
weight that goes with each window element, and where the results lie. Convolutions and dense layers are one walk; a
transposed convolution of stride s is s * s walks, one for each phase of the result, none of which multiplies by the
zeros that the stride puts between input pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....lowering.group import Group
from ....ops.convolution import Conv2D, Convolution
from ....ops.convolution_gradients import Conv2DInputGradient
from ....ops.quantized.contraction import Conv2DSum
from ....ops.transpose_convolution import TransposeConv2D
from ....ops.window import Phase, phase_margins, window_of
from ....types import TensorType

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Line:
    """The numbers start, start + step, start + 2 * step ..."""

    start: int = 0
    step: int = 1


_WHOLE = (Line(), Line())


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A result grid and how it walks over the input buffer, seen as [images, rows, columns * pitch]."""

    images: int
    height: int
    width: int
    window: Pair = (1, 1)
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    origin: Pair = (0, 0)
    """Buffer row and column of the first window element of the first result."""
    channels: int
    pitch: int
    """Elements from one input pixel to the next."""
    buffer: tuple[int, int, int]
    kernel: Pair = (1, 1)
    """Extent of the weight, of which the window may see a part."""
    taps: tuple[Line, Line] = _WHOLE
    """Row and column of the weight for each row and column of the window."""
    results: tuple[Line, Line] = _WHOLE
    """Row and column of the result for each row and column of the grid."""
    flat: bool = False
    """All pixels form one long row."""
    channel_rows: bool = False
    """The channels lie along the rows of the buffer: the left side of a product is transposed."""

    @property
    def depth(self) -> int:
        """Length of the sum over the whole weight."""
        return self.kernel[0] * self.kernel[1] * self.channels

    @property
    def merges_columns(self) -> bool:
        """True if a window row is one run of elements, in the input as in the weight."""
        contiguous = self.pitch == self.channels and self.dilations[1] == 1 and self.taps[1] == Line()
        return self.window[1] == 1 or contiguous


def depthwise_walks(group: Group) -> tuple[Walk, ...]:
    """How a depthwise convolution with multiplier 1, or the gradient of its input, walks; empty for all others."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    if isinstance(anchor.operator, Conv2DInputGradient) and anchor.operator.is_depthwise(weight, anchor.attributes):
        return _transposed(group, [anchor.operator.phases(weight, anchor.attributes, d) for d in range(2)])
    if isinstance(anchor.operator, Conv2D) and anchor.attributes["groups"] == x.shape[-1] == weight.shape[-1]:
        return _convolution(group)
    return ()


def walks(group: Group) -> tuple[Walk, ...]:
    """How the anchor walks over its input; empty where the tiled schedule can't serve it."""
    operator = group.anchor.operator
    if isinstance(operator, (Convolution, Conv2DSum)):
        return _pixelwise(group) or _convolution(group) if group.anchor.attributes["groups"] == 1 else ()
    if isinstance(operator, TransposeConv2D):
        x, weight = (v.type for v in group.anchor.operands[:2])
        return _transposed(group, [operator.phases(x, weight, group.anchor.attributes, d) for d in range(2)])
    x = group.anchor.operands[0].type
    return (_flat(x),) if _is_one_row(group) else _grid(x)


def _flat(x: TensorType) -> Walk:
    pitch, pixels = x.buffer_shape[-1], math.prod(x.shape[:-1])
    buffer = (1, 1, pixels * pitch)
    return Walk(images=1, height=1, width=pixels, channels=x.shape[-1], pitch=pitch, buffer=buffer, flat=True)


def _grid(x: TensorType) -> tuple[Walk, ...]:
    """Pixel by pixel over [N, W, C] or [N, H, W, C], whatever margins it has."""
    if x.rank not in (3, 4):
        return ()
    return (
        Walk(
            images=x.shape[0],
            height=1 if x.rank == 3 else x.shape[1],
            width=x.shape[-2],
            origin=_pair(tuple(before for before, _ in x.margins[1:-1]), 0),
            channels=x.shape[-1],
            pitch=x.buffer_shape[-1],
            buffer=_rows(x),
        ),
    )


def _is_one_row(group: Group) -> bool:
    """True if all pixels of the input, the result and what the epilogue reads can be seen as one row.

    No tensor of many pixels has margins between them, and every other operand has the result's shape, or is the same
    for all pixels.
    """
    shape = group.result.type.shape
    own = set(group.anchor.operands)
    others = [v.type for v in group.outer if v not in own]
    tensors = [group.anchor.operands[0].type, group.result.type, *(t for t in others if t.shape == shape)]
    dense = all(margin == (0, 0) for t in tensors for margin in t.margins[:-1])
    return dense and all(t.shape == shape or math.prod(t.shape[:-1]) == 1 for t in others)


def _pixelwise(group: Group) -> tuple[Walk, ...]:
    """The flat walk of a convolution whose window is one pixel."""
    anchor, y = group.anchor, group.result.type
    x, weight = (v.type for v in anchor.operands[:2])
    single = set(weight.shape[:-2]) == {1} and set(anchor.attributes["strides"]) == {1}
    padded = x.shape[1:-1] != y.shape[1:-1]
    return (_flat(x),) if x.rank <= 4 and single and not padded and _is_one_row(group) else ()


def _convolution(group: Group) -> tuple[Walk, ...]:
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    y = anchor.result.type
    if x.rank > 4:
        return ()
    window = window_of(anchor.name, x.shape[1:-1], weight.shape[:-2], anchor.attributes)
    origin = _origin(x, window.padding)
    if origin is None:
        return ()
    kernel = _pair(window.kernel, 1)
    return (
        Walk(
            images=y.shape[0],
            height=1 if y.rank == 3 else y.shape[1],
            width=y.shape[-2],
            window=kernel,
            strides=_pair(window.strides, 1),
            dilations=_pair(window.dilations, 1),
            origin=_pair(origin, 0),
            channels=x.shape[-1],
            pitch=x.buffer_shape[-1],
            buffer=_rows(x),
            kernel=kernel,
        ),
    )


def _origin(x: TensorType, padding: tuple[Pair, ...]) -> tuple[int, ...] | None:
    """Where the padded tensor starts in its buffer; None if the margins don't hold the padding."""
    if not x.has_margins(((0, 0), *padding, (0, 0))):
        return None
    return tuple(m[0] - p[0] for m, p in zip(x.margins[1:-1], padding, strict=True))


def _rows(x: TensorType) -> tuple[int, int, int]:
    """[N, W, C] or [N, H, W, C] as images, rows, elements of a row."""
    shape = x.buffer_shape
    return (shape[0], 1 if x.rank == 3 else shape[1], shape[-2] * shape[-1])


def _pair(values: tuple[int, ...], first: int) -> Pair:
    """Vertical and horizontal value; `first` is the vertical one where there is only one dimension."""
    return (first, values[0]) if len(values) == 1 else (values[0], values[1])


def _transposed(group: Group, phases: Sequence[Sequence[Phase]]) -> tuple[Walk, ...]:
    x, weight = (v.type for v in group.anchor.operands[:2])
    if not x.has_margins(phase_margins(phases, x.shape[1:-1])):
        return ()
    return tuple(
        Walk(
            images=x.shape[0],
            height=rows.count,
            width=columns.count,
            window=(rows.taps, columns.taps),
            origin=(x.margins[1][0] + rows.first_input, x.margins[2][0] + columns.first_input),
            channels=x.shape[-1],
            pitch=x.buffer_shape[-1],
            buffer=_rows(x),
            kernel=(weight.shape[0], weight.shape[1]),
            taps=(Line(rows.first_tap, -rows.stride), Line(columns.first_tap, -columns.stride)),
            results=(Line(rows.first_result, rows.stride), Line(columns.first_result, columns.stride)),
        )
        for rows in phases[0]
        for columns in phases[1]
    )
