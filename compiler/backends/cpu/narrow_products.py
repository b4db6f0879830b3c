"""narrow-products: weights of contractions, and what they multiply, in two bytes for each number."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from ...graph.analysis import static_values
from ...graph.builder import GraphBuilder, Rewriter
from ...graph.ir import Graph, Operation, Value
from ...graph.registry import lookup
from ...lowering.group import Group, group_of
from ...ops.products.dense import Dense
from ...ops.windows.convolution import Conv2D, Convolution
from ...ops.windows.transpose_convolution import TransposeConvolution
from ...passes import Pass
from ...precision import BF16, F16
from ...types import DType
from .narrow_storage import NarrowStorage, moves

LARGE = 1 << 20
"""Elements of a depthwise convolution's input, too many for the L2 cache, so that half the bytes pay for widening."""
LARGE_BESIDE_TILES = 1 << 10
"""The same where the layers before it go by tile registers: what they store takes much of their time."""


@dataclass(frozen=True)
class NarrowProducts(Pass):
    """Store the weights of contractions, and where it pays what they multiply, as bfloat16 or in half precision.

    The rule, for convolutions without groups, transposed ones and dense layers, in single precision, whose weight is
    known when weights are loaded, and which aren't computed by another algorithm:

    - The weight is rounded to `precision`, bf16 or f16, once. The group that reads it brings it back to f32.
    - With bf16 and `pairs` (the machine multiplies pairs of bfloat16), the first operand is rounded to bfloat16, too.
      The group that makes it stores it so, if all that read it take it: such contractions, operations on single
      elements, and those that pick or move elements, such as `max_pool` and `concat`. Else, if there are enough
      products for each element, a kernel rounds a copy.
    - So is what such elements are picked or moved from, which changes no number, the large input of a depthwise
      convolution, and the result of a contraction that only the end of another one adds to a sum stored so.
    - Sums and everything else stay f32; so do the inputs and outputs of the graph.

    Before::

        %1 = fused(%x = %0, %weight = %w) {
          %0 = conv2d(%x, %weight)
          %1 = relu(%0)
          return %1
        } : f32[1,56,56,64]

    After, where %1 goes to such a convolution, too::

        %3 = to_bfloat16(%w) : i16[1,1,64,64]
        %4 = fused(%x = %2, %weight = %3) {
          %0 = from_bfloat16(%x)
          %1 = from_bfloat16(%weight)
          %2 = conv2d(%0, %1)
          %3 = relu(%2)
          %4 = to_bfloat16(%3)
          return %4
        } : i16[1,56,56,64]
    """

    name = "narrow-products"
    precision: str = BF16
    pairs: bool = False
    large: int = LARGE
    """Elements from which on the input of a depthwise convolution is stored in 16 bits."""

    def run(self, graph: Graph) -> Graph:
        """Decide for the whole graph, then write it anew."""
        return _Narrowing(graph, self.precision, self.pairs and self.precision == BF16, self.large).result()


@dataclass
class _Body:
    """The body of a group in the making."""

    builder: GraphBuilder
    operands: list[Value] = field(default_factory=list[Value])
    values: dict[Value, Value] = field(default_factory=dict[Value, Value])


