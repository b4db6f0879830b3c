"""Products of quantized numbers and a weight in any order of axes, as dense layers between transposes of bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.gradients import reshaped
from ..ops.products.contract import Contract
from ..ops.products.matmul import MatMul
from ..ops.quantized.base import BYTES
from ..ops.quantized.conversion import Dequantize, QuantizeEven
from ..ops.quantized.grids import FARTHEST, scales_of
from .dce import dce
from .known import MOVES, known
from .product_axes import letters_of

_LEAST = 16
"""Products for each byte that has to move, at least."""


def with_dense_layers(graph: Graph) -> Graph:
    """The graph in which products of dequantized numbers and a weight of whole multiples of a scale are dense layers.

    `assign-axes` gives products the order of axes that spares transposes. Integers are added up so much faster that
    transposes of bytes pay. Numbers are rounded before they are brought to the order of the result.

    Before::

        %0 = dequantize(%x) : f32[1,196,64]
        %1 = contract(%0, %weight) {a_axes = "nxc", b_axes = "cf", axes = "nfx"} : f32[1,256,196]
        %2 = quantize_even(%1) : u8[1,256,196]

    After::

        %0 = dequantize(%x) : f32[1,196,64]
        %1 = dense(%0, %weight) : f32[1,196,256]
        %2 = quantize_even(%1) : u8[1,196,256]
        %3 = transpose(%2) {permutation = [0,2,1]} : u8[1,256,196]
    """
    found = {layer.last: layer for op in graph.operations if (layer := _Layer.of(op, graph)) is not None}
    return dce(rewritten(graph, lambda b, op: found[op].emit(b) if op in found else None)) if found else graph


@dataclass(frozen=True)
class _Layer:
    """A product as a dense layer."""

    op: Operation
    x: Value
    axes: str
    """Those of x, a letter for each."""
    lead: str
    inner: str
    free: str
    """What x alone has, what is summed over, and what the weight alone has."""
    weight: Array
    """[inner, free]."""
    ends: tuple[Operation, ...]
    """Limits of the result, and its rounding to bytes."""

    @classmethod
    def of(cls, op: Operation, graph: Graph) -> Self | None:
        """The layer that a product is, if it is one between bytes."""
        if not isinstance(op.operator, Contract | MatMul) or not op.result.type.size:
            return None
        left, right, result = letters_of(op)
        for place, (axes, own) in enumerate(((left, right), (right, left))):
            x, w = op.operands[place], op.operands[1 - place]
            weight = known(w, graph) if _holds_bytes(x, graph) else None
            ends = _ends(op, graph)
            if weight is None or not ends:
                continue
            own = "".join(label for label, size in zip(own, weight.shape, strict=True) if size != 1)
            inner = "".join(label for label in axes if label in own)
            free = "".join(label for label in result if label in own and label not in inner)
            lead = "".join(label for label in axes if label not in inner)
            if any(label in result for label in inner) or len(inner) + len(free) != len(own):
                continue
            if any(label not in result for label in lead):  # summed over, though of size 1
                continue
            order = [own.index(label) for label in inner + free]
            shape = [size for size in weight.shape if size != 1]
            matrix = (
                weight.reshape(shape).transpose(order).reshape(math.prod(shape[d] for d in order[: len(inner)]), -1)
            )
            layer = cls(op, x, axes, lead, inner, free, matrix, ends)
            return layer if layer._pays and scales_of(matrix, -FARTHEST, FARTHEST) is not None else None
        return None

    @property
    def _pays(self) -> bool:
        """True if there are products enough for each byte that may have to move."""
        summands, filters = self.weight.shape
        return bool(summands * filters >= _LEAST * (summands + filters))

    @property
    def last(self) -> Operation:
        """The operation whose result `emit` gives."""
        return self.ends[-1]

    def emit(self, b: Rewriter) -> Value:
        """The bytes of the result."""
        at: Any = {"location": self.op.location}
        (*_, result), shape = letters_of(self.op), self.last.result.type.shape
        sizes = dict(zip(self.axes, self.x.type.shape, strict=True)) | dict(zip(result, shape, strict=True))
        ordered = _turned(b, b[self.x], self.axes, self.lead + self.inner)
        lead = tuple(sizes[label] for label in self.lead)
        rows = reshaped(b, ordered, (*lead, self.weight.shape[0]))
        y = b.emit("dense", rows, b.constant(self.weight, self.op.location), **at)
        for op in self.ends:
            y = b.operation(op.operator, (y,), op.attributes, location=op.location).result
        made = self.lead + self.free
        y = reshaped(b, y, tuple(sizes[label] for label in made))
        y = _turned(b, y, made, "".join(label for label in result if label in made))
        return reshaped(b, y, shape)


def _turned(b: Rewriter, x: Value, axes: str, wanted: str) -> Value:
    """A value with its axes in another order."""
    return x if axes == wanted else b.emit("transpose", x, permutation=tuple(map(axes.index, wanted)))


def _holds_bytes(x: Value, graph: Graph) -> bool:
    """True for bytes as floats, moved perhaps."""
    op = graph.producers.get(x)
    while op is not None and op.name in MOVES:
        op = graph.producers.get(op.operands[0])
    return op is not None and isinstance(op.operator, Dequantize) and op.operands[0].type.dtype in BYTES


def _ends(op: Operation, graph: Graph) -> tuple[Operation, ...]:
    """The limits of a result and what rounds it to bytes, each the only reader; nothing where there is no rounding."""
    ends = list[Operation]()
    while graph.has_one_use(op.result):
        (op,) = graph.users[op.result]
        ends.append(op)
        if isinstance(op.operator, QuantizeEven):
            return tuple(ends) if op.result.type.dtype in BYTES else ()
        if not op.operator.clips:
            break
    return ()
