"""A kernel as the text of a Python function that does the same on flat NumPy arrays, every access checked.

The loop interpreter runs this text: working through the nodes of a kernel again in every iteration would take many
times as long. Each statement becomes a line, indices become Python's whole numbers, other values NumPy scalars or, with
several lanes, arrays. What a node does with numbers is left to functions named after it (see `interpreter`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

from ..types import DType
from .ir import INDEX, Allocate, Binary, Buffer, Const, Expr, For, If, Kernel, Let, Load, Stmt, Store, Var
from .operations import OPERATIONS

Called = tuple[object, ...]
"""What tells functions of nodes apart: class, parameters and types."""


@dataclass(frozen=True)
class PythonKernel:
    """The text of a function `kernel(...)` of the kernel's buffers, flattened."""

    text: str
    functions: Mapping[str, Expr]
    """Name of each function that the text calls with operands -> a node that it stands for."""


def python_text(kernel: Kernel) -> PythonKernel:
    """Write a kernel in Python."""
    writer = _Writer()
    writer.function(kernel)
    return PythonKernel("\n".join(writer.lines) + "\n", writer.functions)


class _Scope:
    """Python's names for what is defined at a place."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.buffers: dict[str, str] = {}
        self.loaded: set[str] = set()
        """Values that come from memory: they may overflow, while indices don't."""

    def inner(self) -> _Scope:
        scope = _Scope()
        scope.values, scope.buffers, scope.loaded = dict(self.values), dict(self.buffers), set(self.loaded)
        return scope


class _Writer:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self.numbers = count()
        self.functions: dict[str, Expr] = {}
        self.names: dict[Called, str] = {}

    def function(self, kernel: Kernel) -> None:
        scope = _Scope()
        for buffer in kernel.params:
            scope.buffers[buffer.name] = self.fresh("m")
        self.line(f"def kernel({', '.join(scope.buffers.values())}):")
        with self.indented():
            self.block(kernel.body, scope)

    def fresh(self, stem: str) -> str:
        return f"{stem}{next(self.numbers)}"

    def line(self, text: str) -> None:
        self.lines.append(" " * self.depth + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        self.depth += 1
        before = len(self.lines)
        yield
        if len(self.lines) == before:
            self.line("pass")
        self.depth -= 1

    # ---- statements ----

    def block(self, body: Sequence[Stmt], outer: _Scope) -> None:
        scope = outer.inner()
        for stmt in body:
            match stmt:
                case Let(name, value):
                    self.let(name, value, scope)
                case Allocate(buffer):
                    scope.buffers[buffer.name] = memory = self.fresh("m")
                    size, lanes = math.prod(buffer.places), buffer.element.lanes
                    self.line(f"{memory} = fresh({str(buffer.dtype)!r}, {size}, {lanes})")
                case Store(buffer, indices, value):
                    atom = self.wrapped(value, scope)
                    place = self.place(buffer, indices, value.type.lanes, scope)
                    self.line(f"{scope.buffers[buffer.name]}[{place}] = {atom}")
                case If(condition, then, otherwise):
                    self.line(f"if {self.value(condition, scope)}:")
                    with self.indented():
                        self.block(then, scope)
                    self.line("else:")
                    with self.indented():
                        self.block(otherwise, scope)
                case For():
                    self.loop(stmt, scope)

    def let(self, name: str, value: Expr, scope: _Scope) -> None:
        text, loaded = self.value(value, scope), self.reads_memory(value, scope)
        scope.values[name] = variable = self.fresh("v")
        scope.loaded.discard(name)
        if loaded:
            scope.loaded.add(name)
        self.line(f"{variable} = {text}")

    def loop(self, stmt: For, scope: _Scope) -> None:
        start, stop = self.value(stmt.start, scope), self.value(stmt.stop, scope)
        inner = scope.inner()
        inner.values[stmt.var] = variable = self.fresh("i")
        inner.loaded.discard(stmt.var)
        self.line(f"for {variable} in range({start}, {stop}, {stmt.step}):")
        with self.indented():
            self.block(stmt.body, inner)

    def place(self, buffer: Buffer, indices: Sequence[Expr], lanes: int, scope: _Scope) -> str:
        """Where an access lies in the flat buffer, behind the lines that check it."""
        names = []
        for index in indices:
            names.append(self.fresh("n"))
            self.line(f"{names[-1]} = {self.value(index, scope)}")
        width = 1 if buffer.is_register else lanes
        ends = [*(0 for _ in names[1:]), width - 1]
        tests = [f"0 <= {n} < {size - end}" for n, size, end in zip(names, buffer.places, ends, strict=False)]
        if tests:
            self.line(f"if not ({' and '.join(tests)}):")
            self.line(f" outside({buffer.name!r}, {buffer.places}, {width}, {', '.join(names)})")
        flat = names[0] if names else "0"
        for name, size in zip(names[1:], buffer.places[1:], strict=False):
            flat = f"({flat}) * {size} + {name}"
        return flat if width == 1 else f"({flat}):({flat}) + {width}"

    # ---- expressions ----

    def reads_memory(self, expr: Expr, scope: _Scope) -> bool:
        """True for a value that isn't made of loop variables and literals alone."""
        if isinstance(expr, Var):
            return expr.name in scope.loaded
        return isinstance(expr, Load) or any(self.reads_memory(e, scope) for e in expr.operands)

    def wrapped(self, expr: Expr, scope: _Scope) -> str:
        """A value; a whole number of 64 bits that may have overflowed is brought back into them."""
        text = self.value(expr, scope)
        return f"wrap({text})" if expr.type is INDEX and self.reads_memory(expr, scope) else text

    def value(self, expr: Expr, scope: _Scope) -> str:
        """Python's expression for a value, behind the lines that load what it reads."""
        match expr:
            case Const(number, dtype, lanes):
                return repr(int(number)) if expr.type is INDEX else self.constant(number, dtype, lanes)
            case Var(name, _):
                return scope.values[name]
            case Load():
                return self.load(expr, scope)
            case Binary(op, a, b) if OPERATIONS[op].python and a.type is INDEX and not self.reads_memory(expr, scope):
                return OPERATIONS[op].python.format(self.value(a, scope), self.value(b, scope))
        operands = ", ".join(self.wrapped(e, scope) for e in expr.operands)
        return self.named(f"{self.called(expr)}({operands})")

    def called(self, expr: Expr) -> str:
        """The name of the function that does what a node says."""
        key = (type(expr), expr.word, *expr.parameters.values(), *(e.type for e in expr.operands), expr.type)
        name = self.names.get(key)
        if name is None:
            name = self.names[key] = self.fresh(f"{expr.word}_")
            self.functions[name] = expr
        return name

    def named(self, text: str) -> str:
        name = self.fresh("t")
        self.line(f"{name} = {text}")
        return name

    def load(self, expr: Load, scope: _Scope) -> str:
        buffer = expr.buffer
        place = self.place(buffer, expr.indices, expr.span, scope)
        text = f"{scope.buffers[buffer.name]}[{place}]"
        if expr.rows > 1 and not buffer.is_register:
            return self.named(f"rows({text}, {expr.rows}, {expr.pitch}, {expr.lanes})")
        if expr.type is INDEX:
            return self.named(f"int({text})")
        return self.named(f"{text}.copy()" if expr.type.lanes > 1 else text)

    def constant(self, number: int | float | bool, dtype: DType, lanes: int) -> str:
        literal = f"float({str(number)!r})" if dtype.is_float else repr(number)
        return f"constant({literal}, {str(dtype)!r}, {lanes})"
