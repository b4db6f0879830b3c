"""How operators commute with a permutation of axes: a transpose before them becomes one behind them."""

from __future__ import annotations

import math

from ..graph.ir import Attributes, Builder, Operator, Value
from ..types import Quantization, TensorType
from .conversion import ArgExtremum, OneHot
from .core import Constant, Fused, Param, Relayout
from .differentiation import CustomGradient
from .facets import PERMUTED, Permuted
from .fake_quantize import FakeQuantize, RoundToGrid
from .gradients import reshaped
from .moves.axes import Permutation, groups_of, is_identity, spread
from .moves.blocks import Rearrangement
from .moves.indexing import Gather, GatherND, TakeAlongAxis, Tile
from .moves.scattering import Scatter
from .moves.shape import BroadcastTo, Concat, Pad, Reshape, Slice, Transpose
from .moves.striding import MirrorPad, StridedSlice, StridedSliceGradient
from .opaque import Opaque
from .pictures.resize import Resize
from .products.attention import Attention
from .products.contract import Contract
from .products.dense import Dense
from .products.matmul import MatMul
from .products.strassen import ChannelScales, FilterScales, StrassenFilter
from .quantized.activation import ByteFunction, Lookup
from .quantized.blocked import BlockedDense
from .quantized.concatenation import QConcat
from .quantized.contraction import IntegerSum
from .quantized.conversion import Rescale, RescaleReal
from .quantized.convolution import QConv2D
from .quantized.dense import QDense
from .quantized.dynamic import DynamicParameters, DynamicQuantize, DynamicRescale, RowExtremes
from .quantized.hybrid import HybridConv2D, HybridDense, HybridMatMul, HybridTransposeConv2D
from .quantized.log_softmax import LogShare, QLogSoftmax
from .quantized.lstm import QLstm
from .quantized.matmul import MatMulSum, QMatMul, RowSums
from .quantized.packing import Dot4Correction, PackDepthwise, PackDot4, PackGroups, PackWide, RescaleTable
from .quantized.pooling import QAvgPool, QMean
from .quantized.products import QReduceProd, RowProducts
from .quantized.rows import L2Share, QL2Normalize
from .quantized.short_softmax import ShortShare
from .quantized.softmax import QSoftmax, SoftmaxShare
from .quantized.transpose import QTransposeConv2D
from .quantized.wide import RescaleWide
from .quantized.winograd import WinogradWords
from .random import RandomUniform
from .reductions.normalization import BatchNorm
from .reductions.reduction import LogSoftmax, LogSumExp, Reduce, Softmax
from .reductions.statistics import ChannelVariance
from .windows.convolution_gradients import ConvolutionGradient
from .windows.pooling import Pooling
from .windows.transpose_convolution import TransposeConvolution
from .windows.winograd import WinogradFilter

Operands = tuple[TensorType, ...]

_RESHAPE = Reshape()


