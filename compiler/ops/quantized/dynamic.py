"""Floats as 8-bit integers whose scale is found while the program runs: parts of the `hybrid_` operators.

A row of floats (one sample of a convolution, one vector of a dense layer) has a scale of its own, from its smallest and
its largest element. `row_extremes` finds these, `dynamic_parameters` what follows from them, `dynamic_quantize` the
integers, and `dynamic_rescale` brings sums of products back to floats. Each of them rounds as LiteRT's reference
kernels do on x86; what they make of NaN is left open, as it is there.
"""

from __future__ import annotations

import math
from functools import reduce
from types import NoneType

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...loops.compute import Compute, Procedure
from ...loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    Load,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    const,
)
from ...numerics import convert
from ...types import DType, TensorType
from ..functions.rounding import Let, rounded, rounded_expr
from ..moves.movement import Margins, check_padding, padded_shape
from ..procedures import each
from .base import Part

SCALE, INVERSE, ZERO = 0, 1, 2
"""Places in a row of `dynamic_parameters`."""
FLOATS = "its result is made of integers that are rounded"
SYMMETRIC = AttributeSpec(bool, "zero stands for 0.0, and the integers are -127 to 127", False)


def _check_floats(operator: Part, *operands: TensorType) -> None:
    for operand in operands:
        if operand.dtype is not DType.F32:
            raise ShapeError(f"{operator.name} takes f32, not {operand}")


