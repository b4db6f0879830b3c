"""Operators of ONNX Runtime's own domain that its optimizers write: two or three operators as one, with floats.

Source: ONNX Runtime's list of contributed operators. Each becomes the operators that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.functions import activation_layers as layers
from ....compiler.types import DType
from ..node import Node
from ..registry import EXPERIMENTAL, onnx
from .contributed import DOMAIN
from .convolutions import conv, gemm, product

Results = tuple[Value | None, ...]

# ---- products with what follows them --------------------------------------------------------------------------------


def _clipped(c: Node, x: Value, numbers: Sequence[float]) -> Value:
    low, high = numbers
    return c.emit("clamp", x, low=float(low), high=float(high))


def _line(c: Node, x: Value, numbers: Sequence[float]) -> Value:
    alpha, beta = numbers
    line = c.emit("add", c.emit("mul", x, c.scalar(alpha, x)), c.scalar(beta, x))
    return c.emit("clamp", line, low=0.0, high=1.0)


_ACTIVATIONS: dict[str, tuple[tuple[float, ...], Callable[[Node, Value, Sequence[float]], Value]]] = {
    "": ((), lambda _, x, __: x),
    "Relu": ((), lambda c, x, _: c.emit("relu", x)),
    "Tanh": ((), lambda c, x, _: c.emit("tanh", x)),
    "Sigmoid": ((), lambda c, x, _: c.emit("sigmoid", x)),
    "Softplus": ((), lambda c, x, _: c.emit("softplus", x)),
    "Softsign": ((), lambda c, x, _: layers.softsign(c, x)),
    "HardSwish": ((), lambda c, x, _: c.emit("hard_swish", x)),
    "LeakyRelu": ((0.01,), lambda c, x, numbers: c.emit("leaky_relu", x, alpha=float(numbers[0]))),
    "HardSigmoid": ((0.2, 0.5), _line),
    "Clip": ((-np.inf, np.inf), _clipped),
}
"""How many numbers an activation takes, what they are unless given, and what it becomes."""


def _activated(c: Node, y: Value, numbers: Sequence[float]) -> Value:
    """The activation that a node names, with these numbers."""
    name = c.choice("activation", "", *_ACTIVATIONS)
    defaults, apply = _ACTIVATIONS[name]
    if len(numbers) not in (0, len(defaults)):
        c.unsupported(f"{name} takes {len(defaults)} numbers, not {list(numbers)}")
    return apply(c, y, numbers or defaults)


@onnx("FusedConv", domain=DOMAIN)
def fused_conv(c: Node) -> Value:
    """A convolution, plus a tensor of its shape, with an activation behind."""
    y = conv(c)
    y = c.emit("add", y, c.value(3)) if c.has(3) else y
    return _activated(c, y, c.attribute("activation_params", ()))


@onnx("FusedGemm", domain=DOMAIN)
def fused_gemm(c: Node) -> Value:
    """Gemm with an activation behind."""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    numbers = [float(c.attribute(name, 0.0)) for name in names if name in c.attributes]
    return _activated(c, gemm(c), numbers)


@onnx("FusedMatMul", "TransposeMatMul", domain=DOMAIN)
def fused_matmul(c: Node) -> Value:
    """Alpha times a product of matrices, of which each may be transposed, and its first dimension stand before rows."""
    sides = [_side(c, place, name) for place, name in enumerate("AB")]
    y = product(c, *sides, is_weight=c.known(1) is not None)
    alpha = float(c.attribute("alpha", 1.0))
    return y if alpha == 1 else c.emit("mul", y, c.scalar(alpha, y))


def _side(c: Node, place: int, name: str) -> Value:
    rank = c.type(place).rank
    order = list(range(rank))
    if c.flag(f"transBatch{name}") and rank > 2:
        order = [*order[1:-1], order[0], order[-1]]
    if c.flag(f"trans{name}") and rank > 1:
        order[-2:] = order[:-3:-1]
    return c.turned(place, tuple(order))


# ---- activations ----------------------------------------------------------------------------------------------------


def _with_bias(c: Node) -> Value:
    return c.emit("add", c.value(0), c.value(1)) if c.has(1) else c.value(0)


@onnx("Gelu", "BiasGelu", domain=DOMAIN)
def bias_gelu(c: Node) -> Value:
    """GELU, of the sum with a bias where there is one."""
    return c.emit("gelu", _with_bias(c), approximate=False)


@onnx("FastGelu", domain=DOMAIN)
def fast_gelu(c: Node) -> Value:
    """GELU by tanh, of the sum with a bias where there is one."""
    return c.emit("gelu", _with_bias(c), approximate=True)


@onnx("QuickGelu", domain=DOMAIN)
def quick_gelu(c: Node) -> Value:
    """X * sigmoid(alpha * x)."""
    x = c.value(0)
    scaled = c.emit("mul", x, c.scalar(float(c.attribute("alpha", 1.702)), x))
    return c.emit("mul", x, c.emit("sigmoid", scaled))


@onnx("BiasSplitGelu", domain=DOMAIN)
def bias_split_gelu(c: Node) -> Value:
    """The first half of the features plus a bias, times the GELU of the second half."""
    x = _with_bias(c)
    half = x.type.shape[-1] // 2
    size, front = (*x.type.shape[:-1], half), (0,) * (x.type.rank - 1)
    left, right = (c.emit("slice", x, begin=(*front, begin), size=size) for begin in (0, half))
    return c.emit("mul", left, c.emit("gelu", right, approximate=False))


@onnx("BiasAdd", domain=DOMAIN)
def bias_add(c: Node) -> Value:
    """Features plus a bias plus a tensor of their shape."""
    return c.emit("add", _with_bias(c), c.value(2))


# ---- normalisation --------------------------------------------------------------------------------------------------


def _summed(c: Node, places: Sequence[int]) -> Value:
    """The sum of the inputs at these places that are there."""
    first, *others = (c.value(place) for place in places if c.has(place))
    total = first
    for other in others:
        total = c.emit("add", total, other)
    if total.type.shape != first.type.shape:
        c.unsupported(f"{first.type} is smaller than what is added to it")
    return total


@onnx("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(c: Node) -> Results:
    """Layer normalisation of the sum of two tensors and a bias; the sum is a result, too."""
    c.refuse_outputs(1, 2)
    total = _summed(c, (0, 1, 4))
    return _normalized(c, total, 2, 3, 1e-12), None, None, total


@onnx("SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_simplified_layer_normalization(c: Node) -> Results:
    """Normalisation by the root of the mean square of the sum of two tensors and a bias; the sum is a result, too."""
    c.refuse_outputs(1, 2)
    total = _summed(c, (0, 1, 3))
    return _normalized(c, total, 2, None, 1e-12, center=False), None, None, total


@onnx("SimplifiedLayerNormalization", domain=EXPERIMENTAL)
@onnx("SimplifiedLayerNormalization", domain=DOMAIN)
def simplified_layer_normalization(c: Node) -> Results:
    """Normalisation by the root of the mean square over the last dimensions."""
    c.refuse_outputs(1)
    c.ignore("stash_type")
    x = c.value(0)
    first = c.axis(int(c.attribute("axis", -1)), x.type.rank)
    return _normalized(c, x, 1, None, 1e-5, axes=tuple(range(first, x.type.rank)), center=False), None


def _normalized(
    c: Node,
    x: Value,
    scale: int,
    bias: int | None,
    epsilon: float,
    *,
    axes: tuple[int, ...] = (-1,),
    center: bool = True,
) -> Value:
    y = c.emit("normalize", x, axes=axes, eps=float(c.attribute("epsilon", epsilon)), center=center)
    y = c.emit("mul", y, c.value(scale))
    return c.emit("add", y, c.value(bias)) if bias is not None and c.has(bias) else y


@onnx("GroupNorm", domain=DOMAIN)
def group_norm(c: Node) -> Value:
    """Groups of channels of each sample, with an x * sigmoid(x) behind where it is asked for."""
    return _by_group(c, c.value(0))


@onnx("SkipGroupNorm", domain=DOMAIN)
def skip_group_norm(c: Node) -> Results:
    """GroupNorm of a sum of tensors and a bias; the sum is a result, too."""
    x, skip = c.value(0), c.value(3)
    if skip.type.rank == 2:
        skip = c.reshape(skip, (skip.type.shape[0], 1, 1, skip.type.shape[1]))
    total = c.emit("add", x, skip)
    total = c.emit("add", total, c.value(4)) if c.has(4) else total
    return _by_group(c, total), total


def _by_group(c: Node, x: Value) -> Value:
    if x.type.rank < 3:
        c.unsupported(f"it takes pictures, not {x.type}")
    is_last = c.flag("channels_last", True)
    wide = x if is_last else c.channels_last(x)
    rules = {"eps": float(c.attribute("epsilon", 1e-5)), "groups": int(c.needed("groups"))}
    y = c.emit("normalize", wide, axes=tuple(range(1, x.type.rank)), **rules)
    y = c.emit("add", c.emit("mul", y, c.cast(c.value(1), y.type.dtype)), c.cast(c.value(2), y.type.dtype))
    if int(c.attribute("activation", 0)):
        y = c.emit("mul", y, c.emit("sigmoid", y))
    return y if is_last else c.channels_first(y)


# ---- embeddings -----------------------------------------------------------------------------------------------------


@onnx("EmbedLayerNormalization", domain=DOMAIN)
def embed_layer_normalization(c: Node) -> Results:
    """Layer normalisation of the sum of embeddings of words, places and segments; the lengths of rows by their mask."""
    terms = {place: c.value(place) for place in range(2, 7) if c.has(place)}
    y, total = _embedded(c, terms, 8)
    return y, _row_lengths(c), total


@onnx("QEmbedLayerNormalization", domain=DOMAIN)
def quantized_embed_layer_normalization(c: Node) -> Results:
    """EmbedLayerNormalization whose tables, factor and summand are bytes, with a scale and a zero point each."""
    terms = {}
    for place in range(2, 7):
        if c.has(place):
            whole, scale, zero = (c.constant(p) for p in (place, place + 6, place + 11))
            terms[place] = c.made((whole.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32))
    y, _ = _embedded(c, terms, None)
    return y, _row_lengths(c)


def _embedded(c: Node, terms: dict[int, Value], places: int | None) -> tuple[Value, Value]:
    """Embeddings by what stands for inputs 2 to 6, normalised, and their sum. Input `places` numbers words."""
    ids, table = c.value(0), terms[3]
    total = c.emit("gather", terms[2], ids, axis=0)
    length, features = total.type.shape[-2:]
    if places is not None and c.has(places):
        total = c.emit("add", total, c.emit("gather", table, c.value(places), axis=0))
    elif table.type.shape[0] < length:
        c.unsupported(f"{length} places are more than {table.type} has rows")
    else:
        total = c.emit("add", total, c.emit("slice", table, begin=(0, 0), size=(length, features)))
    if c.has(1) != (4 in terms):
        c.unsupported("a table of segments needs their numbers, and these a table")
    if c.has(1):
        total = c.emit("add", total, c.emit("gather", terms[4], c.value(1), axis=0))
    y = c.emit("normalize", total, axes=(-1,), eps=float(c.attribute("epsilon", 1e-12)))
    return c.emit("add", c.emit("mul", y, terms[5]), terms[6]), total


def _row_lengths(c: Node) -> Value:
    """How many words of each row count by the mask; 0 without one."""
    c.ignore("mask_index_type")
    if not c.has(7):
        return c.full(c.shape(0)[:1], 0, DType.I32)
    mask = c.value(7)
    return c.emit("reduce_sum", c.cast(c.emit("equal", mask, c.scalar(1, mask)), DType.I32), axes=(1,))
