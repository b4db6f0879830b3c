"""Hard swish, the activation of MobileNetV3 (Howard et al., 2019)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...graph.ir import Attributes, Builder, Operation, Value
from ...graph.registry import register
from ...loops.ir import Expr, maximum, minimum
from ..facets import INTEGER, LEGALIZE, TFLITE, reads
from ..gradients import scaled, where_between
from ..rules import expanded, integer_table, reads_unary, tflite_unary
from .elementwise import UnaryOperator


@register
class HardSwish(UnaryOperator):
    """x * relu6(x + 3) / 6."""

    name = "hard_swish"
    floats_only = True

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -0.375, math.inf

    def function(self, x: Any, attributes: Attributes) -> Any:
        return x * (np.clip(x + 3, 0, 6) * (1 / 6))

    def element(self, x: Expr, attributes: Attributes) -> Expr:
        return x * (minimum(maximum(x + 3.0, 0), 6) * (1 / 6))

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        share = b.emit("relu6", b.emit("add", x, b.scalar(3.0, x.type.dtype)))
        return b.emit("mul", x, scaled(b, share, 1 / 6))

    def chain(self, b: Builder, op: Operation, dy: Value) -> Value:
        (x,) = op.operands
        share = b.emit("hard_sigmoid", x)
        slope = b.emit("add", share, where_between(b, x, -3, 3, scaled(b, x, 1 / 6)))
        return b.emit("mul", dy, slope)


INTEGER.add(integer_table("q_hard_swish", short=False), HardSwish)
LEGALIZE.add(expanded, HardSwish)
TFLITE.add(tflite_unary("HARD_SWISH", "HardSwishOptions", int8=1), HardSwish)
reads(reads_unary("hard_swish", "q_hard_swish"), "HARD_SWISH")