class _Narrowing:
    def __init__(self, graph: Graph, precision: str, pairs: bool, large: int) -> None:
        self.graph, self.precision, self.large = graph, precision, large
        self.static = static_values(graph)
        found = ((op, self._contraction(op)) for op in graph.operations)
        self.contractions = {op: group for op, group in found if group is not None}
        self.depthwise = {op: group for op in graph.operations if (group := self._large_depthwise(op)) is not None}
        storage = NarrowStorage(graph, self.static, self.contractions, self.depthwise) if pairs else None
        self.stored: Collection[Value] = storage.stored if storage else ()
        self.copied: Collection[Value] = storage.copied if storage else ()
        self.rewriter = Rewriter(graph)
        self.narrow: dict[Value, Value] = {}
        """By a value of the old graph: its bits in the new one."""

    # ---- decisions ----

    def _contraction(self, op: Operation) -> Group | None:
        """The group of a contraction that takes narrow weights; None for all other operations."""
        if len(op.results) != 1 or op.result in self.static:
            return None
        group = group_of(op, self.graph.producers, self.static)
        anchor = group.anchor
        if not isinstance(anchor.operator, Convolution | TransposeConvolution | Dense) or anchor.algorithm is not None:
            return None
        operands = anchor.operands
        if any(v not in group.outer for v in operands) or group.outer[operands[1]] not in self.static:
            return None
        if anchor.attributes.get("groups", 1) != 1 or not anchor.result.type.size:
            return None
        return group if all(v.type.dtype is DType.F32 for v in (*operands, anchor.result)) else None

    def _large_depthwise(self, op: Operation) -> Group | None:
        """The group of a depthwise convolution with a large input; None for all other operations."""
        if len(op.results) != 1 or op.result in self.static:
            return None
        group = group_of(op, self.graph.producers, self.static)
        operands = group.anchor.operands
        if not isinstance(group.anchor.operator, Conv2D) or any(v not in group.outer for v in operands):
            return None
        x, weight = (v.type for v in operands[:2])
        if not group.anchor.attributes["groups"] == x.shape[-1] == weight.shape[-1] > 1 or x.size < self.large:
            return None
        return group if all(v.type.dtype is DType.F32 for v in operands) else None

    # ---- the new graph ----

    def result(self) -> Graph:
        """The graph with narrow operands."""
        if not self.contractions:
            return self.graph
        for op in self.graph.operations:
            if len(op.results) == 1 and moves(op) and op.result in self.stored:
                self._move(op)
            elif op in self.contractions or any(v in self.stored for v in (*op.operands, *op.results)):
                self._rewrite(op)
            else:
                self.rewriter.copy(op)
        return self.rewriter.close()

    def _move(self, op: Operation) -> None:
        """Emit an operation on bits."""
        operands = tuple(self._bits(v) for v in op.operands)
        new = self.rewriter.operation(
            op.operator, operands, op.attributes, location=op.location, name=op.result.name
        ).result
        self.rewriter.replace(op.result, new)
        self.narrow[op.result] = new

    def _rewrite(self, op: Operation) -> None:
        """Emit an operation as a group that widens what it reads, and rounds its result if that is stored so."""
        group = self.contractions.get(op)
        weight = group.outer[group.anchor.operands[1]] if group is not None else None
        narrow = {v for v in op.operands if v in self.stored or v is weight}
        if group is not None and (x := group.outer[group.anchor.operands[0]]) in self.copied:
            narrow.add(x)
        body = _Body(GraphBuilder("fused"))
        inputs = op.body.inputs if op.body is not None else tuple(dict.fromkeys(op.operands))
        outside = op.operands if op.body is not None else inputs
        for number, (inner, outer) in enumerate(zip(inputs, outside, strict=True)):
            self._add_input(body, inner, outer, self._input_name(op, number), outer in narrow)
        for member in op.body.operations if op.body is not None else (op,):
            self._add_member(body, member)
        exit_ = body.values[op.body.outputs[0] if op.body is not None else op.result]
        is_stored = op.result in self.stored
        if is_stored:
            exit_ = body.builder.emit("to_bfloat16", exit_)
        fused = body.builder.finish([exit_])
        location = group.anchor.location if group is not None else op.location
        new = self.rewriter.operation(
            lookup("fused"), body.operands, location=location, name=op.result.name, body=fused
        ).result
        self.rewriter.replace(op.result, new)
        if is_stored:
            self.narrow[op.result] = new

    def _input_name(self, op: Operation, number: int) -> str:
        if op.body is not None:
            return op.body.inputs[number].name or f"x{number}"
        names = op.operator.operands
        return names[min(number, len(names) - 1)].strip("*?") + ("" if number < len(names) else str(number))

    def _add_input(self, body: _Body, inner: Value, outer: Value, name: str, is_narrow: bool) -> None:
        """An operand of the group, widened if it is stored narrow."""
        given = self._bits(outer) if is_narrow else self.rewriter[outer]
        body.operands.append(given)
        value = body.builder.input(name, given.type)
        if is_narrow:
            value = body.builder.emit("from_bfloat16", value) if given.type.dtype is DType.I16 else _f32(body, value)
        body.values[inner] = value

    def _add_member(self, body: _Body, member: Operation) -> None:
        operands = tuple(body.values[v] for v in member.operands)
        results = tuple(Value(r.type, r.name) for r in member.results)
        body.values.update(zip(member.results, results, strict=True))
        body.builder.append(
            Operation(
                member.operator, operands, member.attributes, results, member.location, member.body, member.algorithm
            )
        )

    def _bits(self, value: Value) -> Value:
        """A value of the old graph as it is stored."""
        if value not in self.narrow:
            wide = self.rewriter[value]
            self.narrow[value] = self.rewriter.emit("half_weight" if self.precision == F16 else "to_bfloat16", wide)
        return self.narrow[value]


def _f32(body: _Body, value: Value) -> Value:
    return body.builder.emit("cast", value, dtype=str(DType.F32))
