"""Text of a .net file -> syntax tree.

Each definition is parsed by itself. After a syntax error the statement around it (or, in a definition's head, the whole
definition) is left out and the rest is parsed again, so that one run reports several errors.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.util import cache_from_source
from pathlib import Path

import lark
from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedToken, VisitError
from lark.lexer import PatternStr

from ..compiler.errors import Diagnostic, Location, NetcError
from ..compiler.files import replacing
from .ast import Definition, Expr
from .budget import MAX_TOKENS, Budget, OverspentError
from .lexer import Chunk, Comment, Lexer, Source
from .syntax import describe_error, statement_around
from .tree import TreeBuilder

MAX_ERRORS = 20
"""Errors after which a run stops looking for more."""


@dataclass(frozen=True, slots=True)
class SyntaxTree:
    """What a text holds; with diagnostics the definitions are incomplete."""

    definitions: tuple[Definition, ...]
    comments: tuple[Comment, ...]
    diagnostics: tuple[Diagnostic, ...]


@cache
def grammar() -> Lark:
    """The LALR parser for `grammar.lark`: its tables are kept beside Python's bytecode, where that is kept."""
    text = files("netc.frontend").joinpath("grammar.lark").read_text("utf-8")
    digest = hashlib.sha256(f"{lark.__version__}\0{text}".encode()).hexdigest()
    kept = Path(cache_from_source(__file__)).with_suffix(f".{digest[:16]}")
    try:
        with kept.open("rb") as file:
            return Lark.load(file)
    except Exception:  # it isn't there, or is damaged, which shows in any way
        parser = make_parser(text)
    if not sys.dont_write_bytecode:
        with suppress(NetcError), replacing(kept) as part, part.open("wb") as file:
            parser.save(file)
    return parser


def make_parser(text: str) -> Lark:
    """The parser for a grammar."""
    return Lark(
        text,
        parser="lalr",
        lexer="basic",
        start=["definition", "expression"],
        propagate_positions=True,
        maybe_placeholders=True,
    )


@cache
def literals() -> Mapping[str, str]:
    """Token type of each keyword and operator of the grammar."""
    return {t.pattern.value: t.name for t in grammar().terminals if isinstance(t.pattern, PatternStr)}


@cache
def _spelling() -> Mapping[str, str]:
    return {name: text for text, name in literals().items()}


def parse(text: str, file: str, budget: Budget | None = None) -> SyntaxTree:
    """Parse a whole file; problems are in the result's diagnostics. Its tokens are drawn from `budget`."""
    try:
        return _parse(Source(text, file, budget))
    except OverspentError as problem:
        spent = problem
    except VisitError as error:  # what Lark makes of an exception in the tree builder
        if not isinstance(error.orig_exc, OverspentError):
            raise
        spent = error.orig_exc
    return SyntaxTree((), (), (Diagnostic(str(spent), Location(file, 1, 1)),))


def _parse(source: Source) -> SyntaxTree:
    tokens = Lexer(source, literals()).run()
    diagnostics: list[Diagnostic] = []
    definitions: list[Definition] = []
    after_error = False
    for chunk in tokens.chunks:
        if after_error and not chunk.is_definition:
            continue  # most likely the rest of the definition before
        found, problems = _definition(chunk, source)
        diagnostics += problems
        if found is not None:
            definitions.append(found)
        after_error = bool(problems)
        if len(diagnostics) >= MAX_ERRORS:
            break
    diagnostics.sort(key=lambda d: (d.location.line, d.location.column) if d.location else (0, 0))
    return SyntaxTree(tuple(definitions), tuple(tokens.comments), tuple(diagnostics[:MAX_ERRORS]))


def parse_expression(source: Source) -> tuple[Expr | None, list[Diagnostic]]:
    """Parse a single expression, such as one inside the braces of a string."""
    source.budget.expression()
    chunks = Lexer(source, literals(), whole=False).run().chunks
    diagnostics = [d for chunk in chunks for d in chunk.diagnostics]
    if diagnostics:
        return None, diagnostics
    flat = [token for chunk in chunks for token in chunk.tokens]
    if not flat:
        return None, [Diagnostic("an expression is missing here", source.location(source.start, source.end))]
    tree = _feed(flat, "expression")
    if isinstance(tree, _Stop):
        return None, [tree.describe(flat, source.file)]
    builder = TreeBuilder(source, parse_expression)
    expression: Expr = builder.transform(tree)
    return expression, builder.diagnostics


@dataclass(frozen=True, slots=True)
class _Stop:
    """Where and why the parser could not go on."""

    whole: str
    index: int
    token: Token
    allowed: frozenset[str]

    def describe(self, tokens: list[Token], file: str) -> Diagnostic:
        previous = tokens[self.index - 1] if self.index else None
        return describe_error(self.token, previous, self.allowed, _spelling(), file, self.whole)


def _definition(chunk: Chunk, source: Source) -> tuple[Definition | None, list[Diagnostic]]:
    tokens = list(chunk.tokens)
    problems = list(chunk.diagnostics)
    suspect_lines = {d.location.line for d in problems if d.location}
    fed = 0
    while tokens and not chunk.broken and len(problems) < MAX_ERRORS and fed < MAX_TOKENS:
        tree = _feed(tokens, "definition")
        fed += len(tokens)
        if not isinstance(tree, _Stop):
            builder = TreeBuilder(source, parse_expression)
            definition: Definition = builder.transform(tree)
            return definition, problems + builder.diagnostics
        problem = tree.describe(tokens, source.file)
        if problem.location is None or problem.location.line not in suspect_lines:
            problems.append(problem)
        stretch = statement_around(tokens, tree.index)
        if stretch is None:
            break
        del tokens[stretch[0] : stretch[1]]
    return None, problems


def _feed(tokens: list[Token], start: str) -> Tree[Token] | _Stop:
    """Run the parser over tokens; they must not be empty."""
    parser = grammar().parse_interactive(start=start)
    end = Token.new_borrow_pos("$END", "", tokens[-1])
    for index, token in enumerate([*tokens, end]):
        try:
            tree = parser.feed_token(token)
        except UnexpectedToken:
            allowed: set[str] = parser.accepts()  # type: ignore[no-untyped-call]
            return _Stop(start, index, token, frozenset(allowed))
    assert isinstance(tree, Tree), "the end of the tokens ends the parse"
    return tree
