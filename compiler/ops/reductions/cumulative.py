"""Cumulative sums along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.element_types import check_numbers
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import Allocate, Buffer, Const, Expr, Load, Space, Stmt, Store, const
from ...types import TensorType
from ..facets import INTEGER, PERMUTED, TFLITE, TfliteForm, along_axis, reads
from ..procedures import each, each_vector
from .reduction import normalize_axis


@register
class CumulativeSum(Operator):
    """Sums of the elements up to each one along an axis, or from it on (`reverse`); without it if `exclusive`.

    Source: TFLite's CUMSUM, ONNX's CumSum. Terms are added in order, in the element type; `exclusive` sums start
    at 0.
    """

    name = "cumulative_sum"
    operands = ("x",)
    procedural = True
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
        if attributes["exclusive"] and x.shape[axis]:
            zero = np.zeros_like(np.take(turned, [0], axis))
            terms = np.concatenate([zero, np.delete(turned, -1, axis)], axis)
            sums = np.cumsum(terms, axis=axis, dtype=x.dtype)
        result: Array = np.flip(sums, axis) if attributes["reverse"] else sums
        return (np.ascontiguousarray(result).reshape(x.shape),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        shape = p.result.shape
        axis = normalize_axis(self.name, attributes["axis"], len(shape))
        count, inner = shape[axis], shape[axis + 1 :]
        if not math.prod(shape):
            return []

        def place(step: Expr) -> Expr:
            return Const(count - 1) - step if attributes["reverse"] else step

        def along(outer: tuple[Expr, ...]) -> list[Stmt]:
            def row(step: Expr, value: Callable[[tuple[Expr, ...], int], Expr]) -> list[Stmt]:
                def store(at: tuple[Expr, ...], lanes: int) -> list[Stmt]:
                    return [p.store((*outer, place(step), *at), value(at, lanes))]

                return each_vector(p, inner, store)

            def x(step: Expr, at: tuple[Expr, ...], lanes: int) -> Expr:
                return p.load(0, (*outer, place(step), *at), lanes)

            def first(at: tuple[Expr, ...], lanes: int) -> Expr:
                element = x(Const(0), at, lanes)
                return const(0, element.type) if attributes["exclusive"] else element

            def later(i: Expr) -> list[Stmt]:
                def total(at: tuple[Expr, ...], lanes: int) -> Expr:
                    before = p.read((*outer, place(i), *at), lanes)
                    return before + x(i if attributes["exclusive"] else i + 1, at, lanes)

                return row(i + 1, total)

            return [*row(Const(0), first), *p.loop("step", count - 1, later)]

        def of_row(outer: tuple[Expr, ...]) -> list[Stmt]:
            """Along the last dimension the sum stays in a register."""
            total = Buffer(p.fresh("total"), p.result.dtype, (1,), Space.REGISTER)
            here = (Const(0),)

            def add(i: Expr) -> list[Stmt]:
                at = (*outer, place(i))
                grow = Store(total, here, Load(total, here) + p.load(0, at))
                store = p.store(at, Load(total, here))
                return [store, grow] if attributes["exclusive"] else [grow, store]

            minus_zero = -0.0 if p.result.dtype.is_float and not attributes["exclusive"] else 0
            start = Const(minus_zero, p.result.dtype)
            return [Allocate(total), Store(total, here, start), *p.loop("step", count, add)]

        return each(p, shape[:axis], along if inner else of_row, shared=math.prod(shape))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        given = {**op.attributes, "reverse": not op.attributes["reverse"]}
        return (b.emit(self.name, cotangents[0], **given),)


def _write(c: Any, op: Operation) -> None:
    axis = normalize_axis(op.name, op.attributes["axis"], op.result.type.rank)
    place = c.constant(np.array(axis, np.int32), f"axis/{axis}")
    flags = {key: op.attributes[key] for key in ("exclusive", "reverse")}
    c.node("CUMSUM", [c.place(op.operands[0]), place], [c.result(op)], "CumsumOptions", **flags)


def _read(c: Any) -> Value:
    axis = c.known(1)
    if c.is_quantized or axis is None or axis.size != 1:
        c.unsupported("only sums of plain numbers along a constant axis are supported")
    flags = {key: bool(c.option(key, False)) for key in ("exclusive", "reverse")}
    result: Value = c.emit("cumulative_sum", c.value(0), axis=int(axis.reshape(-1)[0]), **flags)
    return result


INTEGER.none("TFLite has no kernel for 8 bits", CumulativeSum)
TFLITE.add(TfliteForm(_write, "CUMSUM"), CumulativeSum)
PERMUTED.add(along_axis, CumulativeSum)
reads(_read, "CUMSUM")
