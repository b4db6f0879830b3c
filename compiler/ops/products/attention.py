"""Scaled dot-product attention, which weighs values by how well their keys match a query."""

from __future__ import annotations

import math
from types import NoneType

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Cast, Const, Expr, Select, Unary
from ...types import DType, TensorType
from ..facets import INTEGER, TFLITE, IntegerForm
from ..functions.elementwise import broadcast_shapes
from ..gradients import scaled, sum_to
from ..layer import LayerBuilder, layer
from ..moves.axes import Permutation
from ..rules import expanded
from .matmul import broadcast_place


def sum_type(dtype: DType) -> DType:
    """The element type in which scores, their exponentials and sums are computed: f16 in f32."""
    return DType.F32 if dtype is DType.F16 else dtype


@register
class Attention(Operator):
    """softmax(q @ transposed k * scale + mask) @ v, without ever storing the whole matrix of scores.

    q is [..., L, D], k [..., S, D] and v [..., S, E]; leading dimensions (batch, heads) broadcast. The optional mask is
    added to the scores [..., L, S] and broadcasts to them. The result is [..., L, E]. `causal` leaves to query i the
    keys up to i, counted from the first ones. A query all of whose scores are -inf gives NaN, as softmax does. In code,
    keys whose weight beside the largest one would be subnormal or little more count for nothing.
    With `heads_inside`, q, k, v and the result are [..., L, heads, D], as projections to all heads give them; scores
    and mask stay [..., heads, L, S].

    Source: Vaswani et al., "Attention Is All You Need", 2017; that one pass over the keys is enough: Milakov and
    Gimelshein, "Online normalizer calculation for softmax", 2018. Gradients compute the scores again and store them.
    """

    name = "attention"
    operands = ("q", "k", "v", "mask?")
    floats_only = True
    attributes = {
        "scale": AttributeSpec((float, int, NoneType), "factor of the scores; 1 / sqrt(D) if absent", None),
        "causal": AttributeSpec(bool, "query i sees keys 0 to i only", False),
        "heads_inside": AttributeSpec(bool, "the heads stand between rows and features", False),
    }

    def scale(self, q: TensorType, attributes: Attributes) -> float:
        """The factor of the scores."""
        given = attributes["scale"]
        return 1 / math.sqrt(max(q.shape[-1], 1)) if given is None else float(given)

    def keys(self, k: TensorType, attributes: Attributes) -> int:
        """The number of keys."""
        return k.shape[-3 if attributes["heads_inside"] else -2]

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if attributes["heads_inside"]:
            if min(o.rank for o in operands[:3]) < 3:
                q, k, v = operands[:3]
                raise ShapeError(f"attention with heads_inside takes [..., L, heads, D], not {q}, {k} and {v}")
            (result,) = self.infer(_heads_outside(operands), {**attributes, "heads_inside": False})
            return (_exchanged(result),)
        q, k, v, *mask = operands
        if min(o.rank for o in (q, k, v)) < 2:
            raise ShapeError(f"attention takes q [..., L, D], k [..., S, D] and v [..., S, E], not {q}, {k} and {v}")
        if q.shape[-1] != k.shape[-1]:
            raise ShapeError(f"attention can't compare queries {q} with keys {k}: their last sizes differ")
        if k.shape[-2] != v.shape[-2]:
            raise ShapeError(f"attention: {k} are not as many keys as there are values in {v}")
        if k.shape[-2] == 0:
            raise ShapeError(f"attention: {k} holds no keys")
        lead = broadcast_shapes(self.name, broadcast_shapes(self.name, q.shape[:-2], k.shape[:-2]), v.shape[:-2])
        scores = (*lead, q.shape[-2], k.shape[-2])
        if mask and broadcast_shapes(self.name, mask[0].shape, scores) != scores:
            raise ShapeError(f"attention: mask {mask[0]} doesn't broadcast to scores of shape {list(scores)}")
        return (TensorType(q.dtype, (*lead, q.shape[-2], v.shape[-1])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        dtype = DType.of(operands[0].dtype)
        if attributes["heads_inside"]:
            operands = (*(np.swapaxes(x, -2, -3) for x in operands[:3]), *operands[3:])
        q, k, v, *mask = (x.astype(sum_type(dtype).numpy) for x in operands)
        scores = q @ np.swapaxes(k, -1, -2) * self.scale(TensorType(dtype, q.shape), attributes)
        scores = scores.astype(q.dtype)
        if mask:
            scores = scores + mask[0]
        if attributes["causal"]:
            scores = np.where(_seen(scores.shape), scores, -np.inf).astype(q.dtype)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        result = weights @ v / weights.sum(axis=-1, keepdims=True)
        result = result.astype(dtype.numpy)
        return (np.ascontiguousarray(np.swapaxes(result, -2, -3)) if attributes["heads_inside"] else result,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        """Every element computes its query's scores, their maximum and their sum anew: right, but slow."""
        inside = attributes["heads_inside"]
        *lead, row, column = (*index[:-3], index[-2], index[-3], index[-1]) if inside else index
        dtype, total_type = c.type(0).dtype, sum_type(c.type(0).dtype)
        keys = (c.type(1).shape[-3 if inside else -2],)
        factor = self.scale(c.type(0), attributes)

        def load(operand: int, *place: Expr) -> Expr:
            type_ = c.type(operand)
            outer = broadcast_place((_exchanged(type_) if inside else type_).shape[:-2], tuple(lead))
            where = (*outer[:-1], place[0], outer[-1], place[1]) if inside else (*outer, *place)
            return _cast(c.load(operand, where), total_type)

        def score(key: Expr) -> Expr:
            length = c.type(0).shape[-1:]
            dot = Reduction("add", length, lambda r: load(0, row, r[0]) * load(1, key, r[0]), dtype=total_type)
            total = c.reduce(dot) * factor
            if c.count > 3:
                places = (*lead, row, key)
                place = broadcast_place(c.type(3).shape, places)
                total = total + _cast(c.load(3, place), total_type)
            if attributes["causal"]:
                hidden = Const(-math.inf, total_type, total.type.lanes)
                total = Select(c.splat(Binary("le", key, row)), total, hidden)
            return c.let(total)

        largest = c.reduce(Reduction("max", keys, lambda r: score(r[0]), dtype=total_type))

        def weight(key: Expr) -> Expr:
            return Unary("exp", score(key) - largest)

        total = c.reduce(Reduction("add", keys, lambda r: weight(r[0]), dtype=total_type))
        return Reduction(
            "add",
            keys,
            lambda r: weight(r[0]) * load(2, r[0], column),
            lambda weighted: _cast(weighted / total, dtype),
            total_type,
        )

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        if attributes["heads_inside"]:
            turned = _turned(b, operands[:3])
            return _turned(b, (self.expand(b, (*turned, *operands[3:]), {**attributes, "heads_inside": False}),))[0]
        return b.emit("matmul", self._weights(b, operands, attributes)[1], operands[2])

    def _weights(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, Value]:
        """The queries times the scale, and the softmax of the scores."""
        q, k, _, *mask = operands
        q = scaled(b, q, self.scale(q.type, attributes))
        scores = b.emit("matmul", q, k, transpose_b=True)
        if mask:
            scores = b.emit("add", scores, mask[0])
        if attributes["causal"]:
            hidden = np.where(_seen(scores.type.shape), 0, -np.inf).astype(scores.type.dtype.numpy)
            scores = b.emit("add", scores, b.constant(hidden))
        return q, b.emit("softmax", scores, axis=-1)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        (queries, keys), size = (operands[i].shape[-1] for i in (0, 2)), self.keys(operands[1], attributes)
        return math.prod(results[0].shape[:-1]) * size * (queries + keys)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), inside = cotangents, op.attributes["heads_inside"]
        q, k, v, *mask = op.operands
        product = b.emit("mul", dy, op.result)
        if inside:
            q, k, v, dy, product = _turned(b, (q, k, v, dy, product))
        queries, weights = self._weights(b, (q, k, v, *mask), op.attributes)
        # The derivative of softmax needs the sum of all weights times their cotangents, which is that of y * dy.
        total = b.emit("reduce_sum", product, axes=(-1,), keepdims=True)
        dweights = b.emit("matmul", dy, v, transpose_b=True)
        dscores = b.emit("mul", weights, b.emit("sub", dweights, total))
        dq = scaled(b, b.emit("matmul", dscores, k), self.scale(q.type, op.attributes))
        dk = b.emit("matmul", dscores, queries, transpose_a=True)
        dv = b.emit("matmul", weights, dy, transpose_a=True)
        pairs = zip((dq, dk, dv, dscores), (q, k, v, *mask), strict=False)
        found = tuple(sum_to(b, derivative, operand.type.shape) for derivative, operand in pairs)
        return (*_turned(b, found[:3]), *found[3:]) if inside else found


def _exchanged(type_: TensorType) -> TensorType:
    """A type with rows and heads exchanged."""
    *outer, a, b, features = type_.shape
    return TensorType(type_.dtype, (*outer, b, a, features))


def _heads_outside(operands: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    """Types of q, k, v and the mask with the heads before the rows."""
    return (*map(_exchanged, operands[:3]), *operands[3:])


def _turned(b: Builder, values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Values with rows and heads exchanged."""
    return tuple(b.emit("transpose", v, permutation=_exchange(v.type.rank)) for v in values)


def _exchange(rank: int) -> Permutation:
    return (*range(rank - 3), rank - 2, rank - 3, rank - 1)


def _seen(scores: tuple[int, ...]) -> Array:
    """Which query sees which key, where each sees those up to its own number."""
    queries, keys = scores[-2:]
    return np.tri(queries, keys) > 0


def _cast(x: Expr, dtype: DType) -> Expr:
    return x if x.type.dtype is dtype else Cast(x, dtype)


INTEGER.add(IntegerForm(None, prepare=expanded), Attention)
TFLITE.none("made of others", Attention)


@layer("multi_head_attention")
def multi_head_attention(
    b: LayerBuilder,
    x: Value,
    heads: int,
    mask: Value | None = None,
    bias: bool = True,
    causal: bool = False,
    init: str = "he_normal",
) -> Value:
    """Self-attention over x [..., L, E]: each of `heads` attends with E / heads features of its own.

    Parameters are called as those of PyTorch's MultiheadAttention: `in_proj_weight` holds the projections to queries,
    keys and values, `out_proj.weight` that of the heads' results.
    """
    if x.type.rank < 2 or heads < 1 or x.type.shape[-1] % heads:
        raise ShapeError(f"multi_head_attention can't split the features of {x.type} among {heads} heads")
    *lead, length, features = x.type.shape
    split = (*lead, length, heads, features // heads)
    outer, last = tuple(range(len(lead))), len(lead)
    turned = (*outer, last + 1, last, last + 2)  # queries and heads exchanged, there and back
    weights = [b.param("in_proj_weight", (features, 3 * features), init=init, checkpoint="oi")]
    weights += [b.param("in_proj_bias", (3 * features,), init="zeros")] if bias else []

    def projected(part: int) -> Value:
        """Queries, keys or values, [..., heads, L, E / heads]; the parts of weights are cut out once for all."""
        sizes = [(*w.type.shape[:-1], features) for w in weights]
        places = [(*(0,) * (len(size) - 1), part * features) for size in sizes]
        parts = [b.emit("slice", w, begin=p, size=s) for w, p, s in zip(weights, places, sizes, strict=True)]
        return b.emit("transpose", b.emit("reshape", b.emit("dense", x, *parts), shape=split), permutation=turned)

    masks = [] if mask is None else [mask]
    result = b.emit("attention", *(projected(part) for part in range(3)), *masks, causal=causal)
    joined = b.emit("reshape", b.emit("transpose", result, permutation=turned), shape=x.type.shape)
    output = [b.param("out_proj.weight", (features, features), init=init, checkpoint="oi")]
    output += [b.param("out_proj.bias", (features,), init="zeros")] if bias else []
    return b.emit("dense", joined, *output)
