"""Specifications as text: `crop(4), flip`, `sgd(lr = 0.1, momentum = 0.9)`, `mnist(classes = [0, 1])`.

A list of names, each with arguments by position or by name; values are numbers, strings, lists, true, false, none and
bare words. `str` of a parsed specification is its canonical text, which parses back to an equal one.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from keyword import iskeyword
from types import MappingProxyType

from .errors import NetcError, near_miss
from .text import shortened

Value = float | int | bool | str | None | tuple["Value", ...]

_CONSTANTS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None}
_WORDS = {True: "true", False: "false", None: "none"}
_EXACT = 1e15
"""Whole numbers below it are written without a point."""
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Spec:
    """A name with its arguments."""

    name: str
    positional: tuple[Value, ...] = ()
    named: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        arguments = [format_value(v) for v in self.positional]
        arguments += [f"{key}={format_value(v)}" for key, v in self.named.items()]
        return f"{self.name}({', '.join(arguments)})" if arguments else self.name

    def bind(self, parameters: Mapping[str, Value | type]) -> dict[str, Value]:
        """Give every parameter a value: from the arguments, else its default; a type stands for "no default".

        Raises `NetcError` for surplus, unknown, repeated and missing arguments.
        """
        names = list(parameters)
        if len(self.positional) > len(names):
            takes = f"takes {', '.join(names)}" if names else "takes no arguments"
            raise NetcError(f"`{self}`: {self.name} {takes}")
        values = dict(zip(names, self.positional, strict=False))
        for name, value in self.named.items():
            if name not in parameters:
                hint = near_miss(name, names) or ("there are " + ", ".join(names) if names else None)
                raise NetcError(f"`{self}`: {self.name} has no argument `{name}`", hint=hint)
            if name in values:
                raise NetcError(f"`{self}`: `{name}` is given twice")
            values[name] = value
        for name, default in parameters.items():
            if name not in values:
                if isinstance(default, type):
                    raise NetcError(f"`{self}`: {self.name} needs `{name}`")
                values[name] = default
        return {name: values[name] for name in names}


def parse_specs(text: str, example: str = "crop(4), flip") -> tuple[Spec, ...]:
    """Parse a comma-separated list of specifications; an empty text or `none` gives none.

    Raises `NetcError` for what isn't one; `example` is its hint.
    """
    if text.strip() in ("", "none"):
        return ()
    try:
        tree = ast.parse(f"[{text}\n]", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise NetcError(f"can't read `{shortened(text)}`", hint=f"write for example {example}") from None
    if not isinstance(tree, ast.List):
        raise NetcError(f"can't read `{text}`", hint=f"write for example {example}")
    try:
        return tuple(_spec(node, text) for node in tree.elts)
    except RecursionError:
        raise NetcError(f"`{shortened(text)}` is nested too deeply") from None


def parse_spec(text: str, example: str = "name(key=value)") -> Spec:
    """Parse exactly one specification; errors as for `parse_specs`."""
    specs = parse_specs(text, example)
    if len(specs) != 1:
        raise NetcError(f"`{text}` should be one name, with or without arguments")
    return specs[0]


def format_value(value: Value) -> str:
    """The text of a value."""
    if isinstance(value, bool) or value is None:
        return _WORDS[value]
    if isinstance(value, tuple):
        return "[" + ", ".join(map(format_value, value)) + "]"
    if isinstance(value, str):
        is_word = value.isascii() and value.isidentifier() and not iskeyword(value) and value not in _CONSTANTS
        return value if is_word else json.dumps(value, ensure_ascii=False)
    whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
    return repr(int(value) if whole else value)


def as_number(spec: Spec, name: str, value: Value, low: float, high: float = float("inf")) -> float:
    """`value` as a number from `low` to `high`; raises `NetcError` that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        limits = f"from {low:g} to {high:g}" if high != float("inf") else f"not less than {low:g}"
        raise NetcError(f"`{spec}`: `{name}` must be a number {limits}")
    return float(value)


def as_integer(spec: Spec, name: str, value: Value, low: int) -> int:
    """`value` as a whole number not less than `low`; raises `NetcError` that names the argument."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise NetcError(f"`{spec}`: `{name}` must be a whole number not less than {low}")
    return value


def _spec(node: ast.expr, text: str) -> Spec:
    match node:
        case ast.Name(id=name):
            return Spec(name)
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            keys = [k.arg for k in keywords if k.arg is not None]
            if twice := next((key for key in keys if keys.count(key) > 1), None):
                raise NetcError(f"`{twice}` is given twice in `{text}`")
            if len(keys) == len(keywords):
                named = {key: _value(k.value, text) for key, k in zip(keys, keywords, strict=True)}
                return Spec(name, tuple(_value(a, text) for a in arguments), MappingProxyType(named))
    raise NetcError(f"can't read `{_written(node, text)}` in `{shortened(text)}`", hint="write names like crop(4)")


def _value(node: ast.expr, text: str) -> Value:
    match node:
        case ast.Constant(value=int() as number) | ast.UnaryOp(operand=ast.Constant(value=int() as number)) if (
            number > _LARGEST
        ):
            raise NetcError(f"`{shortened(text)}` has a number that is too large", hint="integers go up to 2**63 - 1")
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.Name(id=name):
            return _CONSTANTS.get(name, name)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return _values(items, text)
    hint = "values are numbers, words, strings, lists"
    raise NetcError(f"can't read `{_written(node, text)}` in `{shortened(text)}`", hint=hint)


def _written(node: ast.expr, text: str) -> str:
    """The part of a text that a node was read from."""
    return shortened(ast.get_source_segment(f"[{text}\n]", node) or text)


def _values(items: Sequence[ast.expr], text: str) -> tuple[Value, ...]:
    return tuple(_value(item, text) for item in items)
