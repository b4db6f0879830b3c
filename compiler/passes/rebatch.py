"""Rebatching: a network that was written down for one sample, for many at once.

`rebatch(graph, count)` takes a number that no pipeline has, so it is a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import NetcError
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..types import Quantization, TensorType


def rebatch(graph: Graph, count: int) -> Graph:
    """The network for `count` samples along the first dimension of each input and output, which has 1.

    It is followed in which dimension the samples of each value are numbered. An operation stays as it is, or gets other
    sizes in its attributes; each sample must have results of its own. Raises `NetcError` that names the first operation
    of which this isn't known, and for inputs and outputs that have no dimension of size 1 in front.

    Before::

        %0 = reshape(%x) {shape = [1,16]} : f32[1,16]

    After, for 4 samples::

        %0 = reshape(%x) {shape = [4,16]} : f32[4,16]
    """
    for value in graph.inputs:
        if value.type.shape[:1] != (1,):
            raise NetcError(f"input `{value.name}` is {value.type}, which isn't one sample of several")
    if graph.states:
        raise NetcError(f"{graph.name} keeps a state, which is that of one sample")
    return _Rebatching(graph, count).run()


@dataclass(eq=False)
class _Rebatching:
    graph: Graph
    count: int
    axes: dict[Value, int] = field(default_factory=dict)
    """By value of the old graph: the dimension in which samples are numbered.

    Its size is 1, or that of what a reshape merged with the samples: then each sample has so many neighbours there.
    """

    def run(self) -> Graph:
        """The graph for all samples."""
        b = Rewriter(self.graph)
        b.inputs = []
        for value in self.graph.inputs:
            shape = (self.count, *value.type.shape[1:])
            b.replace(
                value, b.input(value.name or "", TensorType(value.type.dtype, shape, None, value.type.quantization))
            )
            self.axes[value] = 0
        for op in self.graph.operations:
            if any(v in self.axes for v in op.operands):
                self._operation(b, op)
            else:
                b.copy(op)
        for place, value in enumerate(self.graph.outputs):
            if self.axes.get(value) != 0:
                raise NetcError(f"output {place}, {value.type}, isn't one sample of several")
        return b.close()

    def _operation(self, b: Rewriter, op: Operation) -> None:
        rule = _rule(op)
        found = rule(self, b, op) if rule is not None and op.body is None else None
        if found is None:
            raise NetcError(f"{op.name} may depend on the samples together: {op.operands[0].type}")
        axis, operands, attributes = found
        made = b.operation(op.operator, operands, attributes, location=op.location, name=op.results[0].name)
        for old, new in zip(op.results, made.results, strict=True):
            wanted = tuple(s * self.count if d == axis else s for d, s in enumerate(old.type.shape))
            if new.type.shape != wanted:
                raise NetcError(f"{op.name} doesn't give as many results as there are samples: {new.type}")
            self.axes[old] = axis
        b.replace_results(op, made.results)

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


_Found = tuple[int, tuple[Value, ...], Mapping[str, Any]] | None
"""Where samples are numbered in the result, new operands and attributes; None where samples may not be apart."""
_Rule = Callable[[_Rebatching, Rewriter, Operation], _Found]


def _new(b: Rewriter, op: Operation) -> tuple[Value, ...]:
    return tuple(b[v] for v in op.operands)


def _elementwise(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """Operands broadcast; a scale for each channel must not count samples."""
    rank = op.results[0].type.rank
    axis = r.common(op, rank)
    if axis is None:
        return None
    given = (a for a in op.attributes.values() if isinstance(a, Quantization))
    return None if any(not q.is_per_tensor and axis == rank - 1 for q in given) else (axis, _new(b, op), op.attributes)


def _samples_first(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """Windows, channels: operators that take [N, ..., C] and other operands that all samples share."""
    x, *others = op.operands
    if r.axis(x) != 0 or x.type.rank < 2 or any(v in r.axes for v in others):
        return None
    return 0, _new(b, op), op.attributes


def _rows(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """The last dimension is the one that counts; other operands are shared."""
    x, *others = op.operands
    axis = r.axis(x)
    if axis is None or axis == x.type.rank - 1 or any(v in r.axes for v in others):
        return None
    return axis, _new(b, op), op.attributes


def _named_axes(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
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
    return axis - sum(a < axis for a in named) * vanish, _new(b, op), op.attributes


def _concat(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """What is the same for all samples is repeated."""
    rank = op.result.type.rank
    axis = r.common(op, rank)
    if axis is None or op.attributes["axis"] % rank == axis or op.result.type.shape[axis] != 1:
        return None
    operands = [b[v] if v in r.axes else _repeated(b, v, axis, r.count) for v in op.operands]
    return axis, tuple(operands), op.attributes


def _repeated(b: Rewriter, value: Value, axis: int, count: int) -> Value:
    shape = value.type.shape
    return b.emit("broadcast_to", b[value], shape=(*shape[:axis], count, *shape[axis + 1 :]))


def _transpose(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    return op.attributes["permutation"].index(r.axes[op.operands[0]]), _new(b, op), op.attributes


def _reshape(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """Samples are numbered where as many elements lie before: in a dimension of size 1, the same one if it can be."""
    (x,), shape = op.operands, op.result.type.shape
    old = r.axes[x]
    before = math.prod(x.type.shape[:old])
    places = [d for d in range(len(shape)) if math.prod(shape[:d]) == before]
    if not places:
        return None
    free = [d for d in places if shape[d] == 1] or places[:1]
    axis = old if old in free else free[0]
    return axis, _new(b, op), {**op.attributes, "shape": (*shape[:axis], shape[axis] * r.count, *shape[axis + 1 :])}


def _broadcast_to(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    shape = op.attributes["shape"]
    axis = len(shape) - op.operands[0].type.rank + r.axes[op.operands[0]]
    if shape[axis] != 1:
        return None
    return axis, _new(b, op), {**op.attributes, "shape": (*shape[:axis], r.count, *shape[axis + 1 :])}


_WHOLE = {"begin": 0, "strides": 1, "padding": (0, 0), "multiples": 1, "size": 1}
"""What an attribute with an entry for each dimension says where nothing is cut, added or repeated."""


def _each_dimension(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    x = op.operands[0]
    axis = r.axis(x)
    if axis is None or any(op.attributes[k][axis] != whole for k, whole in _WHOLE.items() if k in op.attributes):
        return None
    attributes = dict(op.attributes)
    if "size" in attributes:
        size = attributes["size"]
        attributes["size"] = (*size[:axis], r.count, *size[axis + 1 :])
    return axis, _new(b, op), attributes


def _matmul(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """Samples number the matrices, or the rows of a left one that the right one doesn't know."""
    rank = op.result.type.rank
    axis = r.common(op, rank)
    if axis is None or axis == rank - 1:
        return None
    if axis == rank - 2 and (op.attributes.get("transpose_a") or op.operands[1] in r.axes):
        return None
    if axis == rank - 2 and op.operands[0] not in r.axes:
        return None
    return axis, _new(b, op), op.attributes


