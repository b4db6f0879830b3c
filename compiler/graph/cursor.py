"""Tokens of the graph IR's text, taken one after the other; base of its parsers, which descend recursively."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from ..errors import NetcError
from .lexer import Source, Token, tokenize, unquoted

T = TypeVar("T")


class TokenCursor:
    """A place among the tokens of one text. What isn't expected there raises `NetcError` with its location."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens, self.comments = tokenize(source)
        self.position = 0

    @property
    def next(self) -> Token:
        """The token that comes next."""
        return self.tokens[self.position]

    def take(self, kind: str, what: str | None = None) -> Token:
        """Go past a token of `kind`, or say that `what` was expected."""
        token = self.next
        if token.kind != kind:
            self.unexpected(what or f"`{kind}`")
        self.position += 1
        return token

    def skip(self, kind: str) -> bool:
        """Go past a token of `kind` if it comes next."""
        if self.next.kind != kind:
            return False
        self.position += 1
        return True

    def keyword(self, word: str) -> None:
        """Go past a word."""
        if self.next.text != word:
            self.unexpected(f"`{word}`")
        self.position += 1

    def unexpected(self, wanted: str) -> NoReturn:
        """Say that `wanted` was expected in place of the next token."""
        found = f"`{self.next.text}`" if self.next.text else "the end of the text"
        self.fail(f"expected {wanted}, found {found}", self.next)

    def fail(self, message: str, token: Token, hint: str | None = None) -> NoReturn:
        """Raise an error at a token."""
        raise NetcError(message, location=self.source.location(token), hint=hint)

    @contextmanager
    def at(self, token: Token) -> Iterator[None]:
        """Give errors from elsewhere the location of `token`."""
        try:
            yield
        except NetcError as error:
            raise error.at(self.source.location(token)) from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            # Shape rules may trip over attributes of the right kind whose parts are not, such as ("a", 1) for strides.
            self.fail(f"these operands and attributes don't fit: {error}", token)

    def list_of(self, opening: str, closing: str, item: Callable[[], T]) -> list[T]:
        """Items between brackets, separated by commas."""
        self.take(opening)
        items: list[T] = []
        while self.next.kind != closing:
            if items:
                self.take(",", f"`,` or `{closing}`")
            items.append(item())
        self.take(closing)
        return items

    def name(self, token: Token) -> str:
        """The name after the sigil of a value or symbol."""
        name = unquoted(token.text[1:])
        if name is None:
            self.fail(f"{token.text} has a broken escape", token)
        return name
