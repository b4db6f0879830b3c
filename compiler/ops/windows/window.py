"""Geometry of sliding windows, shared by convolution and pooling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Operation
from ...loops.ir import Binary, Const, Expr, maximum, minimum
from ...types import DType

SpatialSize = int | tuple[int, ...]
"""A number for every spatial dimension, or one for each."""
Padding = str | int | tuple[int | tuple[int, int], ...]
""""same", "valid", a number for every border, one for each dimension, or (before, after) for each."""


def per_dimension(what: str, value: SpatialSize, spatial: int) -> tuple[int, ...]:
    """Spread a size over the spatial dimensions; it must be positive."""
    sizes = (value,) * spatial if isinstance(value, int) else tuple(value)
    if len(sizes) != spatial:
        raise ShapeError(f"{what} has {len(sizes)} numbers, but there are {spatial} spatial dimensions")
    if any(not isinstance(s, int) or s < 1 for s in sizes):
        raise ShapeError(f"{what} must be positive, not {value}")
    return sizes


def dilated(kernel: Sequence[int], dilations: Sequence[int]) -> tuple[int, ...]:
    """Extent of a window whose elements stand `dilations` apart."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))


def normalize_padding(pad: Padding, extent: tuple[int, ...]) -> str | tuple[tuple[int, int], ...]:
    """Bring the language's forms of padding to "same", "valid" or pairs.

    Raises `ShapeError` for any others.
    """
    if isinstance(pad, str):
        if pad not in ("same", "valid"):
            raise ShapeError(f'padding can\'t be "{pad}"', hint="use same, valid or a number such as 1")
        return pad
    sizes = (pad,) * len(extent) if isinstance(pad, int) else tuple(pad)
    pairs = tuple((p, p) if isinstance(p, int) else tuple(p) for p in sizes)
    if len(pairs) != len(extent) or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise ShapeError(f"padding {pad} doesn't fit {len(extent)} spatial dimensions")
    return tuple((p[0], p[1]) for p in pairs)


def check_pairs(name: str, padding: Any, count: int) -> None:
    """Raise `ShapeError` unless padding is (before, after), not below 0, for each of `count` dimensions."""
    is_pairs = isinstance(padding, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in padding)
    if not is_pairs or len(padding) != count or any(n < 0 for pair in padding for n in pair):
        raise ShapeError(f"{name}: padding {padding!r} doesn't give (before, after) for {count} dimensions")


