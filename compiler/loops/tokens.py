"""Tokens of the text form of kernels and modules, and what names, numbers, types and buffers are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from ..errors import Location, NetcError
from ..reading import reason
from ..types import DType, TensorType, parse_type
from .ir import (
    Buffer,
    Space,
    VectorType,
)

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


class TokenReader:
    """Base of the readers, which descend recursively; tokens are matched as they are needed."""

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

    @contextmanager
    def located(self) -> Iterator[None]:
        """Around the reading: what nodes refuse to be made of is an error at the current token."""
        try:
            yield
        except NetcError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            self.fail(f"this can't stand here: {reason(error)}")

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
