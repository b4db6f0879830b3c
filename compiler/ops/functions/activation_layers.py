"""Activations and other functions that are made of operators."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Value
from ..layer import LayerBuilder, layer
from ..reductions.reduction import normalize_axis

_SELU_SLOPE, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""Klambauer et al., "Self-normalizing neural networks", 2017."""


def _number(b: LayerBuilder, like: Value, value: float) -> Value:
    return b.emit("constant", value=np.array(value, like.type.dtype.numpy))


def _zeroed(b: LayerBuilder, condition: Value, x: Value) -> Value:
    """X where the condition holds, else 0."""
    return b.emit("select", condition, x, _number(b, x, 0))


@layer("prelu")
def prelu(b: LayerBuilder, x: Value, init: float = 0.25, shared: bool = False) -> Value:
    """Relu with a slope below zero that is learnt, for each channel or for all (He et al., 2015)."""
    if x.type.rank < 1:
        raise ShapeError(f"prelu takes [..., channels], not {x.type}")
    shape = (1,) if shared else x.type.shape[-1:]
    return b.emit("prelu", x, b.param("weight", shape, init=f"constant({init})"))


@layer("parametric_relu")
def parametric_relu(b: LayerBuilder, x: Value, slope: Value) -> Value:
    """X where it is not negative, else x * slope: `prelu` with a tensor in place of a parameter of its own."""
    return b.emit("prelu", x, slope)


@layer("silu")
def silu(b: LayerBuilder, x: Value) -> Value:
    """X * sigmoid(x), also known as swish (Ramachandran et al., "Searching for activation functions", 2017)."""
    return b.emit("mul", x, b.emit("sigmoid", x))


@layer("swish")
def swish(b: LayerBuilder, x: Value) -> Value:
    """X * sigmoid(x), also known as silu."""
    return silu(b, x)


@layer("mish")
def mish(b: LayerBuilder, x: Value) -> Value:
    """X * tanh(softplus(x)) (Misra, "Mish: a self regularized non-monotonic activation function", 2019)."""
    return b.emit("mul", x, b.emit("tanh", b.emit("softplus", x)))


@layer("selu")
def selu(b: LayerBuilder, x: Value) -> Value:
    """Scaled elu: 1.0507 * (x where positive, else 1.6733 * (exp(x) - 1))."""
    return b.emit("mul", _elu(b, x, _SELU_SLOPE), _number(b, x, _SELU_SCALE))


@layer("celu")
def celu(b: LayerBuilder, x: Value, alpha: float = 1.0) -> Value:
    """X where positive, else alpha * (exp(x / alpha) - 1) (Barron, "Continuously differentiable elus", 2017)."""
    if not alpha:
        raise ShapeError("celu divides by alpha, which can't be 0")
    return _celu(b, x, _number(b, x, alpha))


def _elu(b: LayerBuilder, x: Value, slope: float) -> Value:
    below = b.emit("mul", b.emit("elu", x), _number(b, x, slope))
    return b.emit("select", b.emit("greater", x, _number(b, x, 0)), x, below)


def _celu(b: LayerBuilder, x: Value, alpha: Value) -> Value:
    below = b.emit("mul", alpha, b.emit("elu", b.emit("div", x, alpha)))
    return b.emit("select", b.emit("greater", x, _number(b, x, 0)), x, below)


@layer("softsign")
def softsign(b: LayerBuilder, x: Value) -> Value:
    """X / (1 + |x|)."""
    return b.emit("div", x, b.emit("add", b.emit("abs", x), _number(b, x, 1)))


@layer("hard_tanh")
def hard_tanh(b: LayerBuilder, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    """X between two bounds, of -1 and 1."""
    return b.emit("clamp", x, low=low, high=high)


@layer("relu1")
def relu1(b: LayerBuilder, x: Value) -> Value:
    """min(max(x, 0), 1)."""
    return b.emit("clamp", x, low=0.0, high=1.0)


@layer("hard_shrink")
def hard_shrink(b: LayerBuilder, x: Value, limit: float = 0.5) -> Value:
    """X where |x| > limit, else 0; NaN stays."""
    inside = b.emit("less_equal", b.emit("abs", x), _number(b, x, limit))
    return b.emit("select", inside, _number(b, x, 0), x)


@layer("soft_shrink")
def soft_shrink(b: LayerBuilder, x: Value, limit: float = 0.5) -> Value:
    """X brought nearer to 0 by limit, and no further: x - clamp(x, -limit, limit)."""
    if limit < 0:
        raise ShapeError(f"soft_shrink takes a limit of at least 0, not {limit}")
    bound = _number(b, x, limit)
    above = _zeroed(b, b.emit("greater", x, bound), b.emit("sub", x, bound))
    outside = b.emit("greater_equal", x, b.emit("neg", bound))
    return b.emit("select", outside, above, b.emit("add", x, bound))


@layer("tanh_shrink")
def tanh_shrink(b: LayerBuilder, x: Value) -> Value:
    """X - tanh(x)."""
    return b.emit("sub", x, b.emit("tanh", x))


@layer("threshold")
def threshold(b: LayerBuilder, x: Value, limit: float, value: float) -> Value:
    """X where x > limit, else value; NaN stays."""
    return b.emit("select", b.emit("less_equal", x, _number(b, x, limit)), _number(b, x, value), x)


@layer("log_sigmoid")
def log_sigmoid(b: LayerBuilder, x: Value) -> Value:
    """log(sigmoid(x)), without overflow."""
    return b.emit("neg", b.emit("softplus", b.emit("neg", x)))


@layer("glu")
def glu(b: LayerBuilder, x: Value, axis: int = -1) -> Value:
    """The first half of a dimension times the sigmoid of the second (Dauphin et al., 2016)."""
    axis = normalize_axis("glu", axis, x.type.rank)
    size = x.type.shape[axis]
    if size % 2:
        raise ShapeError(f"glu halves dimension {axis} of {x.type}, whose size is odd")
    half = tuple(size // 2 if d == axis else s for d, s in enumerate(x.type.shape))
    begin = tuple(size // 2 if d == axis else 0 for d in range(x.type.rank))
    first = b.emit("slice", x, begin=(0,) * x.type.rank, size=half)
    return b.emit("mul", first, b.emit("sigmoid", b.emit("slice", x, begin=begin, size=half)))


@layer("fract")
def fract(b: LayerBuilder, x: Value) -> Value:
    """X without its whole part, with the sign of x."""
    return b.emit("sub", x, b.emit("trunc", x))


@layer("where")
def where(b: LayerBuilder, condition: Value, x: Value, y: Value) -> Value:
    """X where the condition holds, else y."""
    return b.emit("select", condition, x, y)
