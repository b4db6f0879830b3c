"""Cumulative sums along a dimension."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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
        if not math.prod(shape):
            return []
        axis = normalize_axis(self.name, attributes["axis"], len(shape))
        sums = _Sums(p, shape[axis], shape[axis + 1 :], attributes["exclusive"], attributes["reverse"])
        return each(p, shape[:axis], sums.of_slices if sums.inner else sums.of_elements, shared=math.prod(shape))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        given = {**op.attributes, "reverse": not op.attributes["reverse"]}
        return (b.emit(self.name, cotangents[0], **given),)


@dataclass(frozen=True, slots=True)
class _Sums:
    """The loops for the sums along a dimension of `count`, with the dimensions `inner` behind it."""

    p: Procedure
    count: int
    inner: tuple[int, ...]
    exclusive: bool
    reverse: bool

    def of_slices(self, outer: tuple[Expr, ...]) -> list[Stmt]:
        """Sums of slices, vector by vector: each is the one before plus a slice."""

        def first(at: tuple[Expr, ...], lanes: int) -> Expr:
            element = self._load(outer, Const(0), at, lanes)
            return const(0, element.type) if self.exclusive else element

        def later(i: Expr) -> list[Stmt]:
            def total(at: tuple[Expr, ...], lanes: int) -> Expr:
                before = self.p.read((*outer, self._place(i), *at), lanes)
                return before + self._load(outer, i if self.exclusive else i + 1, at, lanes)

            return self._slice(outer, i + 1, total)

        return [*self._slice(outer, Const(0), first), *self.p.loop("step", self.count - 1, later)]

    def of_elements(self, outer: tuple[Expr, ...]) -> list[Stmt]:
        """Along the last dimension the sum stays in a register."""
        p = self.p
        total = Buffer(p.fresh("total"), p.result.dtype, (1,), Space.REGISTER)
        here = (Const(0),)

        def add(i: Expr) -> list[Stmt]:
            at = (*outer, self._place(i))
            grow = Store(total, here, Load(total, here) + p.load(0, at))
            store = p.store(at, Load(total, here))
            return [store, grow] if self.exclusive else [grow, store]

        minus_zero = -0.0 if p.result.dtype.is_float and not self.exclusive else 0
        start = Const(minus_zero, p.result.dtype)
        return [Allocate(total), Store(total, here, start), *p.loop("step", self.count, add)]

    def _place(self, step: Expr) -> Expr:
        return Const(self.count - 1) - step if self.reverse else step

    def _load(self, outer: tuple[Expr, ...], step: Expr, at: tuple[Expr, ...], lanes: int) -> Expr:
        return self.p.load(0, (*outer, self._place(step), *at), lanes)

    def _slice(self, outer: tuple[Expr, ...], step: Expr, value: Callable[[tuple[Expr, ...], int], Expr]) -> list[Stmt]:
        """Write a slice of the result, vector by vector."""

        def store(at: tuple[Expr, ...], lanes: int) -> list[Stmt]:
            return [self.p.store((*outer, self._place(step), *at), value(at, lanes))]

        return each_vector(self.p, self.inner, store)


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
