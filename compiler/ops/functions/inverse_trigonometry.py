"""Inverse trigonometric functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ..facets import INTEGER, TFLITE, TfliteForm
from .elementwise import BinaryOperator, MathFunction


@register
class Asin(MathFunction):
    """Arcsine; NaN beyond 1 and -1."""

    name = "asin"
    ufunc = np.arcsin

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.5708, 1.5708

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("atan2", x, b.emit("sqrt", b.emit("sub", b.scalar(1.0, x.type.dtype), b.emit("mul", x, x))))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        return b.emit("div", dy, b.emit("sqrt", b.emit("sub", b.scalar(1.0, x.type.dtype), b.emit("mul", x, x))))


@register
class Acos(MathFunction):
    """Arccosine; NaN beyond 1 and -1."""

    name = "acos"
    ufunc = np.arccos

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 3.1416

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("atan2", b.emit("sqrt", b.emit("sub", b.scalar(1.0, x.type.dtype), b.emit("mul", x, x))), x)

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        return b.emit(
            "neg", b.emit("div", dy, b.emit("sqrt", b.emit("sub", b.scalar(1.0, x.type.dtype), b.emit("mul", x, x))))
        )


@register
class Atan(MathFunction):
    """Arctangent."""

    name = "atan"
    ufunc = np.arctan

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.5708, 1.5708

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        return b.emit("atan2", x, b.constant(np.ones(x.type.shape, x.type.dtype.numpy)))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        return b.emit("div", dy, b.emit("add", b.emit("mul", x, x), b.scalar(1.0, x.type.dtype)))


@register
class Atan2(BinaryOperator):
    """The angle from -pi to pi of the point with height a and width b."""

    name = "atan2"
    floats_only = True
    work = 16
    ufunc = np.arctan2
    loop_op = "atan2"

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -3.1416, 3.1416

    def partials(self, b: Builder, op: Operation, dy: Value) -> tuple[Value, Value]:
        height, width = op.operands
        share = b.emit("div", dy, b.emit("add", b.emit("mul", height, height), b.emit("mul", width, width)))
        return b.emit("mul", share, width), b.emit("neg", b.emit("mul", share, height))


def _write_atan2(c: Any, op: Operation) -> None:
    if op.operands[0].type.shape != op.operands[1].type.shape:
        c.fail(op, "TFLite's ATAN2 takes operands of one shape", "broadcast_to brings one to the other's")
    c.node("ATAN2", [c.place(v) for v in op.operands], [c.result(op)])


INTEGER.none("TFLite has no kernel for 8 bits", Atan2)
INTEGER.none("TFLite has no such operator", Acos, Asin, Atan)
TFLITE.none("made of others", Acos, Asin, Atan)
TFLITE.add(TfliteForm(_write_atan2, "ATAN2"), Atan2)