def _fits(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Whether a shape broadcasts to another one."""
    return len(small) <= len(large) and all(a in (1, b) for a, b in zip(reversed(small), reversed(large), strict=False))


@register
class RowExtremes(Part):
    """Smallest and largest element of each part of each row: x f32 [rows, parts, elements] to f32 [rows, parts, 2]."""

    name = "row_extremes"
    operands = ("x",)
    procedural = True
    non_differentiable = FLOATS

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        _check_floats(self, x)
        if x.rank != 3 or not x.shape[2]:
            raise ShapeError(f"row_extremes takes [rows, parts, elements], not {x}")
        return (TensorType(DType.F32, (*x.shape[:2], 2)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        return (np.stack([x.min(-1), x.max(-1)], -1),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        shape = p.type(0).shape
        return each(p, shape[:2], lambda row: self._row(p, row, shape[2]), shared=math.prod(shape))

    def _row(self, p: Procedure, row: tuple[Expr, ...], elements: int) -> list[Stmt]:
        """One pass, with a vector of the smallest and one of the largest elements for each width of vectors."""
        found: dict[int, tuple[Buffer, Buffer]] = {}
        start: list[Stmt] = []
        here = (Const(0),)

        def vector(first: Var, lanes: int) -> list[Stmt]:
            x = p.load(0, (*row, first), lanes)
            if lanes not in found:
                found[lanes] = _register(p, "least", lanes), _register(p, "most", lanes)
                for buffer, value in zip(found[lanes], (math.inf, -math.inf), strict=True):
                    start.extend([Allocate(buffer), Store(buffer, here, Const(value, DType.F32, lanes))])
            pairs = zip(("min", "max"), found[lanes], strict=True)
            return [Store(b, here, Binary(op, x, Load(b, here))) for op, b in pairs]

        loops = p.vectors(elements, vector)
        ends: list[Stmt] = []
        for place, op in enumerate(("min", "max")):
            vectors = (Load(pair[place], here) for pair in found.values())
            totals: list[Expr] = [Reduce(op, v) if v.type.lanes > 1 else v for v in vectors]
            total = reduce(lambda a, b, op=op: Binary(op, a, b), totals)  # type: ignore[misc]
            ends.append(p.store((*row, Const(place)), total))
        return [*start, *loops, *ends]


def _register(p: Procedure, name: str, lanes: int) -> Buffer:
    return Buffer(p.fresh(name), DType.F32, (1,), Space.REGISTER, lanes=lanes)


@register
class DynamicParameters(Part):
    """What the extremes f32 [rows, parts, 2] of rows make of them: f32 [rows, 3] of scale, 1 / scale and zero point.

    The range of a row includes 0. Asymmetric: it is divided into 255 steps, in double precision from the difference in
    single precision, and the zero point is the nearest integer. Symmetric: its larger side is divided into 127 steps. A
    row of zeros has the scale 1. Source: LiteRT's AsymmetricQuantizeFloats and SymmetricQuantizeFloats.
    """

    name = "dynamic_parameters"
    operands = ("extremes",)
    procedural = True
    attributes = {"symmetric": SYMMETRIC}
    non_differentiable = FLOATS

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        _check_floats(self, x)
        if x.rank != 3 or not x.shape[1] or x.shape[2] != 2:
            raise ShapeError(f"dynamic_parameters takes [rows, parts, 2], not {x}")
        return (TensorType(DType.F32, (x.shape[0], 3)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        low, high = x[..., 0].min(-1), x[..., 1].max(-1)
        with np.errstate(all="ignore"):
            found = _symmetric(low, high) if attributes["symmetric"] else _asymmetric(low, high)
        return (np.stack(found, -1).astype(np.float32),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        rows, parts, _ = p.type(0).shape

        def row(index: tuple[Expr, ...]) -> list[Stmt]:
            block: list[Stmt] = []
            low: Expr = p.let(block, "low", p.load(0, (*index, Const(0), Const(0))))
            high: Expr = p.let(block, "high", p.load(0, (*index, Const(0), Const(1))))
            for part in range(1, parts):
                low = p.let(block, "low", Binary("min", low, p.load(0, (*index, Const(part), Const(0)))))
                high = p.let(block, "high", Binary("max", high, p.load(0, (*index, Const(part), Const(1)))))
            find = _symmetric_expr if attributes["symmetric"] else _asymmetric_expr
            values = find(lambda value: p.let(block, "t", value), low, high)
            return [*block, *(p.store((*index, Const(i)), value) for i, value in enumerate(values))]

        return each(p, (rows,), row, shared=rows * (parts + 16))


def _symmetric(low: Array, high: Array) -> tuple[Array, Array, Array]:
    size, steps = np.maximum(np.abs(low), np.abs(high)), np.float32(127)
    empty = size == 0
    return np.where(empty, 1, size / steps), np.where(empty, 1, steps / size), np.zeros_like(size)


def _symmetric_expr(let: Let, low: Expr, high: Expr) -> tuple[Expr, ...]:
    size = let(Binary("max", Unary("abs", low), Unary("abs", high)))
    empty, one = let(Binary("eq", size, _single(0.0))), _single(1.0)
    return Select(empty, one, size / _single(127.0)), Select(empty, one, _single(127.0) / size), _single(0.0)


def _asymmetric(low: Array, high: Array) -> tuple[Array, Array, Array]:
    low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
    empty = low == high
    step = (high - low).astype(np.float64) / 255
    below, above = low / step, high / step
    nearer = 128 + np.abs(below) < 127 + np.abs(above)
    zero = np.clip(rounded(np.where(nearer, -128 - below, 127 - above)), -128, 127)
    scale = np.where(empty, 1, step.astype(np.float32))
    return scale, np.where(empty, 1, np.float32(1) / scale), np.where(empty, 0, zero)


def _asymmetric_expr(let: Let, low: Expr, high: Expr) -> tuple[Expr, ...]:
    low, high = let(Binary("min", low, _single(0.0))), let(Binary("max", high, _single(0.0)))
    empty, one = let(Binary("eq", low, high)), _single(1.0)
    step = let(Cast(high - low, DType.F64) / _double(255.0))
    below, above = let(Cast(low, DType.F64) / step), let(Cast(high, DType.F64) / step)
    sizes = (_double(128.0) + Unary("abs", below), _double(127.0) + Unary("abs", above))
    ideal = let(Select(Binary("lt", *sizes), _double(-128.0) - below, _double(127.0) - above))
    zero = Binary("max", Binary("min", rounded_expr(let, ideal), _double(127.0)), _double(-128.0))
    scale = let(Select(empty, one, Cast(step, DType.F32)))
    return scale, Select(empty, one, one / scale), Select(empty, _single(0.0), Cast(zero, DType.F32))


@register
class DynamicQuantize(Part):
    """Floats as integers: x / scale, rounded half away from zero, plus the zero point, saturated: f32 to i8.

    The sum with a half is rounded to f32, as in LiteRT's vector code, so that the float below a half becomes 1.
    `parameters` [..., 3] are those of `dynamic_parameters`; they broadcast to x along its last dimension. With
    `padding` ((before, after) for each dimension) what stands for 0.0 surrounds the result.
    """

    name = "dynamic_quantize"
    operands = ("x", "parameters")
    attributes = {
        "symmetric": SYMMETRIC,
        "padding": AttributeSpec((tuple, NoneType), "(before, after) for each dimension; none if absent", None),
    }
    non_differentiable = FLOATS

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x = operands[0]
        _check_parameters(self, x, operands[1])
        check_padding(self.name, x, self._padding(x.rank, attributes))
        shape = self._shape(x, attributes)
        if not _fits(operands[1].shape[:-1], shape[:-1]):
            raise ShapeError(f"{self.name}: rows around those of {operands[1]} have no parameters")
        return (TensorType(DType.I8, shape),)

    def _shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        """The shape of the result."""
        return padded_shape(x, self._padding(x.rank, attributes))

    def _padding(self, rank: int, attributes: Attributes) -> Margins:
        given: Margins | None = attributes["padding"]
        return ((0, 0),) * rank if given is None else given

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, parameters = operands
        inverse, zero = (parameters[..., place, np.newaxis] for place in (INVERSE, ZERO))
        padded = np.pad(x, self._padding(x.ndim, attributes)) if attributes["padding"] else x
        with np.errstate(all="ignore"):
            whole = _nearest(padded * inverse) + zero
        least = -127 if attributes["symmetric"] else -128
        return (convert(np.clip(whole, least, 127), DType.I8),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        rows = self._shape(c.type(0), attributes)[:-1]
        inverse, zero = (_parameter(c, index, rows, place) for place in (INVERSE, ZERO))
        if attributes["padding"]:
            place = tuple(i - b for i, (b, _) in zip(index, attributes["padding"], strict=True))
            x = c.load_padded(0, place, 0.0)
        else:
            x = c.load(0, index)
        whole = _nearest_expr(c.let, x * inverse) + zero
        least = -127.0 if attributes["symmetric"] else -128.0
        bounded = Binary("max", Binary("min", whole, const(127.0, whole.type)), const(least, whole.type))
        return Cast(bounded, DType.I8)


def _nearest(x: Array) -> Array:
    """The whole part of |x| + 0.5, with the sign of x."""
    return np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x)


def _nearest_expr(let: Let, x: Expr) -> Expr:
    """`_nearest` of an expression."""
    x = let(x)
    size = let(Unary("floor", Unary("abs", x) + const(0.5, x.type)))
    return Select(Binary("lt", x, const(0.0, x.type)), Unary("neg", size), size)


@register
class DynamicRescale(Part):
    """Sums of products as floats: (x - zero point * weight sum) * (scale * weight scale) + bias, for x i32.

    `parameters` [..., 3] broadcast to x along its last dimension; `weight_sums` i32, `weight_scales` and `bias` f32
    have one element for each place there, or one (the weight's sums may have leading dimensions). `apart` multiplies
    by the weight's scale first, then by the other.
    """

    name = "dynamic_rescale"
    operands = ("x", "parameters", "weight_sums", "weight_scales", "bias?")
    attributes = {"apart": AttributeSpec(bool, "multiplies by one scale after the other", False)}
    elementwise = True
    non_differentiable = FLOATS

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, parameters, sums, *others = operands
        _check_parameters(self, x, parameters, DType.I32)
        _check_floats(self, *others)
        if sums.dtype is not DType.I32 or not all(_fits(v.shape, x.shape) for v in (sums, *others)):
            raise ShapeError(f"{self.name} can't scale {x} by {', '.join(map(str, (sums, *others)))}")
        return (TensorType(DType.F32, x.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, parameters, sums, weight_scales, *bias = operands
        scale, zero = (parameters[..., place, np.newaxis] for place in (SCALE, ZERO))
        with np.errstate(all="ignore"):
            total = (x - zero.astype(np.int32) * sums).astype(np.float32)
            y = total * weight_scales * scale if attributes["apart"] else total * (scale * weight_scales)
            return (np.asarray(y + bias[0] if bias else y),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        rows = c.type(0).shape[:-1]
        scale, zero = (_parameter(c, index, rows, place) for place in (SCALE, ZERO))
        sums, weight_scale = c.load_broadcast(2, index), c.load_broadcast(3, index)
        total = Cast(c.load(0, index) - Cast(zero, DType.I32) * sums, DType.F32)
        y = total * weight_scale * scale if attributes["apart"] else total * (scale * weight_scale)
        return y + c.load_broadcast(4, index) if c.count > 4 else y


def _check_parameters(operator: Part, x: TensorType, parameters: TensorType, dtype: DType = DType.F32) -> None:
    _check_floats(operator, parameters)
    rows = parameters.shape[:-1]
    if x.dtype is not dtype or x.rank < 1 or parameters.shape[-1:] != (3,) or not _fits(rows, x.shape[:-1]):
        raise ShapeError(f"{operator.name} can't take {x} with parameters {parameters}")


def _parameter(c: Compute, index: tuple[Expr, ...], result: tuple[int, ...], place: int) -> Expr:
    """One of the parameters of the row in which an index lies, among rows of these sizes."""
    rows = c.type(1).shape[:-1]
    lead = index[len(index) - 1 - len(rows) : -1]
    if rows != result:  # where all pixels are one row, sizes of 1 say nothing about indices
        lead = tuple(Const(0) if s == 1 else i for i, s in zip(lead, rows, strict=True))
    return c.load(1, (*lead, Const(place)))


def _single(number: float) -> Const:
    return Const(number, DType.F32)


def _double(number: float) -> Const:
    return Const(number, DType.F64)
