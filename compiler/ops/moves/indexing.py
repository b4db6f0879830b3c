"""Operators that pick or repeat elements by their places: tile, gather and its like; whole-number division.

Negative indices count from the end, as in NumPy and ONNX (a TFLite file has such indices only where they are constant,
brought to the front). Others that lie outside are an error of the interpreter; compiled code, which has no errors to
raise, takes the nearest element inside, and never reads or writes anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...errors import NetcError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Operation, Operator, Scales, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Broadcast, Cast, Const, Expr, Unary, binary, maximum, minimum
from ...types import DType, TensorType
from ..functions.elementwise import broadcast_shapes
from ..gradients import reshaped
from ..reductions.reduction import normalize_axis
from .axes import inverse
from .movement import Movement


@register
class Tile(Movement):
    """x repeated `multiples` times along each dimension."""

    name = "tile"
    attributes = {"multiples": AttributeSpec(tuple, "number of repetitions along each dimension")}

    def shape(self, x: TensorType, attributes: Attributes) -> tuple[int, ...]:
        multiples = attributes["multiples"]
        if len(multiples) != x.rank or any(m < 0 for m in multiples):
            raise ShapeError(f"tile: {list(multiples)} doesn't give a number for each dimension of {x}")
        return tuple(s * m for s, m in zip(x.shape, multiples, strict=True))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (np.tile(operands[0], attributes["multiples"]),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        sizes = list(zip(attributes["multiples"], x.type.shape, strict=True))
        apart, repeated = (tuple(n for m, s in sizes for n in _split(m, s, copies)) for copies in (False, True))
        together = tuple(m * s for m, s in sizes)
        wide = b.emit("broadcast_to", reshaped(b, x, apart), shape=repeated)
        return reshaped(b, wide, together)

    def adjoint(self, b: Builder, dy: Value, x: TensorType, attributes: Attributes) -> Value:
        pairs = [n for m, s in zip(attributes["multiples"], x.shape, strict=True) for n in (m, s)]
        split = reshaped(b, dy, tuple(pairs))
        return reshaped(b, b.emit("reduce_sum", split, axes=tuple(range(0, len(pairs), 2))), x.shape)


def _split(multiple: int, size: int, copies: bool) -> tuple[int, ...]:
    """A dimension as (copies, elements), or as one of both where the other is 1."""
    if multiple == 1:
        return (size,)
    count = multiple if copies else 1
    return (count,) if size == 1 else (count, size)


# ---- indices ---------------------------------------------------------------------------------------------------------


def check_indices(name: str, indices: TensorType) -> None:
    """Raise `ShapeError` unless these are whole numbers."""
    if indices.dtype.is_float or indices.dtype is DType.BOOL:
        raise ShapeError(f"{name} takes whole numbers as indices, not {indices}", hint="cast them first")


def kept(x: TensorType, shape: tuple[int, ...]) -> TensorType:
    """The type of elements of x, under another shape."""
    given = x.quantization if x.quantization is not None and x.quantization.is_per_tensor else None
    return TensorType(x.dtype, shape, None, given)


def inside(name: str, indices: Array, limits: Sequence[int] | int) -> Array:
    """Indices into dimensions of these sizes, counted from the front; raises `NetcError` for those outside."""
    size = np.asarray(limits, np.int64)
    wide = indices.astype(np.int64)
    if wide.size and not ((wide >= -size) & (wide < size)).all():
        raise NetcError(f"{name}: an index lies outside {limits if isinstance(limits, int) else list(limits)}")
    return np.where(wide < 0, wide + size, wide)


def place(loaded: Expr, size: int) -> Expr:
    """A loaded index as a place in a dimension: counted from the end if it is negative, inside in any case."""
    given = Cast(scalar_of(loaded), DType.I64)
    counted = given + binary("and", binary("shr", given, 63), size)
    return maximum(minimum(counted, size - 1), 0)


def scalar_of(loaded: Expr) -> Expr:
    """An index that is the same in all lanes."""
    if isinstance(loaded, Const):
        return Const(loaded.value, loaded.dtype)
    return loaded.value if isinstance(loaded, Broadcast) else loaded


def iota(b: Emits, size: int, axis: int, rank: int, dtype: DType = DType.I64) -> Value:
    """0, 1, 2 ... along an axis of a tensor whose other sizes are 1."""
    shape = tuple(size if d == axis else 1 for d in range(rank))
    return b.emit("constant", value=np.arange(size, dtype=dtype.numpy).reshape(shape))


def coordinates(b: Emits, indices: Value, axis: int) -> Value:
    """The places [..., rank] of elements that lie where they lie in `indices`, but along the axis where it says."""
    shape = indices.type.shape
    indices = _wide(b, indices)
    columns = []
    for d in range(len(shape)):
        column = indices if d == axis else iota(b, shape[d], d, len(shape), indices.type.dtype)
        columns.append(reshaped(b, b.emit("broadcast_to", column, shape=shape), (*shape, 1)))
    return b.emit("concat", *columns, axis=len(shape))


def _wide(b: Emits, indices: Value) -> Value:
    """Indices of at least 32 bits, which count any dimension."""
    return indices if indices.type.dtype in (DType.I32, DType.I64) else b.emit("cast", indices, dtype="i32")


@register
class Gather(Operator):
    """Slices of x along an axis, in the order of indices of any shape, which takes the place of the axis.

    x [B..., O..., n, I...] and indices [B..., J...] give [B..., O..., J..., I...]; B are the first `batch_dims`
    dimensions, which both share. (ONNX Gather, TFLite GATHER, NumPy's `take`.)
    """

    name = "gather"
    operands = ("x", "indices")
    scales = Scales.OPERAND
    attributes = {
        "axis": AttributeSpec(int, "dimension of x that is indexed", 0),
        "batch_dims": AttributeSpec(int, "leading dimensions that x and the indices share", 0),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, indices = operands
        axis, batch = normalize_axis(self.name, attributes["axis"], x.rank), attributes["batch_dims"]
        check_indices(self.name, indices)
        if not 0 <= batch <= min(axis, indices.rank) or x.shape[:batch] != indices.shape[:batch]:
            raise ShapeError(f"gather: {x} and {indices} don't share {batch} dimensions before axis {axis}")
        shape = (*x.shape[:axis], *indices.shape[batch:], *x.shape[axis + 1 :])
        if not x.shape[axis] and 0 not in shape:
            raise ShapeError(f"gather: {x} has no elements along axis {axis}")
        return (kept(x, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, indices = operands
        axis, batch = attributes["axis"] % x.ndim, attributes["batch_dims"]
        places = inside(self.name, indices, x.shape[axis])
        if not batch:
            return (np.take(x, places, axis=axis),)
        shape = (*x.shape[:axis], *indices.shape[batch:], *x.shape[axis + 1 :])
        result = np.empty(shape, x.dtype)
        for at in np.ndindex(*x.shape[:batch]):
            result[at] = np.take(x[at], places[at], axis=axis - batch)
        return (result,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        x, indices = c.type(0), c.type(1)
        axis, batch = attributes["axis"] % x.rank, attributes["batch_dims"]
        end = axis + indices.rank - batch
        found = place(c.load(1, (*index[:batch], *index[axis:end])), x.shape[axis])
        return c.load(0, (*index[:axis], found, *index[end:]))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, indices = (v.type for v in op.operands)
        axis, batch = op.attributes["axis"] % x.rank, op.attributes["batch_dims"]
        places = _wide(b, op.operands[1])
        count = indices.rank - batch
        # The batch, the indices, what stood before the axis, what stood behind it.
        order = (
            *range(batch),
            *range(axis, axis + count),
            *range(batch, axis),
            *range(axis + count, x.rank + count - 1),
        )
        moved = (*range(batch), axis, *range(batch, axis), *range(axis + 1, x.rank))
        dy = _transposed(b, cotangents[0], order)
        columns = [reshaped(b, places, (*indices.shape, 1))]
        for d in range(batch):
            numbers = iota(b, indices.shape[d], d, indices.rank, places.type.dtype)
            own = b.emit("broadcast_to", numbers, shape=indices.shape)
            columns.insert(d, reshaped(b, own, (*indices.shape, 1)))
        spots = columns[0] if len(columns) == 1 else b.emit("concat", *columns, axis=indices.rank)
        scattered = b.emit("scatter_nd", spots, dy, shape=tuple(x.shape[d] for d in moved))
        return _transposed(b, scattered, inverse(moved)), None


def _transposed(b: Builder, x: Value, permutation: tuple[int, ...]) -> Value:
    return x if permutation == tuple(range(x.type.rank)) else b.emit("transpose", x, permutation=permutation)


@register
class TakeAlongAxis(Operator):
    """The element of x at the place of each index, but along the axis where the index says.

    Sizes of the indices off the axis may be smaller than those of x. (torch.gather, ONNX GatherElements, NumPy's
    `take_along_axis`.)
    """

    name = "take_along_axis"
    operands = ("x", "indices")
    scales = Scales.OPERAND
    attributes = {"axis": AttributeSpec(int, "dimension of x that is indexed", -1)}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, indices = operands
        axis = normalize_axis(self.name, attributes["axis"], x.rank)
        check_indices(self.name, indices)
        sizes = zip(x.shape, indices.shape, strict=False)
        if x.rank != indices.rank or any(i > s for d, (s, i) in enumerate(sizes) if d != axis):
            raise ShapeError(f"take_along_axis: {indices} don't fit {x} off axis {axis}")
        if not x.shape[axis] and indices.size:
            raise ShapeError(f"take_along_axis: {x} has no elements along axis {axis}")
        return (kept(x, indices.shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, indices = operands
        axis = attributes["axis"] % x.ndim
        near = x[tuple(slice(None) if d == axis else slice(n) for d, n in enumerate(indices.shape))]
        return (np.take_along_axis(near, inside(self.name, indices, x.shape[axis]), axis),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        axis = attributes["axis"] % c.type(0).rank
        found = place(c.load(1, index), c.type(0).shape[axis])
        return c.load(0, (*index[:axis], found, *index[axis + 1 :]))

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x, indices = operands
        return b.emit("gather_nd", x, coordinates(b, indices, attributes["axis"] % x.type.rank))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, indices = op.operands
        spots = coordinates(b, indices, op.attributes["axis"] % x.type.rank)
        return b.emit("scatter_nd", spots, cotangents[0], shape=x.type.shape), None


@register
class GatherND(Operator):
    """Slices of x at places: indices [..., K] give the first K indices of x."""

    name = "gather_nd"
    operands = ("x", "indices")
    scales = Scales.OPERAND

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, indices = operands
        check_indices(self.name, indices)
        if indices.rank < 1 or not 1 <= indices.shape[-1] <= x.rank:
            raise ShapeError(f"gather_nd can't pick from {x} by {indices}")
        depth = indices.shape[-1]
        shape = (*indices.shape[:-1], *x.shape[depth:])
        if 0 in x.shape[:depth] and 0 not in shape:
            raise ShapeError(f"gather_nd: {x} has no elements to pick")
        return (kept(x, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, indices = operands
        depth = indices.shape[-1]
        flat = inside(self.name, indices.reshape(-1, depth), x.shape[:depth])
        picked = x[tuple(flat.T)]
        return (picked.reshape((*indices.shape[:-1], *x.shape[depth:])),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        depth, lead = c.type(1).shape[-1], c.type(1).rank - 1
        sizes = enumerate(c.type(0).shape[:depth])
        found = (place(c.load(1, (*index[:lead], Const(d))), size) for d, size in sizes)
        return c.load(0, (*found, *index[lead:]))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, indices = op.operands
        return b.emit("scatter_nd", indices, cotangents[0], shape=x.type.shape), None


@register
class FloorDiv(Operator):
    """Largest whole number that a / b reaches, with NumPy's broadcasting; integers divided by 0 give 0."""

    name = "floor_div"
    operands = ("a", "b")
    elementwise = True
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        a, b = operands
        if a.dtype is not b.dtype or a.dtype is DType.BOOL:
            raise ShapeError(f"floor_div can't divide {a} by {b}")
        return (TensorType(a.dtype, broadcast_shapes(self.name, a.shape, b.shape)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        a, b = operands
        if np.issubdtype(a.dtype, np.floating):
            quotient = np.floor(a.astype(np.float64) / b.astype(np.float64))
        else:
            quotient = np.floor_divide(a, b)
        return (np.asarray(quotient).astype(a.dtype, copy=False),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        a, b = c.load_broadcast(0, index), c.load_broadcast(1, index)
        dtype = c.type(0).dtype
        if not dtype.is_float:
            return binary("floordiv", a, b)
        wide = (
            v if dtype is DType.F64 else Cast(v, DType.F64) for v in (a, b)
        )  # where no quotient rounds up to a whole
        quotient = Unary("floor", binary("div", *wide))
        return quotient if dtype is DType.F64 else Cast(quotient, dtype)
