"""How operators work on operands whose dimension, which only numbers their rows, is split into several."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ..graph.ir import Attributes, Operator
from ..types import Quantization, TensorType
from .moves.axes import groups_of
from .moves.indexing import TakeAlongAxis
from .moves.shape import BroadcastTo, Concat, Pad, Reshape, Slice
from .products.dense import Dense
from .reductions.reduction import LogSoftmax, Softmax

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Split:
    """Shapes of operands and attributes with which an operator gives its result with dimension `result` split."""

    shapes: tuple[Shape, ...]
    attributes: Attributes
    result: int


Rule = Callable[[tuple[TensorType, ...], Attributes, int, Shape], Split | None]


def split(
    operator: Operator, operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape
) -> Split | None:
    """A use of an operator on operands of which dimension `axis` of the first large one is split into `sizes`.

    None where the operator does more with this dimension than it does with each of its rows.
    """
    rule = _RULES.get(type(operator), _elementwise if operator.elementwise else None)
    return None if rule is None else rule(operands, attributes, axis, sizes)


def _parted(shape: Shape, axis: int, sizes: Shape) -> Shape | None:
    """A shape with a dimension split, or with as many of size 1 where it is broadcast."""
    if shape[axis] == 1:
        sizes = (1,) * len(sizes)
    elif shape[axis] != math.prod(sizes):
        return None
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


def _elementwise(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    if any(isinstance(a, Quantization) and not a.is_per_tensor for a in attributes.values()):
        return None
    rank = max(o.rank for o in operands)
    found = [o.shape if o.rank < rank - axis else _parted(o.shape, axis + o.rank - rank, sizes) for o in operands]
    shapes = tuple(shape for shape in found if shape is not None)
    return Split(shapes, attributes, axis) if len(shapes) == len(found) else None


def _rows(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    x, *others = operands
    shape = _parted(x.shape, axis, sizes) if axis < x.rank - 1 else None
    return None if shape is None else Split((shape, *(o.shape for o in others)), attributes, axis)


def _along_axis(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    along = attributes["axis"] % operands[0].rank
    found = [_parted(o.shape, axis, sizes) for o in operands]
    shapes = tuple(shape for shape in found if shape is not None)
    if along == axis or len(shapes) < len(found):
        return None
    return Split(shapes, {**attributes, "axis": along + (along > axis) * (len(sizes) - 1)}, axis)


def _broadcast_to(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    (x,), shape = operands, attributes["shape"]
    place = axis + len(shape) - x.rank
    own, whole = _parted(x.shape, axis, sizes), _parted(shape, place, sizes)
    return None if own is None or whole is None else Split((own,), {**attributes, "shape": whole}, place)


def _slice(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    (x,), own = operands, _parted(operands[0].shape, axis, sizes)
    begin, size = attributes["begin"], attributes["size"]
    if own is None or size[axis] != x.shape[axis]:
        return None
    places = (*begin[:axis], *(0 for _ in sizes), *begin[axis + 1 :])
    counts = (*size[:axis], *sizes, *size[axis + 1 :])
    return Split((own,), {**attributes, "begin": places, "size": counts}, axis)


def _pad(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    own, padding = _parted(operands[0].shape, axis, sizes), attributes["padding"]
    if own is None or any(padding[axis]):
        return None
    padding = (*padding[:axis], *((0, 0) for _ in sizes), *padding[axis + 1 :])
    return Split((own, *(o.shape for o in operands[1:])), {**attributes, "padding": padding}, axis)


def _reshape(operands: tuple[TensorType, ...], attributes: Attributes, axis: int, sizes: Shape) -> Split | None:
    """The dimension stays one: what is reshaped are others."""
    (x,), shape = operands, attributes["shape"]
    own = _parted(x.shape, axis, sizes)
    for merged, parts in groups_of(x.shape, shape):
        large = [d for d in parts if shape[d] != 1]
        if own is not None and merged == [axis] and len(large) == 1:
            (place,) = large
            whole = (*shape[:place], *sizes, *shape[place + 1 :])
            return Split((own,), {**attributes, "shape": whole}, place)
    return None


_RULES: dict[type[Operator], Rule] = {
    BroadcastTo: _broadcast_to,
    Concat: _along_axis,
    Dense: _rows,
    LogSoftmax: _along_axis,
    Pad: _pad,
    Reshape: _reshape,
    Slice: _slice,
    Softmax: _along_axis,
    TakeAlongAxis: _along_axis,
}
