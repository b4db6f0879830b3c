"""Text -> kernels: statements and expressions by recursive descent."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import near_miss
from ..types import DType
from .expressions import spelling
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
    LoopKind,
    Prefetch,
    Space,
    Stmt,
    Store,
    Var,
    VectorType,
)
from .operations import OPERATIONS
from .spelling import SPELLINGS, Spelling
from .tokens import TokenReader

_LOOPS = {kind.value: kind for kind in LoopKind}
_SIGNS = {each.sign: (op, each.strength) for op, each in OPERATIONS.items() if each.sign}
_MAX_DEPTH = 200


@dataclass(slots=True)
class _Scope:
    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    variables: dict[str, VectorType] = field(default_factory=dict[str, VectorType])

    def inner(self) -> _Scope:
        return _Scope(dict(self.buffers), dict(self.variables))


class KernelReader(TokenReader):
    """Reads what `printer` writes for a kernel."""

    def kernel(self) -> Kernel:
        """A whole kernel."""
        self.expect("kernel")
        name = self.name("@")
        params = self.list_of("(", ")", lambda: self.buffer(Space.ARGUMENT))
        scope = _Scope({b.name: b for b in params})
        return Kernel(name, tuple(params), self.block(scope))

    def block(self, scope: _Scope) -> tuple[Stmt, ...]:
        """Statements between braces."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail("blocks and expressions are nested too deeply")
        self.expect("{")
        body: list[Stmt] = []
        while not self.skip("}"):
            body.append(self.statement(scope))
        self.depth -= 1
        return tuple(body)

    def statement(self, scope: _Scope) -> Stmt:
        """One statement; what it defines goes into the scope."""
        if self.token in _LOOPS:
            return self.loop(scope)
        if self.token in (Space.REGISTER.value, Space.TILE.value, Space.STACK.value):
            buffer = self.buffer(Space(self.advance()))
            scope.buffers[buffer.name] = buffer
            return Allocate(buffer)
        if self.skip("if"):
            condition = self.expr(scope)
            then = self.block(scope.inner())
            return If(condition, then, self.block(scope.inner()) if self.skip("else") else ())
        if self.skip("prefetch"):
            writes, far = self.skip("out"), self.skip("far")
            place = self.access(self.name("%"), scope)
            return Prefetch(*place, writes, self.integer() if self.skip("ahead") else 0, far)
        name = self.name("%")
        if self.token == "[":
            buffer, indices = self.access(name, scope)
            self.expect("=")
            return Store(buffer, indices, self.expr(scope))
        self.expect("=")
        value = self.expr(scope)
        scope.variables[name] = value.type
        return Let(name, value)

    def loop(self, scope: _Scope) -> For:
        """`for %i = 0 to 8 step 2 { ... }`."""
        kind = _LOOPS[self.advance()]
        var = self.name("%")
        self.expect("=")
        start = self.expr(scope)
        self.expect("to")
        stop = self.expr(scope)
        step = self.integer() if self.skip("step") else 1
        if step < 1:
            self.fail("the step of a loop is at least 1")
        inner = scope.inner()
        inner.variables[var] = INDEX
        return For(var, start, stop, self.block(inner), kind, step)

    def access(self, name: str, scope: _Scope) -> tuple[Buffer, tuple[Expr, ...]]:
        """The indices of a buffer, after its name."""
        buffer = scope.buffers.get(name)
        if buffer is None:
            self.fail(f"there is no buffer %{name}", near_miss(name, scope.buffers))
        return buffer, tuple(self.list_of("[", "]", lambda: self.expr(scope)))

    # ---- expressions ----

    def expr(self, scope: _Scope, level: int = 1) -> Expr:
        """Sums and products of operands, left to right."""
        value = self.operand(scope)
        while self.kind == "sign" and self.token in _SIGNS and _SIGNS[self.token][1] >= level:
            op, strength = _SIGNS[self.advance()]
            value = Binary(op, value, self.expr(scope, strength + 1))
        return value

    def operand(self, scope: _Scope) -> Expr:
        """A literal, a variable, an access, a call or a sum in parentheses."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            self.fail("blocks and expressions are nested too deeply")
        if self.skip("("):
            value = self.expr(scope)
            self.expect(")")
        elif self.kind == "name":
            value = self.named(scope)
        elif self.token in ("-", "true", "false", "inf", "nan") or self.kind == "number":
            value = self.literal()
        else:
            value = self.call(scope)
        self.depth -= 1
        return value

    def named(self, scope: _Scope) -> Expr:
        """A variable, or an element of a register buffer."""
        start = self.start
        name = self.name("%")
        if self.token == "[":
            return Load(*self.access(name, scope))
        kind = scope.variables.get(name)
        if kind is None:
            self.fail(f"there is no value %{name}", near_miss(name, scope.variables), start)
        return Var(name, kind)

    def literal(self) -> Const:
        """`3` for an index, `3: i32` or `0.5: f32x16` for other types."""
        start = self.start
        sign = "-" if self.skip("-") else ""
        text = sign + self.advance()
        if not self.skip(":"):
            if not text.lstrip("-").isdecimal():
                self.fail(f"a literal that is no index takes a type, such as {text}: f32", at=start)
            return Const(int(text))
        kind = self.element_type()
        if kind.dtype is DType.BOOL:
            return Const(text == "true", kind.dtype, kind.lanes)
        try:
            value = float(text) if kind.dtype.is_float else int(text)
        except ValueError:
            self.fail(f"{text} is not a number of type {kind}", at=start)
        return Const(value, kind.dtype, kind.lanes)

    def call(self, scope: _Scope) -> Expr:
        """An access to memory, or a node by its word."""
        word, start = self.token, self.start
        found = spelling(word) if self.kind == "word" else None
        if found is None and word != "load":
            self.fail(f"expected an expression, found {self.found}", near_miss(word, [*OPERATIONS, *SPELLINGS, "load"]))
        self.advance()
        if found is None:
            return self.load(start, scope)
        parameters = self.parameters(word, found)
        node: Expr = found.build(parameters, tuple(self.arguments(scope, found.count)))
        return node

    def load(self, start: int, scope: _Scope) -> Load:
        """Elements of memory: `load f32x16 %x[0, %i]`, perhaps with `rows 4 pitch 64`, after its first word."""
        kind = self.element_type()
        buffer, indices = self.access(self.name("%"), scope)
        if buffer.dtype is not kind.dtype:
            self.fail(f"%{buffer.name} holds {buffer.dtype}, not {kind.dtype}", at=start)
        if not self.skip("rows"):
            return Load(buffer, indices, kind.lanes)
        rows = self.integer()
        self.expect("pitch")
        return Load(buffer, indices, kind.lanes, rows, self.integer())

    def parameters(self, word: str, found: Spelling) -> dict[str, object]:
        """What stands in angle brackets between a word and its operands: `<f32>`, `<16>`, `<add>`."""
        values: dict[str, object] = {}
        for name, kind in found.parameters.items():
            self.expect("," if values else "<")
            values[name] = self.parameter(word, name, kind)
        if values:
            self.expect(">")
        return values

    def parameter(self, word: str, name: str, kind: type) -> object:
        """An element type, a number or the name of an operation."""
        if kind is DType:
            return self.element_type().dtype
        start = self.start
        text = self.advance()
        if kind is str:
            return text
        sign = text if text == "-" else ""
        digits = self.advance() if sign else text
        if not digits.isdecimal():
            self.fail(f"a {word} takes a number of {name}, not `{sign}{digits}`", at=start)
        return int(sign + digits)

    def arguments(self, scope: _Scope, count: int | None) -> list[Expr]:
        """The arguments of an operation; without a count, one or more."""
        start = self.start
        arguments = self.list_of("(", ")", lambda: self.expr(scope))
        if len(arguments) != (max(1, len(arguments)) if count is None else count):
            self.fail(
                f"this operation takes {'some' if count is None else count} argument(s), not {len(arguments)}", at=start
            )
        return arguments
