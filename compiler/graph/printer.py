"""Text form of graphs: one operation per line, its source location behind it.

Text -> graph is `parser`. Printing is deterministic, and printing what was read gives the same text again. Attributes
that equal their defaults are left out, and so are those that the result type gives (see `syntax`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import InternalError, Location
from ..text import PLAIN_NAME, quoted
from ..types import DType, Quantization
from .ir import Graph, Operation, Value
from .syntax import BARE, FROM_TYPE, PLAIN_FILE, PLAIN_KEY, format_array, format_float

NO_MARKS: Mapping[Operation, str] = MappingProxyType({})


def print_graph(graph: Graph, *, locations: bool = True, marks: Mapping[Operation, str] = NO_MARKS) -> str:
    """The text of a graph, ending in a newline; `marks` puts remarks under operations."""
    names = value_names(graph)
    inputs = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    outputs = ", ".join(str(v.type) for v in graph.outputs)
    attributes = f" attributes {format_attribute(graph.attributes)}" if graph.attributes else ""
    printer = _Printer(locations, marks)
    lines = [
        f"graph {_sigil('@', graph.name)}({inputs}) -> ({outputs}){attributes} {{",
        *printer.region(graph, names, "  "),
        "}",
    ]
    return "\n".join(lines) + "\n"


def value_names(graph: Graph) -> dict[Value, str]:
    """The names by which the text of a graph calls its values: their own, or numbers in order."""
    names: dict[Value, str] = {}
    number = 0
    for value in _definitions(graph):
        if value.name is not None:
            names[value] = _sigil("%", value.name)
        else:
            names[value] = f"%{number}"
            number += 1
    return names


def _definitions(graph: Graph) -> Iterator[Value]:
    yield from graph.inputs
    for op in graph.operations:
        yield from op.results


def _sigil(sigil: str, name: str) -> str:
    return sigil + (name if PLAIN_NAME.fullmatch(name) else quoted(name))


class _Printer:
    """Prints operations with the options of one call of `print_graph`."""

    def __init__(self, locations: bool, marks: Mapping[Operation, str]) -> None:
        self.locations = locations
        self.marks = marks

    def region(self, graph: Graph, names: Mapping[Value, str], indent: str) -> Iterator[str]:
        """The operations of a graph and its return."""
        for op in graph.operations:
            yield from self.operation(op, names, indent)
            if op in self.marks:
                yield from (f"{indent}// ^ {line}" for line in self.marks[op].splitlines())
        yield f"{indent}return {_joined(names, graph.outputs)}".rstrip()

    def operation(self, op: Operation, names: Mapping[Value, str], indent: str) -> Iterator[str]:
        """One operation; a fused one takes several lines."""
        head = f"{indent}{_joined(names, op.results)} = {op.name}"
        tail = f" : {', '.join(str(r.type) for r in op.results)}{self.location(op.location)}"
        attributes = _operation_attributes(op).replace("\n", "\n" + indent)  # those of graphs take several lines
        attributes += f" by {op.algorithm}" if op.algorithm is not None else ""
        if op.body is None:
            operands = f"({_joined(names, op.operands)})" if op.operands or op.operator.operands else ""
            yield f"{head}{operands}{attributes}{tail}"
            return
        inner = value_names(op.body)
        bound = zip(op.body.inputs, op.operands, strict=False)
        operands = ", ".join(f"{inner[i]} = {names.get(o, '%?')}" for i, o in bound)
        yield f"{head}({operands}){attributes} {{"
        yield from self.region(op.body, inner, indent + "  ")
        yield f"{indent}}}{tail}"

    def location(self, location: Location | None) -> str:
        """A location as the comment that ends a line."""
        if location is None or not self.locations:
            return ""
        file = location.file if PLAIN_FILE.fullmatch(location.file) else quoted(location.file)
        return f"  // {file}:{location.line}:{location.column}"


def _joined(names: Mapping[Value, str], values: Iterable[Value]) -> str:
    return ", ".join(names.get(v, "%?") for v in values)


def _operation_attributes(op: Operation) -> str:
    hidden = FROM_TYPE.get(op.name, ())
    parts = []
    for key, value in op.attributes.items():
        spec = op.operator.attributes.get(key)
        if key in hidden or (spec is not None and (value is spec.default or _is_default(value, spec.default))):
            continue
        bare = op.name in BARE and isinstance(value, np.ndarray)
        text = format_array(value) if bare else format_attribute(value)
        parts.append(f"{key} = {text}")
    return f" {{{', '.join(parts)}}}" if parts else ""


def _is_default(value: Any, default: Any) -> bool:
    return type(value) is type(default) and format_attribute(value) == format_attribute(default)


def format_attribute(value: Any) -> str:
    """One attribute; equal attributes, and only those, have equal texts."""
    match value:
        case None:
            return "none"
        case bool() | np.bool_():
            return "true" if value else "false"
        case int() | np.integer():
            return str(int(value))
        case float() | np.floating():
            return format_float(float(value))
        case str():
            return quoted(value)
        case np.ndarray():
            return f"{format_array(value)} : {DType.of(value.dtype)}[{','.join(map(str, value.shape))}]"
        case tuple() | list():
            return "[" + ",".join(map(format_attribute, value)) + "]"
        case Quantization():
            return str(value)
        case Graph():
            return print_graph(value).rstrip("\n")
        case Mapping():
            return "{" + ", ".join(f"{_key(k)} = {format_attribute(v)}" for k, v in value.items()) + "}"
    raise InternalError(f"an attribute can't be a {type(value).__name__}: {value!r}")


def _key(key: str) -> str:
    return key if PLAIN_KEY.fullmatch(key) else quoted(key)
