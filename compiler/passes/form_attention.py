"""form-attention: products of matrices with a softmax between them become attention, which stores no scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.moves.axes import regrouped
from ..ops.products.matmul import exchanged
from .base import Pass
from .dce import dce


@dataclass(frozen=True)
class FormAttention(Pass):
    """Make `matmul(softmax(matmul(q, k transposed) * scale + mask), v)` an `attention`.

    Nothing else may read the scores. Several masks are added up. Reshapes of what the matrices are numbered by may
    stand between, and numbers that queries or keys are multiplied by become part of the scale. Attention over channels
    stays as it is: its scores are small, and it needs no transposes as products.

    Before::

        %0 = matmul(%q, %k) {transpose_b = true} : f32[4,9,9]
        %1 = softmax(%0) {axis = 2} : f32[4,9,9]
        %2 = matmul(%1, %v) : f32[4,9,16]

    After::

        %0 = attention(%q, %k, %v) {scale = 1.0} : f32[4,9,16]
    """

    name = "form-attention"

    def run(self, graph: Graph) -> Graph:
        former = _Former(graph)
        formed = rewritten(graph, former.attention)
        return graph if formed is graph else dce(formed)


form_attention = FormAttention()


@dataclass
class _Scores:
    """What was found on the way from a softmax up to the product of queries and keys."""

    factor: float = 1.0
    masks: list[tuple[Value, tuple[int, ...]]] = field(default_factory=list[tuple[Value, tuple[int, ...]]])
    """What is added, and the shape of the scores there."""
    product: Operation | None = None


class _Former:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = frozenset(graph.outputs)

    def attention(self, b: Rewriter, op: Operation) -> Value | None:
        """What stands for a product whose left operand holds weights of attention."""
        if op.name != "matmul" or op.attributes["transpose_a"]:
            return None
        softmax = self._alone(op.operands[0], "softmax")
        if softmax is None or softmax.attributes["axis"] % softmax.result.type.rank != softmax.result.type.rank - 1:
            return None
        scores = self._scores(softmax.operands[0])
        if scores is None or scores.product is None or not softmax.result.type.size:
            return None
        if self._is_over_channels(scores.product):
            return None
        shape = softmax.result.type.shape
        masks = [(mask, _reshaped(mask.type.shape, there, shape)) for mask, there in scores.masks]
        known = [(mask, size) for mask, size in masks if size is not None]
        return self._formed(b, op, scores.product, scores.factor, known) if len(known) == len(masks) else None

    def _is_over_channels(self, product: Operation) -> bool:
        """True where channels are the rows: scores are smaller than the queries, which would have to be transposed."""
        queries, keys = product.operands[0], product.result.type.shape[-1]
        maker = self.graph.producers.get(queries)
        while maker is not None and maker.name in ("mul", "div"):
            maker = self.graph.producers.get(maker.operands[0])
        if maker is None or maker.name != "transpose" or queries.type.shape[-1] <= keys:
            return False
        return bool(maker.attributes["permutation"][-1] != queries.type.rank - 1)

    def _alone(self, value: Value, *names: str) -> Operation | None:
        """What makes a value, if it is one of these operators and nobody else reads it."""
        op = self.graph.producers.get(value)
        is_alone = value not in self.outputs and len(self.graph.users[value]) == 1
        return op if op is not None and op.name in names and is_alone else None

    def _scores(self, value: Value) -> _Scores | None:
        """The way up from a softmax; None where it leads elsewhere."""
        found = _Scores()
        while found.product is None:
            op = self._alone(value, "add", "mul", "div", "reshape", "matmul")
            if op is None:
                return None
            if op.name == "matmul":
                if op.attributes["transpose_a"]:
                    return None
                found.product = op
            elif op.name == "reshape":
                if op.operands[0].type.shape[-2:] != value.type.shape[-2:]:
                    return None
                value = op.operands[0]
            else:
                step = self._step(op, found)
                if step is None:
                    return None
                value = step
        return found

    def _step(self, op: Operation, found: _Scores) -> Value | None:
        """The scores before a mask or a factor, which is noted."""
        x, y = op.operands
        number = self._number(y) if op.name != "add" else None
        if op.name == "mul" and number is None:
            x, y, number = y, x, self._number(x)
        if op.name == "add":
            x, y = (x, y) if self._is_scores(x, op) else (y, x)
            if not self._is_scores(x, op):
                return None
            found.masks.append((y, op.result.type.shape))
            return x if found.factor == 1.0 else None  # a factor behind a mask would scale it, too
        if number is None or number == 0 or x.type.shape != op.result.type.shape:
            return None
        found.factor = found.factor * number if op.name == "mul" else found.factor / number
        return x

    def _is_scores(self, value: Value, op: Operation) -> bool:
        made = self._alone(value, "add", "mul", "div", "reshape", "matmul")
        return made is not None and value.type.shape == op.result.type.shape

    def _number(self, value: Value) -> float | None:
        op = self.graph.producers.get(value)
        is_number = op is not None and op.name == "constant" and value.type.size == 1
        return float(op.attributes["value"].reshape(-1)[0]) if op is not None and is_number else None

    def _scaled(self, b: Rewriter, value: Value) -> tuple[Value, float]:
        """Queries or keys before they are multiplied by a number, before or behind a transpose, and this number."""
        op = self.graph.producers.get(value)
        if op is not None and op.name == "transpose":
            inner, factor = self._scaled(b, op.operands[0]) if len(self.graph.users[value]) == 1 else (b[value], 1.0)
            if factor == 1.0:
                return b[value], 1.0
            return b.emit("transpose", inner, permutation=op.attributes["permutation"], location=op.location), factor
        product = self._alone(value, "mul")
        if product is None:
            return b[value], 1.0
        x, y = product.operands
        number = self._number(y)
        if number is None:
            x, number = y, self._number(x)
        if number is None or number == 0 or x.type.shape != value.type.shape:
            return b[value], 1.0
        return b[x], number

    def _formed(
        self,
        b: Rewriter,
        op: Operation,
        product: Operation,
        factor: float,
        masks: Sequence[tuple[Value, tuple[int, ...]]],
    ) -> Value:
        (q, q_factor), (k, k_factor) = (self._scaled(b, v) for v in product.operands)
        k = k if product.attributes["transpose_b"] else exchanged(b, k)
        v = exchanged(b, b[op.operands[1]]) if op.attributes["transpose_b"] else b[op.operands[1]]
        scores = op.operands[0].type.shape
        if scores != product.result.type.shape:  # a reshape stands between
            q, k = (self._led(b, x, product.result.type.shape[:-2], scores[:-2]) for x in (q, k))
        total: list[Value] = []
        for mask, shape in masks:
            value = b[mask] if mask.type.shape == shape else b.emit("reshape", b[mask], shape=shape)
            total = [b.emit("add", total[0], value)] if total else [value]
        scale = factor * q_factor * k_factor
        return b.emit("attention", q, k, v, *total, scale=scale, location=op.location, name=op.result.name)

    def _led(self, b: Rewriter, x: Value, old: tuple[int, ...], new: tuple[int, ...]) -> Value:
        """Matrices that are numbered as the scores are."""
        *_, rows, columns = x.type.shape
        full = x if x.type.shape[:-2] == old else b.emit("broadcast_to", x, shape=(*old, rows, columns))
        return b.emit("reshape", full, shape=(*new, rows, columns))


def _reshaped(mask: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of a mask that broadcasts to `new` as it did to `old`; None where there is none."""
    if old == new or not mask:
        return mask
    full = (1,) * (len(old) - len(mask)) + mask
    return regrouped(full, old, new)
