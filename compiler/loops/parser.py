"""Text -> kernels and modules: reads what `printer` writes.

The reader checks names and the types that it needs in order to build nodes; `verifier` checks the rest. Anything
wrong raises `NetcError` with the place in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NoReturn, TypeVar

from ..errors import Location, NetcError, near_miss
from ..graph.parser import parse_graph
from ..graph.types import DType, TensorType, parse_type
from .ir import (
    ARITHMETIC,
    COMPARISON,
    INDEX,
    INTEGER,
    UNARY,
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
    LoopKind,
    Reduce,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    VectorType,
)
from .module import Call, Memory, Module, Slot
from .printer import INFIX

T = TypeVar("T")

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    | (?P<name>[%@](?:[A-Za-z_][A-Za-z0-9_.$-]*|"(?:[^"\\\n]|\\.)*"))
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>[-+*=:,<>()\[\]{}])""",
    re.VERBOSE,
)
_TYPE = re.compile(rf"({'|'.join(d.value for d in DType)})(?:x(\d+))?")
_DTYPES = {d.value: d for d in DType}
_LOOPS = {kind.value: kind for kind in LoopKind}
_SIGNS = {sign: (op, level) for op, (sign, level) in INFIX.items()}
_BINARY = (*ARITHMETIC, *INTEGER, *COMPARISON)
_TERNARY: Mapping[str, Callable[[Expr, Expr, Expr], Expr]] = {
    "fma": Fma,
    "select": Select,
    "dot4": Dot4,
    "fixed_mul": FixedMul,
    "fixed_mul_up": partial(FixedMul, halves_up=True),
}
_CALLS = (*_BINARY, *UNARY, *_TERNARY, "cast", "bitcast", "broadcast", "reduce", "load", "interleave")
_MAX_DEPTH = 200


def parse_kernel(text: str, file: str = "<kernel>") -> Kernel:
    """Read one kernel."""
    parser = _Parser(text, file)
    kernel = parser.kernel()
    parser.finish()
    return kernel


def parse_module(text: str, file: str = "<module>") -> Module:
    """Read a module with its set-up graph."""
    parser = _Parser(text, file)
    module = parser.module()
    parser.finish()
    return module


@dataclass(slots=True)
class _Scope:
    buffers: dict[str, Buffer] = field(default_factory=dict[str, Buffer])
    variables: dict[str, VectorType] = field(default_factory=dict[str, VectorType])

    def inner(self) -> _Scope:
        return _Scope(dict(self.buffers), dict(self.variables))


