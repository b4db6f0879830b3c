"""Which operations give each sample of a batch results of its own, and in which dimension samples are numbered.

A rule for each operator says so by what the operator means. Operators without one are taken to mix samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..graph.ir import Graph, Operation, Value
from ..ops.quantized.activation import ByteFunction
from ..types import Quantization, TensorType


@dataclass(eq=False)
class Samples:
    """Values of a graph for `samples` samples, of which an operation for `count` samples is made."""

    samples: int
    count: int
    axes: dict[Value, int] = field(default_factory=dict)
    """The dimension in which samples are numbered.

    Its size is their number, or a multiple where a reshape merged it with what lies behind: then each sample has so
    many neighbours there.
    """

    def resized(self, size: int) -> int:
        """The size of a dimension that numbers samples, for `count` of them."""
        return size * self.count // self.samples

    def resized_type(self, type_: TensorType, axis: int) -> TensorType:
        """The type for `count` samples, in the same layout."""
        shape = tuple(self.resized(s) if d == axis else s for d, s in enumerate(type_.shape))
        return replace(type_, shape=shape)

    def rule_of(self, op: Operation) -> Independent | None:
        """How an operation with an operand that numbers samples treats each of them apart; None if it may not."""
        rule = _rule(op)
        found = rule(self, op) if rule is not None and op.body is None else None
        fits = found is not None and all(self._numbers(r.type, found.axis) for r in op.results)
        return found if fits else None

    def _numbers(self, type_: TensorType, axis: int) -> bool:
        return axis < type_.rank and type_.shape[axis] % self.samples == 0 and not any(type_.margins[axis])

    def axis(self, value: Value) -> int | None:
        """The dimension of samples; None of what is the same for all of them."""
        return self.axes.get(value)

    def common(self, op: Operation, rank: int) -> int | None:
        """The dimension of samples of all operands, as broadcasting aligns them to so many; None if they differ.

        What is the same for all samples must be the same for all that is numbered there.
        """
        found = {(rank - v.type.rank + self.axes[v], v.type.shape[self.axes[v]]) for v in op.operands if v in self.axes}
        if len(found) != 1:
            return None
        ((axis, _),) = found
        shared = (v.type for v in op.operands if v not in self.axes)
        is_apart = all(t.rank < rank - axis or t.shape[axis - rank] == 1 for t in shared)
        return axis if is_apart else None


@dataclass(frozen=True, slots=True)
class Independent:
    """An operation that treats each sample apart."""

    axis: int
    """Where samples are numbered in the results."""
    attributes: Mapping[str, Any]
    """Those for the other number of samples."""
    repeated: tuple[Value, ...] = ()
    """Operands that all samples share, but which have to be repeated along that dimension, where their size is 1."""


_Found = Independent | None
"""None where samples may not be apart."""
_Rule = Callable[[Samples, Operation], _Found]


def _elementwise(r: Samples, op: Operation) -> _Found:
    """Operands broadcast; a scale for each channel must not count samples."""
    rank = op.results[0].type.rank
    axis = r.common(op, rank)
    if axis is None:
        return None
    given = (a for a in op.attributes.values() if isinstance(a, Quantization))
    counts = any(not q.is_per_tensor and axis == rank - 1 for q in given)
    return None if counts else Independent(axis, op.attributes)


def _samples_first(r: Samples, op: Operation) -> _Found:
    """Windows, channels: operators that take [N, ..., C] and other operands that all samples share."""
    x, *others = op.operands
    if r.axis(x) != 0 or x.type.rank < 2 or any(v in r.axes for v in others):
        return None
    return Independent(0, op.attributes)


def _rows(r: Samples, op: Operation) -> _Found:
    """The last dimension is the one that counts; other operands are shared."""
    x, *others = op.operands
    axis = r.axis(x)
    if axis is None or axis == x.type.rank - 1 or any(v in r.axes for v in others):
        return None
    return Independent(axis, op.attributes)


def _named_axes(r: Samples, op: Operation) -> _Found:
    """Operators with an attribute `axis` or `axes`, which stay where they are or vanish."""
    x = op.operands[0]
    axis, rank = r.common(op, x.type.rank), x.type.rank
    given = op.attributes["axes"] if "axes" in op.attributes else op.attributes["axis"]
    if axis is None or given is None or any(v.type.rank != rank for v in op.operands):
        return None
    named = {a % rank for a in (given if isinstance(given, tuple) else (given,))}
    if axis in named:
        return None
    vanish = op.results[0].type.rank < rank
    return Independent(axis - sum(a < axis for a in named) * vanish, op.attributes)


def _concat(r: Samples, op: Operation) -> _Found:
    """What is the same for all samples is repeated; there must be one sample then."""
    rank = op.result.type.rank
    axis = r.common(op, rank)
    if axis is None or op.attributes["axis"] % rank == axis or op.result.type.shape[axis] != r.samples:
        return None
    return Independent(axis, op.attributes, tuple(v for v in op.operands if v not in r.axes))


def _transpose(r: Samples, op: Operation) -> _Found:
    return Independent(op.attributes["permutation"].index(r.axes[op.operands[0]]), op.attributes)


def _reshape(r: Samples, op: Operation) -> _Found:
    """Samples are numbered where as many elements lie before: in a dimension of their own, the same if possible."""
    (x,), shape = op.operands, op.result.type.shape
    old = r.axes[x]
    before = math.prod(x.type.shape[:old])
    places = [d for d in range(len(shape)) if math.prod(shape[:d]) == before and shape[d] % r.samples == 0]
    if not places:
        return None
    free = [d for d in places if shape[d] == r.samples] or places[:1]
    axis = old if old in free else free[0]
    return Independent(axis, {**op.attributes, "shape": _resized(r, shape, axis)})


def _resized(r: Samples, shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], r.resized(shape[axis]), *shape[axis + 1 :])


def _broadcast_to(r: Samples, op: Operation) -> _Found:
    shape = op.attributes["shape"]
    x = op.operands[0]
    axis = len(shape) - x.type.rank + r.axes[x]
    if shape[axis] != x.type.shape[r.axes[x]]:
        return None
    return Independent(axis, {**op.attributes, "shape": _resized(r, shape, axis)})


_WHOLE = {"begin": 0, "strides": 1, "padding": (0, 0), "multiples": 1}
"""What an attribute with an entry for each dimension says where nothing is cut, added or repeated."""


def _each_dimension(r: Samples, op: Operation) -> _Found:
    x = op.operands[0]
    axis = r.axis(x)
    if axis is None or any(op.attributes[k][axis] != whole for k, whole in _WHOLE.items() if k in op.attributes):
        return None
    attributes = dict(op.attributes)
    if "size" in attributes:
        if attributes["size"][axis] != x.type.shape[axis]:
            return None
        attributes["size"] = _resized(r, attributes["size"], axis)
    return Independent(axis, attributes)


def _matmul(r: Samples, op: Operation) -> _Found:
    """Samples number the matrices, or what only one of them has: rows of the left one, columns of the right one."""
    rank, (a, b) = op.result.type.rank, op.operands
    rows = a.type.rank - (1 if op.attributes.get("transpose_a") else 2)
    columns = b.type.rank - (2 if op.attributes.get("transpose_b") else 1)
    if r.axis(a) == rows and b not in r.axes:
        return Independent(rank - 2, op.attributes)
    if r.axis(b) == columns and a not in r.axes:
        return Independent(rank - 1, op.attributes)
    axis = r.common(op, rank)
    return None if axis is None or axis >= rank - 2 else Independent(axis, op.attributes)


def _contract(r: Samples, op: Operation) -> _Found:
    """Samples have one letter, which isn't summed over; an operand that all samples share doesn't know it."""
    operands = tuple(zip(op.operands, (op.attributes["a_axes"], op.attributes["b_axes"]), strict=True))
    found = {letters[r.axes[v]] for v, letters in operands if v in r.axes}
    (letter,) = found if len(found) == 1 else ("",)
    if not letter or letter not in op.attributes["axes"]:
        return None
    if any(letter in letters for v, letters in operands if v not in r.axes):
        return None
    return Independent(op.attributes["axes"].index(letter), op.attributes)


def _attention(r: Samples, op: Operation) -> _Found:
    rank = op.result.type.rank
    axis = r.common(op, rank)
    used = rank - 3 if op.attributes["heads_inside"] else rank - 2
    if axis is None or axis in (used, rank - 1) or any(v not in r.axes for v in op.operands[:3]):
        return None
    if rank - 3 == axis and op.attributes["heads_inside"]:
        return None
    return Independent(axis, op.attributes)


def _gather(r: Samples, op: Operation) -> _Found:
    """Indices of each sample into a table that all share, or the same places of each sample."""
    x, indices = op.operands
    at = op.attributes["axis"] % x.type.rank
    if op.attributes.get("batch_dims") or (x in r.axes and indices in r.axes):
        return None
    if indices in r.axes:
        return Independent(at + r.axes[indices], op.attributes)
    axis = r.axes[x]
    if axis == at:
        return None
    return Independent(axis if axis < at else axis - 1 + indices.type.rank, op.attributes)


def _one_hot(r: Samples, op: Operation) -> _Found:
    x = op.operands[0]
    at, axis = op.attributes["axis"] % (x.type.rank + 1), r.axis(x)
    return None if axis is None else Independent(axis + (axis >= at), op.attributes)


def _recurrent(r: Samples, op: Operation) -> _Found:
    """Sequences and states are numbered in front; a state that all begin with is repeated, weights are shared."""
    x, *others = op.operands
    count = len(op.results) - 1
    states, weights = others[:count], others[count:]
    begun = tuple(v for v in states if v not in r.axes)
    in_front = all(r.axis(v) == 0 for v in (x, *states) if v not in begun)
    if not in_front or op.attributes.get("time_major") or any(v in r.axes for v in weights):
        return None
    roles = zip(op.attributes.get("roles", ()), weights, strict=False)
    of_rows = tuple(v for role, v in roles if role.endswith("_peephole") and v.type.rank > 1)
    return Independent(0, op.attributes, (*begun, *of_rows))


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "q_conv2d", "hybrid_conv2d"), _samples_first),
    **dict.fromkeys(("transpose_conv1d", "transpose_conv2d", "transpose_conv3d"), _samples_first),
    **dict.fromkeys(
        ("q_transpose_conv2d", "hybrid_transpose_conv2d", "max_pool", "avg_pool", "q_avg_pool"), _samples_first
    ),
    **dict.fromkeys(("resize_bilinear", "resize_nearest", "local_response_norm"), _samples_first),
    **dict.fromkeys(("space_to_depth", "depth_to_space"), _samples_first),
    **dict.fromkeys(("conv2d_sum", "conv3d_sum", "transpose_conv2d_sum"), _samples_first),
    **dict.fromkeys(("batch_norm", "dense", "q_dense", "hybrid_dense", "blocked_dense", "dense_sum"), _rows),
    **dict.fromkeys(("q_softmax", "q_log_softmax", "q_l2_normalize", "row_sums"), _rows),
    **dict.fromkeys(
        ("prelu", "q_prelu", "dropout", "alpha_dropout", "fake_quantize", "relayout", "lookup"), _elementwise
    ),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp", "argmax", "argmin", "normalize"), _named_axes),
    **dict.fromkeys(("l2_normalize", "cumulative_sum", "q_mean", "q_reduce_prod"), _named_axes),
    **dict.fromkeys(("matmul", "hybrid_matmul", "q_matmul", "matmul_sum"), _matmul),
    **dict.fromkeys(("sequence_lstm", "sequence_rnn", "svdf", "q_lstm", "q_svdf"), _recurrent),
    **dict.fromkeys(("concat", "q_concat"), _concat),
    **dict.fromkeys(("pad", "mirror_pad", "slice", "strided_slice", "tile"), _each_dimension),
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast_to,
    "attention": _attention,
    "contract": _contract,
    "gather": _gather,
    "one_hot": _one_hot,
}


def _rule(op: Operation) -> _Rule | None:
    if op.name in _RULES:
        return _RULES[op.name]
    if op.name.startswith("reduce_"):
        return _named_axes
    is_elementwise = op.operator.elementwise or op.name in ("quantize", "dequantize", "requantize", "cast")
    return _elementwise if is_elementwise or isinstance(op.operator, ByteFunction) else None


def sample_axes(graph: Graph) -> Mapping[Value, int]:
    """In which dimension samples are numbered that the first size of the first input counts, for values that do.

    What mixes samples, or isn't known, numbers them in front if it has so many parts, as `split_batch` sees it.
    """
    shape = graph.inputs[0].type.shape if graph.inputs else ()
    samples = Samples(shape[0], 1) if shape and shape[0] else Samples(1, 1)
    samples.axes |= {v: 0 for v in graph.inputs if v.type.shape[:1] == (samples.samples,)}
    for op in graph.operations:
        if any(v in samples.axes for v in op.operands) and not _follow(op, samples):
            samples.axes |= {r: 0 for r in op.results if r.type.shape[:1] == (samples.samples,)}
    return samples.axes


def _follow(op: Operation, samples: Samples) -> bool:
    """Find where the results of an operation number samples; False if that isn't known of all of them."""
    if op.body is None:
        found = samples.rule_of(op)
        if found is None:
            return False
        samples.axes.update(dict.fromkeys(op.results, found.axis))
        return True
    inner = Samples(samples.samples, samples.count)
    pairs = zip(op.body.inputs, op.operands, strict=True)
    inner.axes |= {v: samples.axes[outer] for v, outer in pairs if outer in samples.axes}
    members = (m for m in op.body.operations if any(v in inner.axes for v in m.operands))
    if not all(_follow(m, inner) for m in members) or any(v not in inner.axes for v in op.body.outputs):
        return False
    samples.axes.update((r, inner.axes[v]) for r, v in zip(op.results, op.body.outputs, strict=True))
    return True
