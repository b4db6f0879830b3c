"""Geometry of contractions: which input elements and weights each result of a convolution or dense layer sums.

A `Walk` describes one nest of loops: a grid of result pixels, the window of input pixels that each one reads, the
weight that goes with each window element, and where the results lie. Convolutions and dense layers are one walk; a
transposed convolution of stride s is s * s walks, one for each phase of the result, none of which multiplies by the
zeros that the stride puts between input pixels. In three dimensions, planes lie over each other in the buffer's rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

from ....graph.ir import Attributes
from ....loops.ir import Const, Expr, maximum, minimum
from ....lowering.group import Group
from ....ops.products.dense import Dense
from ....ops.quantized.contraction import Conv2DSum, ConvolutionSum
from ....ops.windows.convolution import Conv2D, Convolution
from ....ops.windows.transpose_convolution import TransposeConv2D, TransposeConvolution
from ....ops.windows.window import Phase, phase_margins, window_of
from ....types import TensorType

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Line:
    """The numbers start, start + step, start + 2 * step ..."""

    start: int = 0
    step: int = 1


_WHOLE = (Line(), Line())


Met = tuple[Expr, Expr]
"""Planes of a window, from and up to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planes:
    """The third spatial dimension, outermost: planes of results, and the planes of input that they read."""

    count: int
    """Planes of results of one image."""
    rows: int
    """Buffer rows of one plane."""
    window: int = 1
    stride: int = 1
    dilation: int = 1
    origin: int = 0
    kernel: int = 1
    taps: Line = Line()
    results: Line = Line()
    tensor: Pair | None = None
    """The buffer's planes that hold the tensor, from and up to: the others are padding, which need not be multiplied.
    None: it is."""

    def met(self, z: Expr) -> Met:
        """What of the window lies on the tensor at plane z of the results."""
        if len(set(self.by_plane)) == 1:
            begin, end = self.by_plane[0]
            return Const(begin), Const(end)
        first, last = (
            minimum(maximum(distance - z * self.stride, 0) // self.dilation, self.window)
            for distance in self._distances
        )
        return first, last

    @property
    def by_plane(self) -> Sequence[Pair]:
        """The same for each plane of the results."""
        if self.tensor is None:
            return [(0, self.window)] * self.count
        places = ([max(distance - z * self.stride, 0) for distance in self._distances] for z in range(self.count))
        ends = ([min(place // self.dilation, self.window) for place in pair] for pair in places)
        return [(begin, end) for begin, end in ends]

    @property
    def _distances(self) -> Sequence[int]:
        """From the first plane of the first window to both ends of the tensor, and almost a step of the window more."""
        assert self.tensor is not None
        return [end - self.origin + self.dilation - 1 for end in self.tensor]

    @property
    def kinds(self) -> Sequence[Pair]:
        """What of the window lies on the tensor, for each kind of planes of results (see `kind`)."""
        found = {sum(self.by_plane[0]) - sum(pair): pair for pair in self.by_plane}
        return [found.get(kind, (0, self.window)) for kind in range(max(found) + 1)]

    def kind(self, met: Met) -> Expr:
        """The number of a plane's kind: from plane to plane, both ends of what is met stay or fall."""
        return sum(self.by_plane[0]) - (met[0] + met[1])


PLANE = Planes(count=1, rows=0)
"""Of two dimensions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """A result grid and how it walks over the input buffer, seen as [images, rows, columns * pitch]."""

    images: int
    """Images, or planes of all images."""
    height: int
    width: int
    window: Pair = (1, 1)
    strides: Pair = (1, 1)
    dilations: Pair = (1, 1)
    origin: Pair = (0, 0)
    """Buffer row and column of the first window element of the first result."""
    channels: int
    """Those that a result sums over: one group's."""
    groups: int = 1
    planes: Planes = PLANE
    pitch: int
    """Elements from one input pixel to the next."""
    step: int = 1
    """Elements from one input channel to the next."""
    buffer: tuple[int, int, int]
    kernel: Pair = (1, 1)
    """Extent of the weight, of which the window may see a part."""
    taps: tuple[Line, Line] = _WHOLE
    """Row and column of the weight for each row and column of the window."""
    results: tuple[Line, Line] = _WHOLE
    """Row and column of the result for each row and column of the grid."""
    flat: bool = False
    """All pixels form one long row."""
    line: int = 0
    """Of a flat walk the pixels in a row of the result, if margins lie between these; 0: none do."""
    channel_rows: bool = False
    """The channels lie along the rows of the buffer: the left side of a product is transposed."""

    @property
    def depth(self) -> int:
        """Length of the sum over the whole weight."""
        return self.planes.kernel * self.kernel[0] * self.kernel[1] * self.channels

    @property
    def multiplications(self) -> int:
        """Of one input channel with one filter."""
        return self.images * self.height * self.width * math.prod(self.window) * self.planes.window

    @property
    def is_empty(self) -> bool:
        """True if no window element lies over any input: a phase that nothing reaches."""
        return 0 in (*self.window, self.planes.window)

    @property
    def plane_inputs(self) -> int:
        """Elements of the input that one plane of results reads, or an image of two dimensions."""
        rows = self.planes.rows * self.planes.window if self.planes.rows else self.buffer[1]
        return rows * self.buffer[2]

    def over_padding(self) -> Walk:
        """The walk that multiplies planes of padding, too."""
        return replace(self, planes=replace(self.planes, tensor=None))

    @property
    def merges_columns(self) -> bool:
        """True if a window row is one run of elements, in the input as in the weight."""
        contiguous = self.pitch == self.channels and self.dilations[1] == 1 and self.taps[1] == Line()
        return self.window[1] == 1 or contiguous


def depthwise_walks(group: Group) -> tuple[Walk, ...]:
    """How a depthwise convolution or transposed one of two dimensions walks, with multiplier 1; empty for others."""
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    if not isinstance(anchor.operator, (Conv2D, Conv2DSum, TransposeConv2D)) or x.shape[-1] == 1:
        return ()
    if not anchor.attributes["groups"] == x.shape[-1] == weight.shape[-1]:
        return ()
    found = _transposed(group) if isinstance(anchor.operator, TransposeConv2D) else _convolution(group)
    return tuple(replace(walk, channels=x.shape[-1], groups=1) for walk in found)


def walks(group: Group) -> tuple[Walk, ...]:
    """How the anchor walks over its input; empty where the tiled schedule can't serve it."""
    operator = group.anchor.operator
    if isinstance(operator, (Convolution, ConvolutionSum)):
        return _pixelwise(group) or _convolution(group)
    if isinstance(operator, TransposeConvolution):
        return _transposed(group)
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
            origin=pair_of(tuple(before for before, _ in x.margins[1:-1]), 0),
            channels=x.shape[-1],
            pitch=x.buffer_shape[-1],
            buffer=rows_of(x),
        ),
    )


def _is_one_row(group: Group) -> bool:
    """True if all pixels of the input, the result and what the epilogue reads can be seen as one row.

    No tensor of many pixels has margins between them, and every other operand has the result's shape, or is the same
    for all pixels, unless pixels are rows already.
    """
    shape = group.result.type.shape
    own = set(group.anchor.operands)
    others = [v.type for v in group.outer if v not in own]
    tensors = [group.anchor.operands[0].type, group.result.type, *(t for t in others if t.shape == shape)]
    dense = all(margin == (0, 0) for t in tensors for margin in t.margins[:-1])
    return dense and (len(shape) <= 2 or all(t.shape == shape or math.prod(t.shape[:-1]) == 1 for t in others))


def _pixelwise(group: Group) -> tuple[Walk, ...]:
    """The flat walk of a convolution whose window is one pixel."""
    anchor, y = group.anchor, group.result.type
    x, weight = (v.type for v in anchor.operands[:2])
    single = set(weight.shape[:-2]) == {1} and set(anchor.attributes["strides"]) == {1}
    padded = x.shape[1:-1] != y.shape[1:-1]
    if not single or padded or not _is_one_row(group):
        return ()
    return (replace(_flat(x), channels=weight.shape[-2], groups=anchor.attributes["groups"]),)


def flat_between_margins(group: Group) -> tuple[Walk, ...]:
    """The flat walk of a dense layer, or a convolution of one pixel, to a result with margins; empty for others."""
    anchor, y = group.anchor, group.result.type
    x, weight = (v.type for v in anchor.operands[:2])
    is_dense = isinstance(anchor.operator, Dense)
    if not (is_dense or isinstance(anchor.operator, Conv2D)) or y.rank != 4 or y.shape[0] != 1:
        return ()
    single = is_dense or _is_of_one_pixel(anchor.attributes, weight)
    own = set(anchor.operands)
    others = [v.type for v in group.outer if v not in own]
    alike = all(t.shape == y.shape or math.prod(t.shape[:-1]) == 1 for t in others)
    if not single or not alike or x.shape[:-1] != y.shape[:-1] or any(m != (0, 0) for m in x.margins[:-1]):
        return ()
    return (replace(_flat(x), channels=weight.shape[-2], line=y.shape[2]),)


def _is_of_one_pixel(attributes: Attributes, weight: TensorType) -> bool:
    """Is a convolution a product of pixels and a matrix?"""
    single = weight.shape[:-2] == (1, 1) and tuple(attributes["strides"]) == (1, 1)
    return single and attributes["groups"] == 1


def _convolution(group: Group) -> tuple[Walk, ...]:
    anchor = group.anchor
    x, weight = (v.type for v in anchor.operands[:2])
    y = anchor.result.type
    window = window_of(anchor.name, x.shape[1:-1], weight.shape[:-2], anchor.attributes)
    origin = origin_of(x, window.padding)
    if origin is None:
        return ()
    kernel = pair_of(window.kernel, 1)
    planes = PLANE
    if x.rank == 5:
        planes = Planes(
            count=y.shape[1],
            rows=x.buffer_shape[2],
            window=window.kernel[0],
            stride=window.strides[0],
            dilation=window.dilations[0],
            origin=origin[0],
            kernel=window.kernel[0],
            tensor=tensor_planes(x),
        )
    return (
        Walk(
            images=y.shape[0] * planes.count,
            height=1 if y.rank == 3 else y.shape[-3],
            width=y.shape[-2],
            window=kernel,
            strides=pair_of(window.strides, 1),
            dilations=pair_of(window.dilations, 1),
            origin=pair_of(origin, 0),
            channels=weight.shape[-2],
            groups=anchor.attributes["groups"],
            planes=planes,
            pitch=x.buffer_shape[-1],
            buffer=rows_of(x),
            kernel=kernel,
        ),
    )


def origin_of(x: TensorType, padding: tuple[Pair, ...]) -> tuple[int, ...] | None:
    """Where the padded tensor starts in its buffer; None if the margins don't hold the padding."""
    if not x.has_margins(((0, 0), *padding, (0, 0))):
        return None
    return tuple(m[0] - p[0] for m, p in zip(x.margins[1:-1], padding, strict=True))


def tensor_planes(x: TensorType) -> Pair:
    """The planes of a buffer [N, D, H, W, C] that hold its tensor, from and up to."""
    before = x.margins[1][0]
    return before, before + x.shape[1]


def rows_of(x: TensorType) -> tuple[int, int, int]:
    """[N, W, C], [N, H, W, C] or [N, D, H, W, C] as images, rows, elements of a row."""
    shape = x.buffer_shape
    return (shape[0], math.prod(shape[1:-2]), shape[-2] * shape[-1])


def pair_of(values: tuple[int, ...], first: int) -> Pair:
    """Vertical and horizontal value; `first` is the vertical one where there is only one dimension."""
    return (first, values[0]) if len(values) == 1 else (values[-2], values[-1])


_WIDE = (Phase(stride=1, first_result=0, count=1, taps=1, first_tap=0, tap_step=1, first_input=0, input_step=1),)
"""A dimension of one place."""


def _transposed(group: Group) -> tuple[Walk, ...]:
    """A walk for each phase of a transposed convolution."""
    anchor = group.anchor
    assert isinstance(anchor.operator, TransposeConvolution)
    x, weight = (v.type for v in anchor.operands[:2])
    phases = anchor.operator.phases(weight, anchor.attributes)
    if not x.has_margins(phase_margins(phases, x.shape[1:-1])):
        return ()
    missing = 3 - len(phases)
    kernel = ((1,) * missing + weight.shape[:-2])[:3]
    before = (0,) * missing + tuple(m[0] for m in x.margins[1:-1])
    return tuple(
        Walk(
            images=x.shape[0] * planes.count,
            height=rows.count,
            width=columns.count,
            window=(rows.taps, columns.taps),
            dilations=(rows.input_step, columns.input_step),
            origin=(before[1] + rows.first_input, before[2] + columns.first_input),
            channels=weight.shape[-2],
            groups=anchor.attributes["groups"],
            planes=Planes(
                count=planes.count,
                rows=x.buffer_shape[2] if x.rank == 5 else 0,
                window=planes.taps,
                dilation=planes.input_step,
                origin=before[0] + planes.first_input,
                kernel=kernel[0],
                taps=_taps(planes),
                results=Line(planes.first_result, planes.stride),
                tensor=tensor_planes(x) if x.rank == 5 else None,
            ),
            pitch=x.buffer_shape[-1],
            buffer=rows_of(x),
            kernel=(kernel[1], kernel[2]),
            taps=(_taps(rows), _taps(columns)),
            results=(Line(rows.first_result, rows.stride), Line(columns.first_result, columns.stride)),
        )
        for planes, rows, columns in product(*(_WIDE,) * missing, *phases)
    )


def _taps(phase: Phase) -> Line:
    return Line(phase.first_tap, -phase.tap_step)