@dataclass(frozen=True, slots=True)
class Window:
    """A window of `kernel` elements, `dilations` apart, moved by `strides` over `size` elements padded by `padding`."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    output: tuple[int, ...]

    def input_index(self, out: Sequence[Expr], k: Sequence[Expr]) -> tuple[Expr, ...]:
        """The input place of window element `k` at output place `out`; it may lie in the padding."""
        return tuple(
            o * s + e * d - before
            for o, e, s, d, (before, _) in zip(out, k, self.strides, self.dilations, self.padding, strict=True)
        )

    @property
    def margins(self) -> tuple[tuple[int, int], ...]:
        """Elements before and after a tensor [N, size..., C] that the windows reach, for each of its dimensions."""
        spatial = []
        for out, stride, extent, size, (before, after) in zip(
            self.output, self.strides, dilated(self.kernel, self.dilations), self.size, self.padding, strict=True
        ):
            end = (out - 1) * stride + extent
            spatial.append((before, max(after, end - before - size)))
        return ((0, 0), *spatial, (0, 0))

    def patches(self, x: Array, padding: float) -> Array:
        """A view of x [N, size..., C] as [N, output..., C, kernel...]."""
        padded = np.pad(x, ((0, 0), *self.padding, (0, 0)), constant_values=np.asarray(padding, x.dtype))
        spatial = len(self.size)
        extent = dilated(self.kernel, self.dilations)
        view: Any = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=tuple(range(1, spatial + 1)))
        places = tuple(slice(0, (o - 1) * s + 1, s) for o, s in zip(self.output, self.strides, strict=True))
        elements = tuple(slice(None, None, d) for d in self.dilations)
        result: Array = view[(slice(None), *places, slice(None), *elements)]
        return result

    def scatter(self, contributions: Array) -> Array:
        """The adjoint of `patches`: [N, output..., C, kernel...] added up where it came from, [N, size..., C]."""
        spatial = len(self.size)
        padded_size = (before + s + after for s, (before, after) in zip(self.size, self.padding, strict=True))
        shape = (contributions.shape[0], *padded_size, contributions.shape[spatial + 1])
        padded = np.zeros(shape, contributions.dtype)
        for element in np.ndindex(self.kernel):
            starts = (e * d for e, d in zip(element, self.dilations, strict=True))
            places = tuple(
                slice(first, first + (o - 1) * s + 1, s)
                for first, o, s in zip(starts, self.output, self.strides, strict=True)
            )
            padded[(slice(None), *places)] += contributions[(..., *element)]
        inside = tuple(slice(before, before + s) for s, (before, _) in zip(self.size, self.padding, strict=True))
        return padded[(slice(None), *inside)]

    @property
    def reach(self) -> tuple[int, ...]:
        """How many candidates `covering` has for the windows over one input place, in each dimension."""
        return tuple(
            -(-k // s) if d == 1 else k for k, s, d in zip(self.kernel, self.strides, self.dilations, strict=True)
        )

    def covering(self, place: Sequence[Expr], candidate: Sequence[Expr]) -> Covering:
        """One candidate, out of `reach`, for the windows that cover an input place."""
        out: list[Expr] = []
        element: list[Expr] = []
        valid: Expr = Const(True, DType.BOOL)
        for p, r, k, s, d, (before, _), size in zip(
            place, candidate, self.kernel, self.strides, self.dilations, self.padding, self.output, strict=True
        ):
            shifted = p + before
            if d == 1:  # Window elements that cover the place are s apart.
                e: Expr = shifted % s + r * s
                o: Expr = shifted // s - r
                tests = [Binary("lt", e, Const(k))]
            else:
                e, distance = r, shifted - r * d
                o = distance // s
                tests = [Binary("eq", distance % s, Const(0))]
            tests += [Binary("le", Const(0), o), Binary("lt", o, Const(size))]
            for test in tests:
                valid = Binary("and", valid, test)
            out.append(minimum(maximum(o, 0), size - 1))
            element.append(minimum(e, k - 1))
        return Covering(tuple(out), tuple(element), valid)


@dataclass(frozen=True, slots=True)
class Covering:
    """A window at output place `out`, whose element `element` lies over an input place if `valid` holds.

    Both are legal places in any case.
    """

    out: tuple[Expr, ...]
    element: tuple[Expr, ...]
    valid: Expr


def window_of(name: str, size: tuple[int, ...], kernel: tuple[int, ...], attributes: Attributes) -> Window:
    """The window that an operator's `strides`, `padding` and `dilations` describe.

    "same" follows TensorFlow: ceil(size / stride) results, the odd pixel of padding after. Raises `ShapeError` where
    these don't fit the size.
    """
    strides: Any = attributes["strides"]
    dilations: Any = attributes.get("dilations", (1,) * len(size))
    padding: Any = attributes["padding"]
    if not len(size) == len(kernel) == len(strides) == len(dilations):
        raise ShapeError(
            f"{name}: window {list(kernel)} with strides {list(strides)} doesn't fit {len(size)} dimensions"
        )
    for what, numbers in (("window", kernel), ("strides", strides), ("dilations", dilations)):
        if any(n < 1 for n in numbers):
            raise ShapeError(f"{name}: {what} {list(numbers)} must be positive")
    extent = dilated(kernel, dilations)
    if padding == "same":
        totals = [max((-(-i // s) - 1) * s + e - i, 0) for i, e, s in zip(size, extent, strides, strict=True)]
        padding = tuple((t // 2, t - t // 2) for t in totals)
    elif padding == "valid":
        padding = ((0, 0),) * len(size)
    check_pairs(name, padding, len(size))
    output = tuple((i + p[0] + p[1] - e) // s + 1 for i, e, s, p in zip(size, extent, strides, padding, strict=True))
    if any(i + p[0] + p[1] < e for i, e, p in zip(size, extent, padding, strict=True)):
        raise ShapeError(f"{name}: a window of {list(extent)} doesn't fit into {list(size)} padded by {list(padding)}")
    return Window(size, tuple(kernel), tuple(strides), tuple(dilations), padding, output)


@dataclass(frozen=True, slots=True)
class Phase:
    """The results first_result, first_result + stride ... of one dimension: all see the same taps of the kernel.

    Result number t sums, over j < taps, input first_input + t + j * input_step times kernel element
    first_tap - j * tap_step.
    """

    stride: int
    first_result: int
    count: int
    taps: int
    first_tap: int
    tap_step: int
    first_input: int
    """May be negative: zeros stand before the first input."""
    input_step: int


def phases_of(kernel: int, stride: int, before: int, size: int, dilation: int) -> tuple[Phase, ...]:
    """The phases of one dimension of a convolution's adjoint, whose result has `size` places, `before` more cut off.

    Input i meets kernel element k at result stride * i + dilation * k - before.
    """
    found = []
    common = math.gcd(stride, dilation)
    for remainder in range(stride):  # of (result + before) / stride
        first_result = (remainder - before) % stride
        count = len(range(first_result, size, stride))
        taps = [k for k in range(kernel) if (remainder - k * dilation) % stride == 0]
        last = taps[-1] if taps else 0
        first_input = (first_result + before - last * dilation) // stride if taps else 0
        if count:
            steps = {"tap_step": stride // common, "input_step": dilation // common}
            found.append(Phase(stride, first_result, count, len(taps), last, first_input=first_input, **steps))
    return tuple(found)


def phase_margins(phases: Iterable[Sequence[Phase]], size: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Zeros before and after a tensor [N, size..., C] that its phases, those of one dimension after another, reach."""
    margins = []
    for found, extent in zip(phases, size, strict=True):
        reaching = [p for p in found if p.taps]
        before = max((-p.first_input for p in reaching), default=0)
        end = max((p.first_input + p.count + (p.taps - 1) * p.input_step for p in reaching), default=0)
        margins.append((max(before, 0), max(end - extent, 0)))
    return ((0, 0), *margins, (0, 0))