def _elementwise(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """Elementwise operators, with NumPy's broadcasting, whose attributes know of no axes."""
    if any(isinstance(a, Quantization) and not a.is_per_tensor for a in attributes.values()):
        return None  # which operand's axis it is, only the operator knows
    orders = [_under_broadcasting(o.shape, permutation) for o in operands]
    known = tuple(order for order in orders if order is not None)
    return Permuted(attributes, permutation, known) if len(known) == len(orders) else None


def _under_broadcasting(shape: tuple[int, ...], permutation: Permutation) -> Permutation | None:
    """The order of an operand's dimensions that makes it meet the others, transposed; None where there is none.

    Broadcasting aligns last dimensions. So those that come before must be of size 1, and may be any of size 1.
    """
    added = len(permutation) - len(shape)
    own = [d - added for d in permutation[:added] if d >= added]
    if any(shape[d] != 1 for d in own):
        return None
    spare = iter(own)
    return tuple(d - added if d >= added else next(spare) for d in permutation[added:])


def _over_rows(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """Operators that know the last dimension from the others: it stays the last one."""
    stays = not permutation or permutation[-1] == len(permutation) - 1
    return _elementwise(operands, attributes, permutation) if stays else None


def _per_channel(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """Elementwise operators whose other operands have one element, or one for each channel (the last dimension)."""
    rule = _over_rows if any(o.rank for o in operands[1:]) else _elementwise
    return rule(operands, attributes, permutation)


def _table(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """The function of single elements that the second operand holds."""
    x, table = operands
    return Permuted(attributes, permutation, (permutation, (0,))) if x.rank >= table.rank else None


def _place(axis: int, permutation: Permutation) -> int:
    """Where an axis, which may count from the end, is in the transposed operand."""
    return permutation.index(axis % len(permutation))


def _without(axes: set[int], permutation: Permutation) -> Permutation:
    """The permutation of the dimensions that remain when some are removed."""
    kept = [d for d in range(len(permutation)) if d not in axes]
    return tuple(kept.index(d) for d in permutation if d not in axes)


def _along_axis(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    moved = {**attributes, "axis": _place(attributes["axis"], permutation)}
    return Permuted(moved, permutation, (permutation,) * len(operands))


def _over_axis(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    """Operators whose result lacks an axis."""
    axis = attributes["axis"] % len(permutation)
    moved = {**attributes, "axis": permutation.index(axis)}
    return Permuted(moved, _without({axis}, permutation), (permutation,))


def _reduction(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    rank, axes = len(permutation), attributes["axes"]
    reduced = set(range(rank)) if axes is None else {a % rank for a in axes}
    moved = None if axes is None else tuple(sorted(_place(a, permutation) for a in reduced))
    result = permutation if attributes["keepdims"] else _without(reduced, permutation)
    return Permuted({**attributes, "axes": moved}, result, (permutation,))


def _each_dimension(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    """Operators whose attributes, where they are tuples, have an entry for each dimension."""
    moved = {k: tuple(a[d] for d in permutation) if isinstance(a, tuple) else a for k, a in attributes.items()}
    return Permuted(moved, permutation, (permutation,))


def _broadcast_to(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    """New dimensions stay in front."""
    shape = attributes["shape"]
    added = len(shape) - len(permutation)
    result = (*range(added), *(added + d for d in permutation))
    return Permuted({**attributes, "shape": tuple(shape[d] for d in result)}, result, (permutation,))


def _transpose(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    """One transpose does what two did, and the result stays as it is."""
    given = attributes["permutation"]
    merged = tuple(permutation.index(d) for d in given)
    return Permuted({**attributes, "permutation": merged}, tuple(range(len(given))), (permutation,))


def _reshape(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    """Dimensions that are merged stay neighbours in their order, and what a dimension is split into moves with it.

    Where the transposed operand doesn't have them so, it is transposed by the least that makes them neighbours.
    """
    (x,) = operands
    (y,) = _RESHAPE.result_types(operands, attributes)
    if not x.size:  # no group says where the elements are
        return Permuted(attributes, tuple(range(y.rank)), (tuple(range(x.rank)),))
    groups = groups_of(x.shape, y.shape)
    order = [d for d in permutation if x.shape[d] != 1]
    for merged, _ in groups:
        first = min(map(order.index, merged), default=0)
        order = [
            *(d for d in order[:first] if d not in merged),
            *merged,
            *(d for d in order[first:] if d not in merged),
        ]
    slots = iter(order)
    needed = tuple(d if x.shape[d] == 1 else next(slots) for d in permutation)
    ordered = sorted((g for g in groups if g[0]), key=lambda group: order.index(group[0][0]))
    result = (
        *(d for merged, parts in groups if not merged for d in parts),
        *(d for _, parts in ordered for d in parts),
    )
    return Permuted({**attributes, "shape": tuple(y.shape[d] for d in result)}, result, (needed,))


def _one_hot(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted:
    """The classes stay where they are among the labels' dimensions."""
    rank = len(permutation)
    axis = attributes["axis"] % (rank + 1)
    moved = tuple(d + (d >= axis) for d in permutation)
    return Permuted(attributes, (*moved[:axis], axis, *moved[axis:]), (permutation,))


def _gather(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """Slices along an axis: the dimensions of the indices stand where it stood."""
    x, indices = operands
    if attributes["batch_dims"]:
        return None
    axis = attributes["axis"] % x.rank
    kept = (spread(d, axis, indices.rank) for d in permutation)
    result = tuple(d for dimensions in kept for d in dimensions)
    return Permuted({**attributes, "axis": permutation.index(axis)}, result, (permutation, _unmoved(indices)))


def _rows_stay(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """A dense layer: what its rows are numbered by may have any order."""
    if is_identity(permutation) and operands[0].rank < len(permutation):
        return Permuted(attributes, (0,), tuple(map(_unmoved, operands)))
    x, *others = operands
    stays = x.rank == len(permutation) and permutation[-1] == x.rank - 1
    return Permuted(attributes, permutation, (permutation, *map(_unmoved, others))) if stays else None


def _unmoved(type_: TensorType) -> Permutation:
    return tuple(range(type_.rank))


def _matrices_stay(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """Products of matrices: what the matrices are numbered by may have any order."""
    rank = len(permutation)
    return _elementwise(operands, attributes, permutation) if permutation[-2:] == (rank - 2, rank - 1) else None


def _attention(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permuted | None:
    """Features stay last, and the rows are next to them or have one dimension, the heads, in between.

    Dimensions of size 1 stand in front, since they may stand anywhere.
    """
    if is_identity(permutation):
        return Permuted(attributes, permutation, tuple(map(_unmoved, operands)))
    rank, old_rows = len(permutation), _rows(len(permutation), attributes["heads_inside"])
    if any(o.rank != rank for o in operands[:3]) or permutation[-1] != rank - 1:
        return None
    ones = [d for d in _outer(rank, attributes["heads_inside"]) if all(o.shape[d] == 1 for o in operands[:3])]
    permutation = (*ones, *(d for d in permutation if d not in ones))
    rows = permutation.index(old_rows)
    if rows < rank - 3:
        return _heads_together(operands, attributes, permutation, rows)
    moved = {**attributes, "heads_inside": rows == rank - 3}
    old = _outer(rank, attributes["heads_inside"])
    outer = [old.index(permutation[d]) for d in _outer(rank, moved["heads_inside"])]
    masks = [_under_broadcasting(o.shape, (*outer, rank - 2, rank - 1)) for o in operands[3:]]
    known = tuple(order for order in masks if order is not None)
    return Permuted(moved, permutation, (*(permutation,) * 3, *known)) if len(known) == len(masks) else None


def _heads_together(operands: Operands, attributes: Attributes, permutation: Permutation, rows: int) -> Permuted | None:
    """Attention whose matrices are numbered by several dimensions between rows and features: they become one."""
    heads = permutation[rows + 1 : -1]
    if len(operands) > 3 or any(o.shape[d] != operands[0].shape[d] for o in operands for d in heads):
        return None

    count = math.prod(operands[0].shape[d] for d in heads)

    def emit(b: Builder, values: tuple[Value, ...]) -> Value:
        merged = (reshaped(b, v, (*v.type.shape[: rows + 1], count, v.type.shape[-1])) for v in values)
        total = b.emit("attention", *merged, **{**attributes, "heads_inside": True})
        shape = total.type.shape
        return reshaped(b, total, (*shape[:-2], *values[0].type.shape[rows + 1 : -1], shape[-1]))

    return Permuted(attributes, permutation, (permutation,) * 3, emit=emit)


def _rows(rank: int, heads_inside: bool) -> int:
    return rank - 3 if heads_inside else rank - 2


def _outer(rank: int, heads_inside: bool) -> list[int]:
    """The dimensions that number the matrices."""
    return [d for d in range(rank - 1) if d != _rows(rank, heads_inside)]


def leads(operator: Operator, operands: Operands, place: int) -> bool:
    """True for an operand whose permutation an operator's rule takes: one of the most dimensions, and no indices."""
    if isinstance(operator, Gather):
        return place == 0
    return operands[place].rank == max(o.rank for o in operands)


def asked_for(
    operands: Operands, result: TensorType, operator: Operator, attributes: Attributes, permutation: Permutation
) -> tuple[int, Permutation | None]:
    """An operand, and its permutation that might give the result permuted so; the operator's rule knows if it does."""
    place = next(i for i in range(len(operands)) if leads(operator, operands, i))
    rank = operands[place].rank
    if isinstance(operator, Reshape):
        (x,) = operands
        back = _reshape((result,), {"shape": x.shape}, permutation)
        return 0, back.result
    if isinstance(operator, Reduce) and not attributes["keepdims"]:
        return place, _with_reduced(rank, attributes["axes"], permutation)
    if isinstance(operator, Gather):
        return 0, _before_gather(operands, attributes, permutation)
    return place, permutation if rank == len(permutation) else None


def _before_gather(operands: Operands, attributes: Attributes, permutation: Permutation) -> Permutation:
    """A permutation of what is gathered from, where the axis stands where the first dimension of the indices does."""
    x, indices = operands
    axis = attributes["axis"] % x.rank
    places = {spread(d, axis, indices.rank)[0]: d for d in range(x.rank) if spread(d, axis, indices.rank)}
    found = [places[d] for d in permutation if d in places]
    return tuple(found) if axis in found else (axis, *found)


def _with_reduced(rank: int, axes: tuple[int, ...] | None, permutation: Permutation) -> Permutation:
    """A permutation of the dimensions that remain, with those that are reduced at their places."""
    reduced = set(range(rank)) if axes is None else {a % rank for a in axes}
    kept = [d for d in range(rank) if d not in reduced]
    order = iter(permutation)
    return tuple(d if d in reduced else kept[next(order)] for d in range(rank))


PERMUTED.by_trait(lambda operator: operator.elementwise, _elementwise)
PERMUTED.add(_elementwise, ByteFunction)
PERMUTED.add(_per_channel, FakeQuantize, Rescale, RescaleReal, RescaleWide, RoundToGrid)
PERMUTED.add(_over_rows, L2Share, LogShare, QL2Normalize, QLogSoftmax, QSoftmax, ShortShare, SoftmaxShare)
PERMUTED.add(_table, Lookup)
PERMUTED.add(_along_axis, Concat, LogSoftmax, QConcat, Softmax, TakeAlongAxis)
PERMUTED.add(_over_axis, ArgExtremum, LogSumExp)
PERMUTED.add(_reduction, QMean, Reduce)
PERMUTED.add(_each_dimension, MirrorPad, Pad, Slice, StridedSlice, StridedSliceGradient, Tile)
PERMUTED.add(_broadcast_to, BroadcastTo)
PERMUTED.add(_transpose, Transpose)
PERMUTED.add(_one_hot, OneHot)
PERMUTED.none("channels stand last", BatchNorm, ChannelVariance, ConvolutionGradient, Pooling, QAvgPool)
PERMUTED.none("channels stand last", QConv2D, QTransposeConv2D, Resize, TransposeConvolution)
PERMUTED.add(_attention, Attention)
PERMUTED.none("each operand has axes of its own: `contracted`", Contract)
PERMUTED.add(_rows_stay, Dense)
PERMUTED.add(_matrices_stay, MatMul)
PERMUTED.none("channels stand last", HybridConv2D, HybridTransposeConv2D)
PERMUTED.none("rows have scales of their own", DynamicParameters, DynamicQuantize, DynamicRescale, RowExtremes)
PERMUTED.none("rows are multiplied by columns", BlockedDense, QDense, QMatMul, HybridDense, HybridMatMul)
PERMUTED.none("steps are rounded one after the other, in row-major order", QReduceProd, RowProducts)
PERMUTED.none("the step in time, the channels and the gates have places", QLstm)
PERMUTED.none("products are summed over dimensions in fixed places", IntegerSum, MatMulSum)
PERMUTED.none("elements of the last dimension are added up", RowSums)
PERMUTED.none(
    "weights are laid out for one kernel",
    ChannelScales,
    Dot4Correction,
    FilterScales,
    PackDepthwise,
    PackDot4,
    PackGroups,
    PackWide,
    RescaleTable,
    StrassenFilter,
    WinogradFilter,
    WinogradWords,
)
PERMUTED.add(_reshape, Reshape)
PERMUTED.none("elements are taken in row-major order", RandomUniform)
PERMUTED.add(_gather, Gather)
PERMUTED.none("indices count dimensions in fixed places", GatherND, Scatter)
PERMUTED.none("blocks lie in the spatial dimensions", Rearrangement)
PERMUTED.none("a layout belongs to an order of dimensions", Relayout)
PERMUTED.none("its gradient is a graph of its own, for this order of dimensions", CustomGradient)
PERMUTED.none("stands for weights, or groups others", Constant, Fused, Param)
PERMUTED.none("nothing known of it", Opaque)
