"""Text form of kernels. `parser` reads it back to equal nodes.

Indices are written as sums and products, everything else by the words that nodes declare (see `spelling`):

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
    Buffer,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Let,
    Load,
    Prefetch,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
)
from .operations import OPERATIONS


def print_kernel(kernel: Kernel) -> str:
    """The text of a kernel, ending in a newline."""
    params = ", ".join(
        f"{print_name(b.name)}: {'out ' if b.space is Space.OUT else ''}{_shape(b)}" for b in kernel.params
    )
    lines = [f"kernel {print_name(kernel.name, '@')}({params}) {{", *_block(kernel.body, "  "), "}"]
    return "\n".join(lines) + "\n"


def print_expr(expr: Expr, precedence: int = 0) -> str:
    """The text of an expression; index arithmetic of lower precedence gets parentheses."""
    match expr:
        case Const():
            return _const(expr)
        case Var(name, _):
            return print_name(name)
        case Load(buffer, indices, lanes, rows, pitch):
            access = f"{print_name(buffer.name)}[{_list(indices)}]"
            if buffer.is_register:
                return access
            more = f" rows {rows} pitch {pitch}" if rows > 1 else ""
            return f"load {VectorType(buffer.dtype, lanes)} {access}{more}"
        case Binary(op, a, b) if expr.type is INDEX and op in OPERATIONS and OPERATIONS[op].sign:
            operation = OPERATIONS[op]
            level = operation.strength
            text = f"{print_expr(a, level)} {operation.sign} {print_expr(b, level + 1)}"
            return f"({text})" if level < precedence else text
    if not expr.word:
        raise InternalError(f"loop printer: unknown expression {type(expr).__name__}")
    parameters = ", ".join(map(str, expr.parameters.values()))
    return f"{expr.word}{f'<{parameters}>' if parameters else ''}({_list(expr.operands)})"


def print_name(name: str, sigil: str = "%") -> str:
    """A name behind its sigil, in quotes if it needs them."""
    return sigil + (name if PLAIN_NAME.fullmatch(name) else quoted(name))


def _const(expr: Const) -> str:
    if expr.type is INDEX:
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
            case Prefetch(buffer, indices, writes, ahead, far):
                word = "prefetch" + " out" * writes + " far" * far
                behind = f" ahead {ahead}" if ahead else ""
                yield f"{indent}{word} {print_name(buffer.name)}[{_list(indices)}]{behind}"
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
