"""Pictures of another size: bilinear and nearest-neighbour resizing of [N, H, W, C], for floats and for integers.

Both follow TensorFlow Lite's reference kernels: signed 8-bit and 16-bit pictures are interpolated with ten fraction
bits, unsigned ones in f32 and rounded. Those of floats are resized one dimension after the other (see `resample`, which
has all other rules, too).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Scales, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Cast, Expr, Select, Unary, binary, const, maximum, minimum
from ...numerics import quotient
from ...types import DType, TensorType
from .interpolate import interpolated
from .resample import RULES, apply_taps, load_nearest, take_nearest, taps_of

ATTRIBUTES = {
    "size": AttributeSpec(tuple, "height and width of the result"),
    "align_corners": AttributeSpec(bool, "the corner pixels of both pictures lie on each other", False),
    "half_pixel_centers": AttributeSpec(bool, "pixels are areas, with their places in the middle", False),
}
_BITS = 10
_ONE = 1 << _BITS


class Resize(Operator):
    """Base of the two: x [N, H, W, C] to [N, size..., C]."""

    operands = ("x",)
    attributes = ATTRIBUTES
    keeps_quantization = True
    scales = Scales.OPERAND
    anchor = True
    mode: ClassVar[str]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        size = attributes["size"]
        if x.rank != 4 or len(size) != 2 or min(*x.shape[1:3], *size) < 1:
            raise ShapeError(f"{self.name} can't bring {x} to height and width {list(size)}")
        if attributes["align_corners"] and attributes["half_pixel_centers"]:
            raise ShapeError(f"{self.name} takes align_corners or half_pixel_centers, not both")
        return (TensorType(x.dtype, (x.shape[0], *size, x.shape[3])),)

    def rules(self, attributes: Attributes) -> dict[str, Any]:
        """The attributes of `resize` that mean the same."""
        aligned = attributes["align_corners"]
        centred = "tf_half_pixel_for_nn" if self.mode == "nearest" else "half_pixel"
        return {
            **{key: spec.default for key, spec in RULES.items()},
            "mode": self.mode,
            "coordinates": "align_corners"
            if aligned
            else centred
            if attributes["half_pixel_centers"]
            else "asymmetric",
            "rounding": "round_prefer_ceil" if aligned else "floor",
        }

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,) = op.operands
        rules = self.rules(op.attributes)
        return (b.emit("resize_gradient", cotangents[0], input_size=x.type.shape[1:3], **rules),)


@dataclass(frozen=True, slots=True)
class Blend:
    """Along one dimension: result i mixes elements `lower[i]` and `upper[i]`, with weight `weights[i]` of the upper."""

    lower: Array
    upper: Array
    weights: Array
    """f32, or integers out of 1024."""


def blend(size: int, target: int, attributes: Attributes, fixed: bool) -> Blend:
    """How a dimension of `size` is stretched to `target`; `fixed`: in fixed point."""
    old, new = _extents(size, target, attributes)
    return (
        _fixed_blend(size, target, old, new, attributes) if fixed else _float_blend(size, target, old, new, attributes)
    )


def _float_blend(size: int, target: int, old: int, new: int, attributes: Attributes) -> Blend:
    scale = np.float32(old) / np.float32(new)
    place = np.arange(target, dtype=np.float32)
    if attributes["half_pixel_centers"]:
        position = (place + np.float32(0.5)) * scale - np.float32(0.5)
    else:
        position = place * scale
    lower = np.maximum(np.floor(position).astype(np.int64), 0)
    upper = np.minimum(np.ceil(position).astype(np.int64), size - 1)
    return Blend(np.minimum(lower, size - 1), upper, position - lower.astype(np.float32))


def _fixed_blend(size: int, target: int, old: int, new: int, attributes: Attributes) -> Blend:
    scale = (_ONE * old + new // 2) // new
    position = np.arange(target, dtype=np.int64) * scale
    if attributes["half_pixel_centers"]:
        position += scale // 2 - _ONE // 2
    lower = np.maximum(quotient(position, _ONE), 0)
    upper = np.minimum(quotient(position + _ONE - 1, _ONE), size - 1)
    return Blend(np.minimum(lower, size - 1), upper, position - _ONE * lower)


@register
class ResizeBilinear(Resize):
    """Mixes of the four nearest pixels of x [N, H, W, C]."""

    name = "resize_bilinear"
    mode = "linear"
    rounds = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if operands[0].dtype not in (DType.F32, DType.F64, DType.F16, DType.I8, DType.U8, DType.I16):
            raise ShapeError(
                f"resize_bilinear takes floats or 8-bit or 16-bit integers, not {operands[0]}", hint="cast it"
            )
        return super().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        if x.dtype.kind == "f":
            taps = taps_of(self.rules(attributes), x.shape[1:3], attributes["size"], DType.of(x.dtype))
            return (apply_taps(x, taps),)
        fixed = x.dtype in (np.int8, np.int16)
        rows, columns = (blend(s, t, attributes, fixed) for s, t in zip(x.shape[1:3], attributes["size"], strict=True))
        one: Array = np.int64(_ONE) if fixed else np.float32(1)  # type: ignore[assignment]
        wy, wx = rows.weights[:, np.newaxis, np.newaxis], columns.weights[:, np.newaxis]
        total: Array | int = 0
        # The order of the terms and of their factors is that of the reference, which matters for unsigned integers.
        for y, x_places, factor_y, factor_x in (
            (rows.lower, columns.lower, one - wy, one - wx),
            (rows.upper, columns.lower, wy, one - wx),
            (rows.lower, columns.upper, one - wy, wx),
            (rows.upper, columns.upper, wy, wx),
        ):
            corner = x[:, y][:, :, x_places].astype(np.int64 if fixed else np.float32)
            total = total + corner * factor_y * factor_x
        result = np.asarray(total)
        if fixed:
            half = np.where(result > 0, 1 << (2 * _BITS - 1), -(1 << (2 * _BITS - 1)))
            result = quotient(result + half, 1 << (2 * _BITS))
        elif x.dtype == np.uint8:
            result = result + np.float32(0.5)
        return (result.astype(x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        (x,) = operands
        if not x.type.dtype.is_float:
            return None
        taps = taps_of(self.rules(attributes), x.type.shape[1:3], attributes["size"], x.type.dtype)
        return interpolated(b, x, taps)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x = c.type(0)
        n, row, column, ch = index
        fixed = x.dtype in (DType.I8, DType.I16)
        place = _fixed_place if fixed else _float_place
        rows, columns = (
            place(c, p, s, t, attributes)
            for p, s, t in zip((row, column), x.shape[1:3], attributes["size"], strict=True)
        )

        def corner(y: int, x: int) -> Expr:
            element = Cast(c.load(0, (n, rows[y], columns[x], ch)), _blend_type(c.type(0).dtype))
            return element * (rows[2] if y else rows[3]) * (columns[2] if x else columns[3])

        total = c.let(corner(0, 0) + corner(1, 0) + corner(0, 1) + corner(1, 1))
        if fixed:
            half = 1 << (2 * _BITS - 1)
            is_positive = binary("lt", const(0, total.type), total)
            total = total + Select(is_positive, const(half, total.type), const(half - 1, total.type))
            # Half away from zero: below zero, (total - half) truncated is (total + half - 1) rounded down.
            return Cast(binary("shr", total, 2 * _BITS), x.dtype)
        return Cast(total + 0.5, x.dtype) if x.dtype is DType.U8 else total


def _blend_type(dtype: DType) -> DType:
    """The element type in which elements are mixed; 32 bits hold 8-bit numbers and the weights' 20."""
    return {DType.I8: DType.I32, DType.I16: DType.I64}.get(dtype, DType.F32)


