"""Lark's parse tree -> syntax tree, with the checks that the grammar can't express.

A method stands for each rule (or alias) of grammar.lark. The transformation is not recursive, so that deep nesting in
the text can't exhaust Python's stack.
"""

# ruff: noqa: D102 (the rules of the grammar document the methods)

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from lark import Token
from lark.tree import Meta
from lark.visitors import Transformer_NonRecursive, v_args

from ..compiler.errors import Diagnostic, Location
from . import ast
from .lexer import Source

MAX_INTEGER = 2**63 - 1
"""Largest integer of the language, in magnitude."""

_SEGMENT = re.compile(r"\{\{|\}\}|\{|\}|\\.|[^{}\\]+")
_ESCAPES = {"\\n": "\n", "\\t": "\t", '\\"': '"', "\\\\": "\\", "\\{": "{", "\\}": "}"}

ParseExpression = Callable[[Source], tuple[ast.Expr | None, list[Diagnostic]]]


@v_args(meta=True)
class TreeBuilder(Transformer_NonRecursive[Token, Any]):
    """Makes syntax tree nodes; collects problems in `diagnostics`."""

    def __init__(self, source: Source, parse_expression: ParseExpression) -> None:
        super().__init__()
        self.source = source
        self.parse_expression = parse_expression
        self.diagnostics: list[Diagnostic] = []

    def _at(self, meta: Meta) -> Location:
        return Location(self.source.file, meta.line, meta.column, meta.end_line, meta.end_column)

    def _of(self, token: Token) -> Location:
        return Location(
            self.source.file, token.line or 1, token.column or 1, token.end_line or 1, token.end_column or 1
        )

    def _bind(self, token: Token) -> ast.Name:
        return ast.Name(self._of(token), str(token))

    def _problem(self, message: str, location: Location, hint: str | None = None) -> None:
        self.diagnostics.append(Diagnostic(message, location, hint))

    # --- definitions

    def definition(self, meta: Meta, children: list[Any]) -> ast.Definition:
        return cast(ast.Definition, children[0])

    def import_(self, meta: Meta, children: list[Any]) -> ast.Import:
        return ast.Import(self._at(meta), self._plain_text(children[0]))

    def net(self, meta: Meta, children: list[Any]) -> ast.Net:
        name, parameters, body = children
        return ast.Net(self._at(meta), self._bind(name), parameters, body)

    def block(self, meta: Meta, children: list[Any]) -> ast.Block:
        name, parameters, body = children
        return ast.Block(self._at(meta), self._bind(name), parameters, body)

    def func(self, meta: Meta, children: list[Any]) -> ast.Func:
        name, parameters, body = children
        return ast.Func(self._at(meta), self._bind(name), parameters, body)

    def gradient(self, meta: Meta, children: list[Any]) -> ast.Gradient:
        name, parameters, body = children
        for parameter in parameters:
            if parameter.default is not None:
                self._problem("a parameter of a gradient has no default", parameter.default.location)
        return ast.Gradient(self._at(meta), self._bind(name), parameters, body)

    def specialisation(self, meta: Meta, children: list[Any]) -> ast.Specialisation:
        name, base, arguments = children
        for argument in arguments:
            if argument.name is None:
                self._problem(
                    "a specialisation gives hyperparameters by name", argument.location, "write `name = value`"
                )
        return ast.Specialisation(self._at(meta), self._bind(name), self._bind(base), arguments)

    def train(self, meta: Meta, children: list[Any]) -> ast.Train:
        return ast.Train(self._at(meta), self._bind(children[0]), children[1])

    def preprocess(self, meta: Meta, children: list[Any]) -> ast.Preprocess:
        return ast.Preprocess(self._at(meta), self._bind(children[0]), children[1])

    def settings(self, meta: Meta, children: list[Any]) -> tuple[ast.Setting, ...]:
        settings = tuple(c for c in children if isinstance(c, ast.Setting))
        self._unique((s.name for s in settings), "is set twice")
        return settings

    def setting(self, meta: Meta, children: list[Any]) -> ast.Setting:
        return ast.Setting(self._at(meta), self._bind(children[0]), children[1])

    def parameters(self, meta: Meta, children: list[Any]) -> tuple[ast.Parameter, ...]:
        parameters = tuple(c for c in children if c is not None)
        self._unique((p.name for p in parameters), "is the name of two parameters")
        return parameters

    def parameter(self, meta: Meta, children: list[Any]) -> ast.Parameter:
        name, annotation, default = children
        return ast.Parameter(self._at(meta), self._bind(name), annotation, default)

    def annotation(self, meta: Meta, children: list[Any]) -> ast.Annotation:
        return ast.Annotation(self._at(meta), str(children[0]), children[1], children[2])

    def quantization(self, meta: Meta, children: list[Any]) -> str:
        opening, scale, sign, zero_point, closing = children
        if (opening, closing) != ("<", ">"):
            self._problem("scale and zero point stand in < and >", self._at(meta), "write for example <0.0235:-128>")
        point = "" if zero_point is None else f":{sign or ''}{zero_point}"
        return f"<{scale}{point}>".replace("_", "")

    def sizes(self, meta: Meta, children: list[Any]) -> tuple[ast.Expr, ...]:
        return _present(children)

    def _unique(self, names: Iterable[ast.Name], complaint: str) -> None:
        seen: dict[str, ast.Name] = {}
        for name in names:
            if name.id in seen:
                self._problem(f"`{name.id}` {complaint}", name.location, f"first at {seen[name.id].location}")
            seen.setdefault(name.id, name)

    # --- statements

    def body(self, meta: Meta, children: list[Any]) -> ast.Body:
        return ast.Body(self._at(meta), tuple(c for c in children if isinstance(c, ast.Statement)))

    def assign(self, meta: Meta, children: list[Any]) -> ast.Assign | ast.Next:
        target, value = children
        if isinstance(target, ast.Call) and isinstance(target.callee, ast.Name) and target.callee.id == "next":
            if len(target.arguments) == 1 and target.arguments[0].name is None and target.label is None:
                return ast.Next(self._at(meta), target.arguments[0].value, value)
            self._problem("next takes one state", target.location, "write `next(state) = value`")
            return ast.Assign(self._at(meta), ast.Name(target.location, "_"), None, value)
        return ast.Assign(self._at(meta), self._target(children[0]), None, children[1])

    def augmented(self, meta: Meta, children: list[Any]) -> ast.Assign:
        target, operator, value = children
        if not isinstance(target, ast.Name):
            self._problem(f"`{operator}` changes a single name", target.location)
            target = ast.Name(target.location, "_")
        return ast.Assign(self._at(meta), target, str(operator)[:-1], value)

    def return_(self, meta: Meta, children: list[Any]) -> ast.Return:
        return ast.Return(self._at(meta), children[0])

    def for_(self, meta: Meta, children: list[Any]) -> ast.For:
        target, iterable, body = children
        return ast.For(self._at(meta), self._target(target), iterable, body)

    def while_(self, meta: Meta, children: list[Any]) -> ast.While:
        return ast.While(self._at(meta), *children)

    def if_(self, meta: Meta, children: list[Any]) -> ast.If:
        condition, yes, no = children
        if isinstance(no, ast.If):
            no = ast.Body(no.location, (no,))
        return ast.If(self._at(meta), condition, yes, no)

    def lone_expression(self, meta: Meta, children: list[Any]) -> None:
        hint = "write `name = value` or `return value`"
        if isinstance(children[0], ast.Compare) and children[0].operators[0] == "==":
            hint = "to assign, write `=`"
        self._problem("the value of this expression is not used", self._at(meta), hint)

    def values(self, meta: Meta, children: list[Any]) -> ast.Expr:
        return cast(ast.Expr, children[0]) if len(children) == 1 else ast.Sequence(self._at(meta), tuple(children))

    def _target(self, value: ast.Expr) -> ast.Target:
        if isinstance(value, ast.Name):
            return value
        if isinstance(value, ast.Sequence):
            return ast.Targets(value.location, tuple(self._target(item) for item in value.items))
        self._problem("only names can be assigned to", value.location)
        return ast.Name(value.location, "_")

    # --- expressions

    def conditional(self, meta: Meta, children: list[Any]) -> ast.Conditional:
        return ast.Conditional(self._at(meta), *children)

    def pipe(self, meta: Meta, children: list[Any]) -> ast.Pipe:
        return ast.Pipe(self._at(meta), children[0], tuple(children[1:]))

    def stage(self, meta: Meta, children: list[Any]) -> ast.Call:
        callee, label, arguments = children
        return ast.Call(self._at(meta), callee, label, arguments or ())

    def call(self, meta: Meta, children: list[Any]) -> ast.Call:
        return ast.Call(self._at(meta), *children)

    def label(self, meta: Meta, children: list[Any]) -> ast.Expr:
        token: Token = children[0]
        return self._string(token) if token.type == "STRING" else ast.String(self._of(token), (str(token),))

    def arguments(self, meta: Meta, children: list[Any]) -> tuple[ast.Argument, ...]:
        arguments = tuple(c for c in children if c is not None)
        self._unique((ast.Name(a.location, a.name) for a in arguments if a.name), "is given twice")
        named = False
        for argument in arguments:
            if named and argument.name is None:
                self._problem("an argument by position can't follow one by name", argument.location)
            named = named or argument.name is not None
        return arguments

    def argument(self, meta: Meta, children: list[Any]) -> ast.Argument:
        name, value = children
        return ast.Argument(self._at(meta), None if name is None else str(name), value)

    def index(self, meta: Meta, children: list[Any]) -> ast.Index | ast.Slice:
        value, *places = children
        if len(places) == 1 and not isinstance(places[0], ast.Range):
            return ast.Index(self._at(meta), value, places[0])
        return ast.Slice(self._at(meta), value, tuple(places))

    def range(self, meta: Meta, children: list[Any]) -> ast.Range:
        return ast.Range(self._at(meta), *children)

    def member(self, meta: Meta, children: list[Any]) -> ast.Member:
        return ast.Member(self._at(meta), children[0], str(children[1]))

    def record(self, meta: Meta, children: list[Any]) -> ast.RecordOf:
        fields = tuple(c for c in children if isinstance(c, ast.Field))
        self._unique((ast.Name(f.location, f.name) for f in fields), "is given twice")
        return ast.RecordOf(self._at(meta), fields)

    def field(self, meta: Meta, children: list[Any]) -> ast.Field:
        return ast.Field(self._at(meta), str(children[0]), children[1])

    def binary(self, meta: Meta, children: list[Any]) -> ast.Binary:
        left, operator, right = children
        return ast.Binary(self._at(meta), str(operator), left, right)

    def unary(self, meta: Meta, children: list[Any]) -> ast.Unary:
        return ast.Unary(self._at(meta), str(children[0]), children[1])

    def compare(self, meta: Meta, children: list[Any]) -> ast.Compare:
        return ast.Compare(self._at(meta), tuple(children[::2]), tuple(map(str, children[1::2])))

    def sequence(self, meta: Meta, children: list[Any]) -> ast.Sequence:
        return ast.Sequence(self._at(meta), _present(children))

    def name(self, meta: Meta, children: list[Any]) -> ast.Name:
        return self._bind(children[0])

    def true(self, meta: Meta, children: list[Any]) -> ast.Literal:
        return ast.Literal(self._at(meta), True)

    def false(self, meta: Meta, children: list[Any]) -> ast.Literal:
        return ast.Literal(self._at(meta), False)

    def none(self, meta: Meta, children: list[Any]) -> ast.Literal:
        return ast.Literal(self._at(meta), None)

    def number(self, meta: Meta, children: list[Any]) -> ast.Literal:
        location = self._of(children[0])
        text = str(children[0]).replace("_", "")
        if any(c in text for c in ".eE"):
            value = float(text)
            if math.isfinite(value):
                return ast.Literal(location, value)
            self._problem("this number is too large for a float", location)
        elif len(text) > 19 or int(text) > MAX_INTEGER:
            self._problem("this number is too large", location, "integers go up to 2**63 - 1")
        else:
            return ast.Literal(location, int(text))
        return ast.Literal(location, 0)

    # --- text

    def string(self, meta: Meta, children: list[Any]) -> ast.String:
        return self._string(children[0])

    def _plain_text(self, token: Token) -> str:
        string = self._string(token)
        if any(not isinstance(part, str) for part in string.parts):
            self._problem("this text can't hold expressions", string.location)
        return "".join(part for part in string.parts if isinstance(part, str))

    def _string(self, token: Token) -> ast.String:
        parts: list[str | ast.Expr] = []
        start = (token.start_pos or 0) + 1
        end = (token.end_pos or 0) - 1
        if len(token) != end - start + 2:  # stands for text that the lexer has complained about
            return ast.String(self._of(token), ())
        while start < end:
            match = _SEGMENT.match(self.source.text, start, end)
            if match is None:
                break
            segment = match.group()
            if segment == "{":
                start = self._interpolation(start, end, parts)
                continue
            parts.append(self._plain(segment, start))
            start = match.end()
        return ast.String(self._of(token), tuple(p for p in parts if p != ""))

    def _plain(self, segment: str, start: int) -> str:
        if segment == "}":
            self._problem("`}` without `{` in a text", self.source.location(start, start + 1), "write `}}` for a brace")
        if segment in ("{{", "}}"):
            return segment[0]
        if segment.startswith("\\"):
            if segment not in _ESCAPES:
                self._problem(f"`{segment}` is no escape of the language", self.source.location(start, start + 2))
            return _ESCAPES.get(segment, "")
        return segment

    def _interpolation(self, start: int, end: int, parts: list[str | ast.Expr]) -> int:
        close = self.source.text.find("}", start, end)
        if close < 0:
            self._problem("`{` is never closed", self.source.location(start, start + 1), "write `{{` for a brace")
            return end
        expression, problems = self.parse_expression(self.source.part(start + 1, close))
        self.diagnostics += problems
        if expression is not None:
            parts.append(expression)
        return close + 1


def _present(children: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(c for c in children if c is not None)
