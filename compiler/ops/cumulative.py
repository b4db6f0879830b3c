"""Cumulative sums along a dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.element_types import check_numbers
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Compute, Reduction
from ..loops.ir import Expr
from ..types import TensorType
from .axes import Permutation
from .facets import INTEGER, PERMUTED, TFLITE, Permuted, TfliteForm, reads
from .reduction import normalize_axis


@register
class CumulativeSum(Operator):
    """Sums of the elements up to each one along an axis, or from it on (`reverse`); without it if `exclusive`.

    Source: TFLite's CUMSUM, ONNX's CumSum. Each sum is made by itself, so the cost grows with the square of the size.
    """

    name = "cumulative_sum"
    operands = ("x",)
    attributes = {
        "axis": AttributeSpec(int, "dimension along which is summed", -1),
        "exclusive": AttributeSpec(bool, "an element's own value is left out", False),
        "reverse": AttributeSpec(bool, "from the end", False),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_numbers(self, x)
        normalize_axis(self.name, attributes["axis"], x.rank)
        return (x.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,), axis = operands, attributes["axis"]
        turned = np.flip(x, axis) if attributes["reverse"] else x
        sums = np.cumsum(turned, axis=axis, dtype=x.dtype)
        if attributes["exclusive"]:
            last = np.delete(sums, -1, axis) if x.shape[axis] else sums
            sums = np.concatenate([np.zeros_like(np.take(turned, [0], axis)), last], axis) if x.shape[axis] else sums
        result: Array = np.flip(sums, axis) if attributes["reverse"] else sums
        return (np.ascontiguousarray(result).reshape(x.shape),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x = c.type(0)
        axis = normalize_axis(self.name, attributes["axis"], x.rank)
        first, sign = int(attributes["exclusive"]), 1 if attributes["reverse"] else -1

        def term(r: tuple[Expr, ...]) -> Expr:
            at = index[axis] + (r[0] + first) * sign
            return c.load_padded(0, (*index[:axis], at, *index[axis + 1 :]), 0.0)

        return Reduction("add", (x.shape[axis],), term)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        given = {**op.attributes, "reverse": not op.attributes["reverse"]}
        return (b.emit(self.name, cotangents[0], **given),)


def _write(c: Any, op: Operation) -> None:
    axis = normalize_axis(op.name, op.attributes["axis"], op.result.type.rank)
    place = c.constant(np.array(axis, np.int32), f"axis/{axis}")
    flags = {key: op.attributes[key] for key in ("exclusive", "reverse")}
    c.node("CUMSUM", [c.place(op.operands[0]), place], [c.result(op)], "CumsumOptions", **flags)


def _read(c: Any) -> Value:
    axis = c.tensor(1).array()
    if c.is_quantized or axis is None or axis.size != 1:
        c.unsupported("only sums of plain numbers along a constant axis are supported")
    flags = {key: bool(c.option(key, False)) for key in ("exclusive", "reverse")}
    result: Value = c.emit("cumulative_sum", c.value(0), axis=int(axis.reshape(-1)[0]), **flags)
    return result


def _permuted(operands: tuple[TensorType, ...], attributes: Attributes, permutation: Permutation) -> Permuted:
    moved = {**attributes, "axis": permutation.index(attributes["axis"] % len(permutation))}
    return Permuted(moved, permutation, (permutation,))


INTEGER.none("TFLite has no kernel for 8 bits", CumulativeSum)
TFLITE.add(TfliteForm(_write, "CUMSUM"), CumulativeSum)
PERMUTED.add(_permuted, CumulativeSum)
reads(_read, "CUMSUM")
