"""Activations, and functions that spread over a dimension: softmax and its like."""

from __future__ import annotations

import math

from ....compiler.graph.ir import Value
from ....compiler.ops.functions import activation_layers as layers
from ....compiler.types import DType
from ..node import Node
from ..registry import Rule, onnx


@onnx("LeakyRelu")
def leaky_relu(c: Node) -> Value:
    """X where positive, else alpha * x."""
    return c.emit("leaky_relu", c.value(0), alpha=float(c.attribute("alpha", 0.01)))


@onnx("ThresholdedRelu")
def thresholded_relu(c: Node) -> Value:
    """X where it is above alpha, else 0."""
    x = c.value(0)
    alpha = c.scalar(float(c.attribute("alpha", 1.0)), x)
    return c.emit("select", c.emit("greater", x, alpha), x, c.scalar(0, x))


def _below_zero(c: Node, x: Value, below: Value) -> Value:
    return c.emit("select", c.emit("greater", x, c.scalar(0, x)), x, below)


@onnx("Elu")
def elu(c: Node) -> Value:
    """X where positive, else alpha * (exp(x) - 1)."""
    x, alpha = c.value(0), float(c.attribute("alpha", 1.0))
    if alpha == 1:
        return c.emit("elu", x)
    return _below_zero(c, x, c.emit("mul", c.emit("elu", x), c.scalar(alpha, x)))


@onnx("Selu")
def selu(c: Node) -> Value:
    """Gamma * (x where positive, else alpha * (exp(x) - 1))."""
    x = c.value(0)
    alpha = float(c.attribute("alpha", 1.67326319217681884765625))
    gamma = float(c.attribute("gamma", 1.05070102214813232421875))
    inner = _below_zero(c, x, c.emit("mul", c.emit("elu", x), c.scalar(alpha, x)))
    return c.emit("mul", inner, c.scalar(gamma, x))


@onnx("Celu")
def celu(c: Node) -> Value:
    """X where positive, else alpha * (exp(x / alpha) - 1)."""
    return layers.celu(c, c.value(0), float(c.attribute("alpha", 1.0)))


@onnx("HardSigmoid")
def hard_sigmoid(c: Node) -> Value:
    """A line, alpha * x + beta, between 0 and 1."""
    x = c.value(0)
    alpha, beta = float(c.attribute("alpha", 0.2)), float(c.attribute("beta", 0.5))
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return c.emit("hard_sigmoid", x)
    line = c.emit("add", c.emit("mul", x, c.scalar(alpha, x)), c.scalar(beta, x))
    return c.emit("clamp", line, low=0.0, high=1.0)


@onnx("Gelu")
def gelu(c: Node) -> Value:
    """X times the share of a normal distribution below x."""
    return c.emit("gelu", c.value(0), approximate=c.choice("approximate", "none", "none", "tanh") == "tanh")


@onnx("Mish")
def mish(c: Node) -> Value:
    """X * tanh(softplus(x))."""
    return layers.mish(c, c.value(0))


@onnx("Swish")
def swish(c: Node) -> Value:
    """X * sigmoid(alpha * x)."""
    x, alpha = c.value(0), float(c.attribute("alpha", 1.0))
    inner = x if alpha == 1 else c.emit("mul", x, c.scalar(alpha, x))
    return c.emit("mul", x, c.emit("sigmoid", inner))


@onnx("Softsign")
def softsign(c: Node) -> Value:
    """X / (1 + |x|)."""
    return layers.softsign(c, c.value(0))


@onnx("Shrink")
def shrink(c: Node) -> Value:
    """X + bias below -lambd, x - bias above it, else 0."""
    x = c.value(0)
    limit, bias = float(c.attribute("lambd", 0.5)), float(c.attribute("bias", 0.0))
    if not x.type.dtype.is_float:
        return _shrunk_integers(c, x, limit, bias)
    move, zero = c.scalar(bias, x), c.scalar(0, x)
    lowered = c.emit("select", c.emit("greater", x, c.scalar(limit, x)), c.emit("sub", x, move), zero)
    return c.emit("select", c.emit("less", x, c.scalar(-limit, x)), c.emit("add", x, move), lowered)


def _shrunk_integers(c: Node, x: Value, limit: float, bias: float) -> Value:
    """Shrink of integers, exactly: results with a fraction are rounded toward zero, as casts do."""
    if not max(abs(limit), abs(bias)) < 2.0**63:
        c.unsupported(f"`lambd` {limit} and `bias` {bias} of integers")
    wide, whole, edge = c.cast(x, DType.I64), math.floor(bias), math.floor(limit)
    zero, one, move = (c.scalar(number, wide) for number in (0, 1, whole))
    raised, lowered = c.emit("add", wide, move), c.emit("sub", wide, move)
    if whole != bias:
        raised = c.emit("select", c.emit("less", raised, zero), c.emit("add", raised, one), raised)
        lowered = c.emit("select", c.emit("greater", lowered, zero), c.emit("sub", lowered, one), lowered)
    above, below = c.emit("greater", wide, c.scalar(edge, wide)), c.emit("less", wide, c.scalar(-edge, wide))
    return c.cast(c.emit("select", below, raised, c.emit("select", above, lowered, zero)), x.type.dtype)


# ---- over a dimension -----------------------------------------------------------------------------------------------


def _flattened(operator: str) -> Rule:
    """Up to operator set 12 all dimensions from the axis on count as one."""

    def rule(c: Node) -> Value:
        x = c.value(0)
        rank = x.type.rank
        axis = c.axis(c.attribute("axis", 1), rank) if rank else 0
        if rank and axis == rank - 1:
            return _over_axis(c, operator, x, axis)
        rows = math.prod(x.type.shape[:axis])
        flat = c.reshape(x, (rows, math.prod(x.type.shape[axis:])))
        return c.reshape(_over_axis(c, operator, flat, 1), x.type.shape)

    return rule


def _along(operator: str) -> Rule:
    def rule(c: Node) -> Value:
        x = c.value(0)
        return _over_axis(c, operator, x, c.axis(c.attribute("axis", -1), x.type.rank))

    return rule


def _over_axis(c: Node, operator: str, x: Value, axis: int) -> Value:
    if operator != "hardmax":
        return c.emit(operator, x, axis=axis)
    place = c.emit("argmax", x, axis=axis)
    return c.emit("one_hot", place, depth=x.type.shape[axis], dtype=str(x.type.dtype), axis=axis)


for _name, _operator in (("Softmax", "softmax"), ("LogSoftmax", "log_softmax"), ("Hardmax", "hardmax")):
    onnx(_name)(_flattened(_operator))
    onnx(_name, since=13)(_along(_operator))
