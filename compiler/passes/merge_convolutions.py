"""merge-convolutions: one convolution in place of several that read the same tensor and whose results are added."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..graph.analysis import static_values
from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.reductions.normalization import BatchNorm
from ..ops.windows.convolution import Convolution
from ..ops.windows.window import Window
from ..types import DType
from .base import Pass
from .dce import dce
from .normalization import scale_of, shift_of


@dataclass(frozen=True)
class MergeConvolutions(Pass):
    """Add weights of convolutions in place of their results, which is as exact: networks are trained with branches.

    Smaller windows become a part of the largest one. A batch_norm of the tensor itself is a window of one element with
    weights on its diagonal. The sums depend on parameters only, so they are evaluated once, when weights are loaded.
    Run fold-batch-norm first. Source: Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", 2021.

    Before::

        %0 = conv2d(%x, %w, %b) {padding = "same"}     with %w of [3,3,4,4]
        %1 = conv2d(%x, %v) {padding = "same"}         with %v of [1,1,4,4]
        %2 = add(%0, %1)

    After::

        %0 = add(%w, pad(%v))
        %1 = conv2d(%x, %0, %b) {padding = "same"}
    """

    name = "merge-convolutions"

    def run(self, graph: Graph) -> Graph:
        if not any(op.name == "add" for op in graph.operations):
            return graph
        sums = _Sums(graph, frozenset(graph.outputs))
        merged = rewritten(graph, sums.merged)
        return graph if merged is graph else dce(merged)


@dataclass(frozen=True)
class _Sums:
    """Trees of additions of a graph."""

    graph: Graph
    outputs: Set[Value]

    @cached_property
    def static(self) -> Set[Value]:
        """What is known when weights are loaded."""
        return static_values(self.graph)

    def merged(self, b: Rewriter, op: Operation) -> Value | None:
        """What stands for the last addition of a tree, if some of what is added can be merged."""
        if op.name != "add" or self._is_inside(op):
            return None
        leaves = [*self._leaves(op)]
        if sum(self._may_merge(leaf) for leaf in leaves) < 2:
            return None
        base = self._base(leaves)
        if base is None:
            return None
        places = {leaf: place for leaf in leaves if (place := self._place(leaf, base)) is not None}
        if len(places) < 2:
            return None
        weights = [_weight(b, self.graph.producers[leaf], base, place) for leaf, place in places.items()]
        shifts = [shift for leaf in places if (shift := _shift(b, self.graph.producers[leaf])) is not None]
        operands = (b[base.operands[0]], *(_added(b, base, values) for values in (weights, shifts) if values))
        total = b.operation(base.operator, operands, base.attributes, location=base.location).result
        return _added(b, op, [total, *(b[leaf] for leaf in leaves if leaf not in places)])

    def _is_inside(self, op: Operation) -> bool:
        """True if an addition is a part of another one alone."""
        user = self._only_user(op)
        return user is not None and user.name == "add" and user.result.type == op.result.type

    def _only_user(self, op: Operation) -> Operation | None:
        """The only operation that reads a result, once."""
        users = self.graph.users[op.result]
        if len(users) != 1 or op.result in self.outputs:
            return None
        (user,) = users
        return user if user.operands.count(op.result) == 1 else None

    def _leaves(self, root: Operation) -> Iterator[Value]:
        """What a tree adds up, from left to right."""
        waiting = [*reversed(root.operands)]
        while waiting:
            value = waiting.pop()
            op = self.graph.producers.get(value)
            if op is not None and op.name == "add" and value.type == root.result.type and self._is_inside(op):
                waiting += reversed(op.operands)
            else:
                yield value

    def _may_merge(self, leaf: Value) -> bool:
        """False for what is no convolution and no batch_norm, as at once can be seen."""
        op = self.graph.producers.get(leaf)
        return op is not None and (op.operator.contraction or op.name == BatchNorm.name)

    def _base(self, leaves: Sequence[Value]) -> Operation | None:
        """The convolution with the largest window."""
        found = [op for leaf in leaves if (op := self._convolution(leaf)) is not None]
        return max(found, key=lambda op: math.prod(op.operands[1].type.shape[:-1]), default=None)

    def _convolution(self, leaf: Value) -> Operation | None:
        """The convolution of a leaf, if it can be merged."""
        op = self.graph.producers.get(leaf)
        if op is None or not isinstance(op.operator, Convolution) or not self._is_free(op):
            return None
        return op if leaf.type.dtype in (DType.F32, DType.F64) else None

    def _is_free(self, op: Operation) -> bool:
        """True if what an operation does is known by parameters, and one addition alone reads its result."""
        return self._only_user(op) is not None and all(v in self.static for v in op.operands[1:])

    def _place(self, leaf: Value, base: Operation) -> tuple[int, ...] | None:
        """The element of the base's window at which that of a leaf begins; None if it can't be a part of it."""
        op = self.graph.producers.get(leaf)
        if op is None or op.operands[:1] != base.operands[:1] or leaf.type != base.result.type or not self._is_free(op):
            return None
        if isinstance(op.operator, BatchNorm):
            return _inside(None, _window(base)) if leaf.type == op.operands[0].type else None
        if op.operator is not base.operator or self._convolution(leaf) is None:
            return None
        same = all(op.attributes[name] == base.attributes[name] for name in ("strides", "groups"))
        return _inside(_window(op), _window(base)) if same else None


def _window(op: Operation) -> Window:
    operator = op.operator
    assert isinstance(operator, Convolution)
    return operator.window(op.operands[0].type, op.operands[1].type, op.attributes)


def _inside(small: Window | None, large: Window) -> tuple[int, ...] | None:
    """Where a window lies in one that has the same results; None: the window of one element."""
    place = []
    for d, (kernel, dilation, (before, _)) in enumerate(zip(large.kernel, large.dilations, large.padding, strict=True)):
        size, step, padding = (1, 1, 0) if small is None else (small.kernel[d], small.dilations[d], small.padding[d][0])
        first, rest = divmod(before - padding, dilation)
        strides_differ = small is None and large.strides[d] != 1
        if rest or strides_differ or (size > 1 and step != dilation) or not 0 <= first <= kernel - size:
            return None
        place.append(first)
    return tuple(place)


def _weight(b: Rewriter, op: Operation, base: Operation, place: tuple[int, ...]) -> Value:
    """The weight of a leaf in the shape of the base's."""
    shape = base.operands[1].type.shape
    if isinstance(op.operator, BatchNorm):
        channels, filters = shape[-2:]
        diagonal = np.tile(np.eye(channels), (1, filters // channels)).astype(op.result.type.dtype.numpy)
        ones = b.constant(diagonal.reshape(*(1 for _ in place), channels, filters), location=op.location)
        weight = b.emit("mul", ones, scale_of(b, op), location=op.location)
    else:
        weight = b[op.operands[1]]
    spatial = zip(place, weight.type.shape, shape, strict=False)
    padding = (*((first, all_ - first - size) for first, size, all_ in spatial), (0, 0), (0, 0))
    if not any(map(any, padding)):
        return weight
    return b.emit("pad", weight, padding=padding, value=0.0, location=op.location)


def _shift(b: Rewriter, op: Operation) -> Value | None:
    """What a leaf adds to a channel beside products."""
    if isinstance(op.operator, BatchNorm):
        return shift_of(b, op, scale_of(b, op))
    return b[op.operands[2]] if len(op.operands) > 2 else None


def _added(b: Rewriter, op: Operation, values: Sequence[Value]) -> Value:
    """The sum of one value or more, which has the name of an operation where it stands for its result."""
    total = values[0]
    for value in values[1:]:
        total = b.emit("add", total, value, location=op.location)
    return total


merge_convolutions = MergeConvolutions()