def _attention(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    rank = op.result.type.rank
    axis = r.common(op, rank)
    used = rank - 3 if op.attributes["heads_inside"] else rank - 2
    if axis is None or axis in (used, rank - 1) or any(v not in r.axes for v in op.operands[:3]):
        return None
    if rank - 3 == axis and op.attributes["heads_inside"]:
        return None
    return axis, _new(b, op), op.attributes


def _gather(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    """Indices of each sample into a table that all share, or the same places of each sample."""
    x, indices = op.operands
    at = op.attributes["axis"] % x.type.rank
    if op.attributes.get("batch_dims") or (x in r.axes and indices in r.axes):
        return None
    if indices in r.axes:
        return at + r.axes[indices], _new(b, op), op.attributes
    axis = r.axes[x]
    if axis == at:
        return None
    return axis if axis < at else axis - 1 + indices.type.rank, _new(b, op), op.attributes


def _one_hot(r: _Rebatching, b: Rewriter, op: Operation) -> _Found:
    x = op.operands[0]
    at, axis = op.attributes["axis"] % (x.type.rank + 1), r.axis(x)
    return None if axis is None else (axis + (axis >= at), _new(b, op), op.attributes)


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "q_conv2d", "hybrid_conv2d"), _samples_first),
    **dict.fromkeys(("transpose_conv1d", "transpose_conv2d", "transpose_conv3d"), _samples_first),
    **dict.fromkeys(("q_transpose_conv2d", "max_pool", "avg_pool", "q_avg_pool"), _samples_first),
    **dict.fromkeys(("resize_bilinear", "resize_nearest", "local_response_norm"), _samples_first),
    **dict.fromkeys(("space_to_depth", "depth_to_space"), _samples_first),
    **dict.fromkeys(
        ("batch_norm", "dense", "q_dense", "hybrid_dense", "blocked_dense", "q_softmax", "q_log_softmax"), _rows
    ),
    **dict.fromkeys(("prelu", "q_prelu", "dropout", "alpha_dropout", "fake_quantize"), _elementwise),
    **dict.fromkeys(("softmax", "log_softmax", "logsumexp", "argmax", "argmin", "normalize"), _named_axes),
    **dict.fromkeys(("l2_normalize", "cumulative_sum", "q_mean"), _named_axes),
    **dict.fromkeys(("concat", "q_concat"), _concat),
    **dict.fromkeys(("pad", "mirror_pad", "slice", "strided_slice", "tile"), _each_dimension),
    "transpose": _transpose,
    "reshape": _reshape,
    "broadcast_to": _broadcast_to,
    "matmul": _matmul,
    "attention": _attention,
    "gather": _gather,
    "one_hot": _one_hot,
}


def _rule(op: Operation) -> _Rule | None:
    if op.name in _RULES:
        return _RULES[op.name]
    if op.name.startswith("reduce_"):
        return _named_axes
    is_elementwise = op.operator.elementwise or op.name in ("quantize", "dequantize", "requantize", "cast")
    return _elementwise if is_elementwise else None
