"""Text form of kernels. `parser` reads it back to equal nodes.

Indices are written as sums and products, everything else as operations by name:

    %acc[%r, 0] = fma(broadcast<16>(load f32 %x[%m + %r, %k]), %w0, %acc[%r, 0])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..errors import InternalError
from ..text import PLAIN_NAME, quoted
from ..types import DType
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

INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2)}
"""Operators of index arithmetic, with their precedence."""


def print_kernel(kernel: Kernel) -> str:
    """The text of a kernel, ending in a newline."""
    params = ", ".join(
        f"{print_name(b.name)}: {'out ' if b.space is Space.OUT else ''}{_shape(b)}" for b in kernel.params
    )
    lines = [f"kernel {print_name(kernel.name, '@')}({params}) {{", *_block(kernel.body, "  "), "}"]
    return "\n".join(lines) + "\n"


def _parameter(buffer: Buffer) -> str:
    return f"{print_name(buffer.name)}: {'out ' if buffer.space is Space.OUT else ''}{_shape(buffer)}"


def print_expr(expr: Expr, precedence: int = 0) -> str:
    """The text of an expression; index arithmetic of lower precedence gets parentheses."""
    match expr:
        case Const():
            return _const(expr)
        case Var(name, _):
            return print_name(name)
        case Load(buffer, indices, _):
            access = f"{print_name(buffer.name)}[{_list(indices)}]"
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


def print_name(name: str, sigil: str = "%") -> str:
    """A name behind its sigil, in quotes if it needs them."""
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
                yield f"{indent}{print_name(name)} = {print_expr(value)}"
            case Allocate(buffer):
                yield f"{indent}{buffer.space.value} {print_name(buffer.name)}: {_shape(buffer)}"
            case Store(buffer, indices, value):
                yield f"{indent}{print_name(buffer.name)}[{_list(indices)}] = {print_expr(value)}"
            case If(condition, then, otherwise):
                yield f"{indent}if {print_expr(condition)} {{"
                yield from _block(then, indent + "  ")
                if otherwise:
                    yield f"{indent}}} else {{"
                    yield from _block(otherwise, indent + "  ")
                yield f"{indent}}}"
            case For(var, start, stop, inner, kind, step):
                stride = f" step {step}" if step != 1 else ""
                yield f"{indent}{kind.value} {print_name(var)} = {print_expr(start)} to {print_expr(stop)}{stride} {{"
                yield from _block(inner, indent + "  ")
                yield f"{indent}}}"
            case _:
                raise InternalError(f"loop printer: unknown statement {type(stmt).__name__}")
