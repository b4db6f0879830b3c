"""Text form of kernels and modules. `parser` reads it back to equal nodes.

Indices are written as sums and products, everything else as operations by name:

    %acc[%r, 0] = fma(broadcast<16>(load f32 %x[%m + %r, %k]), %w0, %acc[%r, 0])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import InternalError, Location
from ..graph.printer import print_graph
from ..graph.syntax import PLAIN_NAME, quoted
from ..graph.types import DType
from .ir import (
    INDEX,
    Allocate,
    Binary,
    Bitcast,
    Broadcast,
    Buffer,
    Cast,
    Const,
    Dot4,
    Expr,
    FixedMul,
    Fma,
    For,
    If,
    Interleave,
    Kernel,
    Let,
    Load,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    VectorType,
)

if TYPE_CHECKING:
    from .module import Call, Module

INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2)}
"""Operators of index arithmetic, with their precedence."""


def print_kernel(kernel: Kernel) -> str:
    """The text of a kernel, ending in a newline."""
    params = ", ".join(f"{_name(b.name)}: {'out ' if b.space is Space.OUT else ''}{_shape(b)}" for b in kernel.params)
    lines = [f"kernel {_name(kernel.name, '@')}({params}) {{", *_block(kernel.body, "  "), "}"]
    return "\n".join(lines) + "\n"


def print_module(module: Module, *, setup: bool = True) -> str:
    """The text of a module, ending in a newline; `setup` adds the graph that packs the weights."""
    offsets = ", ".join(map(str, module.weight_offsets))
    lines = [f"module {_name(module.name, '@')} {{", f"  arena {module.arena_bytes}"]
    lines.append(f"  weights {module.weights_bytes} at [{offsets}]")
    lines += [f"  input {_name(name)}: {type_}" for name, type_ in module.inputs]
    lines += [f"  output {_name(name)}: {type_}" for name, type_ in module.outputs]
    if module.state:
        lines.append(f"  state {module.state_bytes}")
    lines += [f"  at {offset} {_name(name)}: {type_}" for name, type_, offset in module.state]
    for kernel in module.kernels:
        lines += ["", *_indented(print_kernel(kernel))]
    lines += ["", *(f"  {_call(call)}" for call in module.calls)]
    if setup:
        lines += ["", "  setup", *_indented(print_graph(module.setup))]
    return "\n".join([*lines, "}"]) + "\n"


def print_expr(expr: Expr, precedence: int = 0) -> str:
    """The text of an expression; index arithmetic of lower precedence gets parentheses."""
    match expr:
        case Const():
            return _const(expr)
        case Var(name, _):
            return _name(name)
        case Load(buffer, indices, _):
            access = f"{_name(buffer.name)}[{_list(indices)}]"
            return access if buffer.space is Space.REGISTER else f"load {expr.type} {access}"
        case Binary(op, a, b) if expr.type == INDEX and op in INFIX:
            sign, level = INFIX[op]
            text = f"{print_expr(a, level)} {sign} {print_expr(b, level + 1)}"
            return f"({text})" if level < precedence else text
        case Binary(op, a, b):
            return f"{op}({_list((a, b))})"
        case Unary(op, a):
            return f"{op}({print_expr(a)})"
        case Fma(a, b, c):
            return f"fma({_list((a, b, c))})"
        case Dot4(a, b, c):
            return f"dot4({_list((a, b, c))})"
        case FixedMul(a, b, c, halves_up):
            return f"{'fixed_mul_up' if halves_up else 'fixed_mul'}({_list((a, b, c))})"
        case Interleave(parts):
            return f"interleave({_list(parts)})"
        case Select(a, b, c):
            return f"select({_list((a, b, c))})"
        case Cast(a, dtype):
            return f"cast<{dtype}>({print_expr(a)})"
        case Bitcast(a, dtype):
            return f"bitcast<{dtype}>({print_expr(a)})"
        case Broadcast(a, lanes):
            return f"broadcast<{lanes}>({print_expr(a)})"
        case Reduce(op, a):
            return f"reduce<{op}>({print_expr(a)})"
    raise InternalError(f"loop printer: unknown expression {type(expr).__name__}")


def _name(name: str, sigil: str = "%") -> str:
    return sigil + (name if PLAIN_NAME.fullmatch(name) else quoted(name))


def _const(expr: Const) -> str:
    if expr.type == INDEX:
        return str(int(expr.value))
    if expr.dtype is DType.BOOL:
        number = "true" if expr.value else "false"
    elif expr.dtype.is_float:
        value = float(expr.value)
        number = repr(value) if math.isfinite(value) else str(value)
    else:
        number = str(int(expr.value))
    return f"{number}: {expr.type}"


def _list(exprs: Sequence[Expr]) -> str:
    return ", ".join(print_expr(e) for e in exprs)


def _shape(buffer: Buffer) -> str:
    return f"{VectorType(buffer.dtype, buffer.lanes)}[{','.join(map(str, buffer.shape))}]"


def _block(body: Sequence[Stmt], indent: str) -> Iterator[str]:
    for stmt in body:
        match stmt:
            case Let(name, value):
                yield f"{indent}{_name(name)} = {print_expr(value)}"
            case Allocate(buffer):
                yield f"{indent}{buffer.space.value} {_name(buffer.name)}: {_shape(buffer)}"
            case Store(buffer, indices, value):
                yield f"{indent}{_name(buffer.name)}[{_list(indices)}] = {print_expr(value)}"
            case If(condition, then, otherwise):
                yield f"{indent}if {print_expr(condition)} {{"
                yield from _block(then, indent + "  ")
                if otherwise:
                    yield f"{indent}}} else {{"
                    yield from _block(otherwise, indent + "  ")
                yield f"{indent}}}"
            case For(var, start, stop, inner, kind, step):
                stride = f" step {step}" if step != 1 else ""
                yield f"{indent}{kind.value} {_name(var)} = {print_expr(start)} to {print_expr(stop)}{stride} {{"
                yield from _block(inner, indent + "  ")
                yield f"{indent}}}"
            case _:
                raise InternalError(f"loop printer: unknown statement {type(stmt).__name__}")


def _call(call: Call) -> str:
    parts = [f"call {_name(call.kernel, '@')}({', '.join(map(str, call.arguments))})"]
    parts += [f"label {quoted(call.label)}"] if call.label else []
    parts += [f"macs {call.macs}"] if call.macs else []
    parts += ["barrier"] if call.barrier else []
    parts += [f"when {call.when}"] if call.when else []
    parts += [_location(call.location)] if call.location else []
    return " ".join(parts)


def _location(at: Location) -> str:
    end = f":{at.end_line}:{at.end_column}" if at.end_line or at.end_column else ""
    return f"at {quoted(at.file)}:{at.line}:{at.column}{end}"


def _indented(text: str) -> list[str]:
    return [f"  {line}" if line else "" for line in text.splitlines()]