class _Parser:
    """Recursive descent; tokens are matched as they are needed."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.offset = 0
        self.start = 0
        self.kind = ""
        self.token = ""
        self.depth = 0
        self.advance()

    # ---- tokens ----

    def advance(self) -> str:
        """Go to the next token; returns the one left behind."""
        old = self.token
        while True:
            self.start = self.offset
            match = _TOKEN.match(self.text, self.offset)
            if match is None:
                self.kind, self.token = "end", self.text[self.offset : self.offset + 1]
                if self.token:
                    self.fail(f"unexpected character {self.token!r}")
                return old
            self.offset = match.end()
            if match.lastgroup != "space":
                self.kind, self.token = str(match.lastgroup), match.group()
                return old

    def location(self, start: int) -> Location:
        """Line and column of an offset."""
        line = self.text.count("\n", 0, start) + 1
        return Location(self.file, line, start - self.text.rfind("\n", 0, start))

    def fail(self, message: str, hint: str | None = None, at: int | None = None) -> NoReturn:
        """Raise an error at an offset, or at the current token."""
        raise NetcError(message, location=self.location(self.start if at is None else at), hint=hint)

    def expect(self, token: str) -> None:
        """Go past a certain token."""
        if not self.skip(token):
            self.fail(f"expected `{token}`, found {self.found}")

    def skip(self, token: str) -> bool:
        """Go past a token if it comes next."""
        if self.token != token or self.kind == "string":
            return False
        self.advance()
        return True

    @property
    def found(self) -> str:
        """The current token in words."""
        return f"`{self.token}`" if self.token else "the end of the text"

    def take(self, kind: str, what: str) -> str:
        """Go past a token of a kind and return it."""
        if self.kind != kind:
            self.fail(f"expected {what}, found {self.found}")
        return self.advance()

    def finish(self) -> None:
        """Nothing may follow."""
        if self.kind != "end":
            self.fail(f"expected the end of the text, found {self.found}")

    def name(self, sigil: str) -> str:
        """A name with its sigil; returns it without."""
        if not self.token.startswith(sigil):
            self.fail(f"expected a name with `{sigil}`, found {self.found}")
        return self.unquoted(self.take("name", "a name")[1:])

    def unquoted(self, text: str) -> str:
        """The contents of a string literal, or the text itself."""
        if not text.startswith('"'):
            return text
        try:
            return str(json.loads(text))
        except ValueError:
            self.fail(f"{text} has a broken escape")

    def integer(self) -> int:
        """A whole number, perhaps negative."""
        sign = -1 if self.skip("-") else 1
        text = self.token
        if self.kind != "number" or not text.isdecimal():
            self.fail(f"expected a whole number, found {self.found}")
        self.advance()
        return sign * int(text)

    def list_of(self, opening: str, closing: str, item: Callable[[], T]) -> list[T]:
        """Items between brackets, separated by commas."""
        self.expect(opening)
        items: list[T] = []
        while self.token != closing:
            if items:
                self.expect(",")
            items.append(item())
        self.advance()
        return items

    # ---- types and buffers ----

    def element_type(self) -> VectorType:
        """`f32` or `f32x16`."""
        match = _TYPE.fullmatch(self.token)
        if self.kind != "word" or match is None:
            self.fail(f"expected an element type such as f32 or f32x16, found {self.found}")
        self.advance()
        return VectorType(_DTYPES[match[1]], int(match[2] or 1))

    def dtype(self) -> DType:
        """An element type between angle brackets."""
        self.expect("<")
        kind = self.element_type()
        self.expect(">")
        return kind.dtype

    def buffer(self, space: Space) -> Buffer:
        """`%x: f32[4,32]`, with `out` before the type of an output."""
        name = self.name("%")
        self.expect(":")
        if space is Space.ARGUMENT and self.skip("out"):
            space = Space.OUT
        kind = self.element_type()
        shape = tuple(self.list_of("[", "]", self.integer))
        return Buffer(name, kind.dtype, shape, space, kind.lanes)

    def tensor(self) -> tuple[str, TensorType]:
        """`%x: f32[1,2]`, as inputs and outputs of modules."""
        name = self.name("%")
        start = self.offset
        end = self.text.find("\n", start)
        text = self.text[start : end if end >= 0 else len(self.text)]
        try:
            kind = parse_type(text)
        except NetcError as error:
            raise NetcError(str(error.diagnostics[0].message), location=self.location(start)) from None
        self.offset = start + len(text)
        self.advance()
        return name, kind

    # ---- kernels ----

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
        if self.token in (Space.REGISTER.value, Space.STACK.value):
            buffer = self.buffer(Space(self.advance()))
            scope.buffers[buffer.name] = buffer
            return Allocate(buffer)
        if self.skip("if"):
            condition = self.expr(scope)
            then = self.block(scope.inner())
            return If(condition, then, self.block(scope.inner()) if self.skip("else") else ())
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
        """An operation by name."""
        op, start = self.token, self.start
        if self.kind != "word" or op not in _CALLS:
            self.fail(f"expected an expression, found {self.found}", near_miss(op, _CALLS))
        self.advance()
        if op == "load":
            kind = self.element_type()
            buffer, indices = self.access(self.name("%"), scope)
            if buffer.dtype is not kind.dtype:
                self.fail(f"%{buffer.name} holds {buffer.dtype}, not {kind.dtype}", at=start)
            return Load(buffer, indices, kind.lanes)
        if op in ("cast", "bitcast"):
            dtype = self.dtype()
            (value,) = self.arguments(scope, 1)
            return Cast(value, dtype) if op == "cast" else Bitcast(value, dtype)
        if op in ("broadcast", "reduce"):
            return self.across_lanes(op, scope)
        if op in UNARY:
            return Unary(op, *self.arguments(scope, 1))
        if op in _BINARY:
            return Binary(op, *self.arguments(scope, 2))
        if op == "interleave":
            return Interleave(tuple(self.arguments(scope, None)))
        return _TERNARY[op](*self.arguments(scope, 3))

    def across_lanes(self, op: str, scope: _Scope) -> Expr:
        """`broadcast<16>(...)` or `reduce<add>(...)`."""
        self.expect("<")
        option = self.advance()
        self.expect(">")
        (value,) = self.arguments(scope, 1)
        if op == "reduce":
            return Reduce(option, value)
        if not option.isdecimal():
            self.fail(f"a broadcast takes a number of lanes, not `{option}`")
        return Broadcast(value, int(option))

    def arguments(self, scope: _Scope, count: int | None) -> list[Expr]:
        """The arguments of an operation; without a count, one or more."""
        start = self.start
        arguments = self.list_of("(", ")", lambda: self.expr(scope))
        if len(arguments) != (count or max(1, len(arguments))):
            self.fail(f"this operation takes {count or 'some'} argument(s), not {len(arguments)}", at=start)
        return arguments

    # ---- modules ----

    def module(self) -> Module:
        """A whole module."""
        self.expect("module")
        name = self.name("@")
        self.expect("{")
        self.expect("arena")
        arena = self.integer()
        self.expect("weights")
        weights = self.integer()
        self.expect("at")
        offsets = tuple(self.list_of("[", "]", self.integer))
        inputs = self.while_word("input", self.tensor)
        outputs = self.while_word("output", self.tensor)
        state_bytes = self.integer() if self.skip("state") else 0
        state = self.while_word("at", self.state_tensor)
        kernels: list[Kernel] = []
        while self.token == "kernel":
            kernels.append(self.kernel())
        calls = self.while_word("call", self.module_call)
        self.expect("setup")
        setup, length = self.text[self.start :], self.text.rindex("}") - self.start
        graph = parse_graph("\n" * (self.location(self.start).line - 1) + setup[:length], self.file)
        return Module(
            name,
            tuple(kernels),
            tuple(calls),
            tuple(inputs),
            tuple(outputs),
            arena,
            weights,
            offsets,
            self._end(graph),
            tuple(state),
            state_bytes,
        )

    def _end(self, graph: T) -> T:
        self.offset = self.text.rindex("}")
        self.advance()
        self.expect("}")
        return graph

    def while_word(self, word: str, item: Callable[[], T]) -> list[T]:
        """Items that each start with a word."""
        items: list[T] = []
        while self.skip(word):
            items.append(item())
        return items

    def state_tensor(self) -> tuple[str, TensorType, int]:
        """A parameter in the state region, after `at`."""
        offset = self.integer()
        name, type_ = self.tensor()
        return name, type_, offset

    def module_call(self) -> Call:
        """A call after its keyword."""
        kernel = self.name("@")
        slots = tuple(self.list_of("(", ")", self.slot))
        label = self.unquoted(self.take("string", "a label in quotes")) if self.skip("label") else ""
        macs = self.integer() if self.skip("macs") else 0
        barrier = self.skip("barrier")
        return Call(kernel, slots, barrier, label, macs, self.place() if self.skip("at") else None)

    def slot(self) -> Slot:
        """`arena[64]`."""
        names = {m.value: m for m in Memory}
        if self.token not in names:
            self.fail(f"expected one of {', '.join(names)}, found {self.found}")
        memory = names[self.advance()]
        (offset,) = self.list_of("[", "]", self.integer)
        return Slot(memory, offset)

    def place(self) -> Location:
        """`"file":1:2`, or with the end `"file":1:2:1:9`."""
        file = self.unquoted(self.take("string", "a file in quotes"))
        numbers: list[int] = []
        while self.skip(":"):
            numbers.append(self.integer())
        if len(numbers) not in (2, 4):
            self.fail("a place is a line and a column, perhaps with those of its end")
        return Location(file, *numbers)
