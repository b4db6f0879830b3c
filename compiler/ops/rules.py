"""Ready-made rules of operators for the consumers in `facets`, for use in an operator's own file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.ir import Operation, Results, Value
from ..types import DType
from .facets import IntegerForm, TfliteForm


def version(op: Operation, plain: int, int8: int, int16: int | None = None) -> int:
    """The version of a TFLite operator: one for floats and u8, one for i8, and maybe one for i16."""
    dtype = op.results[0].type.dtype
    if dtype is DType.I16 and int16 is not None:
        return int16
    return int8 if dtype is DType.I8 else plain


def tflite_unary(
    kind: str,
    options: str | None = None,
    *,
    int8: int = 2,
    plain: int = 1,
    plain_integers: frozenset[DType] = frozenset(),
    raw: frozenset[DType] = frozenset(),
) -> TfliteForm:
    """The TFLite operator `kind` of one operand; `options` is its table in the schema, if it has one."""

    def emit(c: Any, op: Operation) -> None:
        c.node(kind, [c.place(op.operands[0])], [c.result(op)], options, version(op, plain, int8))

    return TfliteForm(emit, kind, plain=plain_integers, raw=raw)


def integer_table(name: str, *, short: bool = True) -> IntegerForm:
    """The operator `name`, which has a table of the 256 results of a function; if `short`, of 16-bit numbers, too."""

    def emit(q: Any, op: Operation) -> Value:
        (x,) = op.operands
        result: Value = q.emit(op, name, q.integer(x), x=q.scale(x), y=q.scale(op.result), **op.attributes)
        return result

    return IntegerForm(emit, short=short)


def reads_unary(plain: str, quantized: str, *names: str) -> Callable[[Any], Value]:
    """A TFLite operator of one operand and some options: `plain` on floats, `quantized` on 8-bit numbers."""

    def convert(c: Any) -> Value:
        options = {key: float(c.option(key, 0.0)) for key in names}
        if c.is_quantized:
            c.check_form(0)
            options |= {"x": c.quantization(0), "y": c.output_quantization()}
        result: Value = c.emit(quantized if c.is_quantized else plain, c.value(0), **options)
        return result

    return convert


def expanded(b: Any, op: Operation) -> Results | None:
    """What an operator is made of, for consumers that rewrite graphs."""
    result: Results | None = b.expand(op, op.operator.expand)
    return result