def with_whole_tiles(
    margins: Sequence[tuple[int, int]], output: Sequence[int], tile: Sequence[int], strides: Sequence[int] = (1, 1, 1)
) -> tuple[tuple[int, int], ...]:
    """Margins of [N, size..., C] that windows reach, enlarged so that all tiles of the output lie inside."""
    first, *spatial, last = margins
    sides = zip(spatial, output, tile, strides[: len(tile)], strict=True)
    larger = ((before, after + -size % side * stride) for (before, after), size, side, stride in sides)
    return (first, *larger, last)


def sums_of_products(a: Array, b: Array, axes: tuple[Sequence[int], Sequence[int]]) -> Array:
    """NumPy's `tensordot` over axes of either, in which infinity times zero is NaN.

    Where nothing is to be added up, NumPy asks BLAS for one array times a number, and that leaves out what is times 0.
    """
    if math.prod(a.shape[axis] for axis in axes[0]) != 1:
        return np.asarray(np.tensordot(a, b, axes=axes))
    return np.asarray(np.multiply.outer(np.squeeze(a, tuple(axes[0])), np.squeeze(b, tuple(axes[1]))))


def reads_elements(pad: Operation, pool: Operation) -> bool:
    """True if every window of a pooling operation that reads a pad has an element which isn't padding."""
    batch, *spatial, channels = pad.attributes["padding"]
    if any((*batch, *channels)):
        return False
    window = window_of(pool.name, pad.result.type.shape[1:-1], pool.attributes["size"], pool.attributes)
    sides = zip(spatial, window.padding, window.kernel, window.strides, window.output, window.size, strict=True)
    return all(
        kernel - own > before and (count - 1) * stride - own < size - after
        for (before, after), (own, _), kernel, stride, count, size in sides
    )