Place = tuple[Expr, Expr, Expr, Expr]
"""Lower and upper element along one dimension, weights of the upper and the lower one."""


def _float_place(c: Compute, place: Expr, size: int, target: int, attributes: Attributes) -> Place:
    old, new = _extents(size, target, attributes)
    scale = float(np.float32(old) / np.float32(new))
    shift = 0.5 if attributes["half_pixel_centers"] else 0.0
    position = (Cast(place, DType.F32) + shift) * scale - shift if shift else Cast(place, DType.F32) * scale
    position = c.let(position)
    whole = Unary("floor", position)
    lower = c.let(maximum(Cast(whole, DType.I64), 0))
    is_between = Cast(binary("lt", whole, position), DType.I64)
    upper = maximum(minimum(Cast(whole, DType.I64) + is_between, size - 1), 0)
    weight = c.let(position - Cast(lower, DType.F32))
    return minimum(lower, size - 1), upper, c.splat(weight), c.splat(binary("sub", 1.0, weight))


def _fixed_place(c: Compute, place: Expr, size: int, target: int, attributes: Attributes) -> Place:
    old, new = _extents(size, target, attributes)
    scale = (_ONE * old + new // 2) // new
    position = place * scale
    if attributes["half_pixel_centers"]:
        position = position + (scale // 2 - _ONE // 2)
    lower = maximum(position // _ONE, 0)
    upper = minimum((maximum(position, 1 - _ONE) + (_ONE - 1)) // _ONE, size - 1)
    weight = c.let(Cast(position - lower * _ONE, _blend_type(c.type(0).dtype)))
    return minimum(lower, size - 1), upper, c.splat(weight), c.splat(binary("sub", _ONE, weight))


def _extents(size: int, target: int, attributes: Attributes) -> tuple[int, int]:
    """What is stretched to what: distances between corner pixels if these are aligned, else whole sizes."""
    return (size - 1, target - 1) if attributes["align_corners"] and target > 1 else (size, target)


@register
class ResizeNearest(Resize):
    """The nearest pixel of x [N, H, W, C]."""

    name = "resize_nearest"
    mode = "nearest"
    picks = True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (take_nearest(operands[0], attributes["size"], self.rules(attributes)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return load_nearest(c, index, attributes["size"], self.rules(attributes))
