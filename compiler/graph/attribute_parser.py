"""Types and values of attributes in the text form of the graph IR: numbers, arrays, quantizations, whole graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ..types import Quantization, TensorType, parse_quantization, parse_type
from .cursor import TokenCursor
from .ir import Attribute, Graph
from .lexer import Source, Token, unquoted
from .syntax import MAX_DEPTH, MAX_ELEMENTS, MAX_RANK, Elements, array_from_base64, array_from_elements


@dataclass(frozen=True, slots=True)
class DenseLiteral:
    """An array literal whose type is not known yet."""

    elements: Elements
    base64: str | None
    token: Token


class AttributeParser(TokenCursor, ABC):
    """Reads types and attributes; the graphs among these are read by a parser that derives from it."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.graphs = 0
        """How deep the graph that is being read lies in attributes of others."""

    @abstractmethod
    def graph(self) -> Graph:
        """A whole graph."""

    def type(self) -> TensorType:
        """A tensor type of bounded size."""
        token = self.take("type", "a type, such as f32[1,28,28,1]")
        sizes = token.text.partition("<")[0].replace(":", ",").replace("[", ",").split(",")
        if any(len(size) > 12 for size in sizes):
            self.fail("this type is too large", token)
        with self.at(token):
            type_ = parse_type(token.text)
            size = type_.with_layout(type_.layout).bytes
        if type_.rank > MAX_RANK or size > MAX_ELEMENTS * 8:
            self.fail(f"this type is too large: at most {MAX_RANK} dimensions, {MAX_ELEMENTS:,} elements", token)
        return type_

    def dense_type(self) -> TensorType:
        """A type without a layout, as inputs and outputs have."""
        token = self.next
        type_ = self.type()
        if type_.layout is not None:
            self.fail("inputs and outputs of a graph have no layout", token)
        return type_

    def mapping(self, depth: int, bare: bool = False) -> Mapping[str, Attribute]:
        """Attributes in braces; `bare` arrays take their type from the result."""
        items: dict[str, Attribute] = {}

        def item() -> None:
            token = self.take("string" if self.next.kind == "string" else "word", "the name of an attribute")
            key = unquoted(token.text)
            if key is None or key in items:
                self.fail(f"{token.text} is given twice" if key else f"{token.text} has a broken escape", token)
            self.take("=")
            items[key] = self.attribute(depth + 1, bare)

        self.list_of("{", "}", item)
        return MappingProxyType(items)

    def attribute(self, depth: int, bare: bool = False) -> Attribute:
        """The value of an attribute."""
        token = self.next
        if depth > MAX_DEPTH:
            self.fail(f"attributes nest more than {MAX_DEPTH} deep", token)
        if token.kind == "[":
            return tuple(self.list_of("[", "]", lambda: self.attribute(depth + 1)))
        if token.kind == "{":
            return self.mapping(depth)
        if token.text == "dense":
            literal = self.dense_literal()
            if bare:
                return literal
            self.take(":", "`:` and the array's type")
            return self.dense(literal, self.type())
        if token.text == "graph":
            return self.nested_graph(token)
        if token.kind == "string":
            self.position += 1
            text = unquoted(token.text)
            if text is None:
                self.fail("this string has a broken escape", token)
            return text
        if token.kind == "<":
            return self.quantization()
        if token.text == "none":
            self.position += 1
            return None
        return self.scalar()

    def quantization(self) -> Quantization:
        """A quantization as the value of an attribute."""
        first = self.take("<")
        while self.next.kind not in (">", "end"):
            self.position += 1
        last = self.take(">")
        with self.at(first):
            return parse_quantization(self.source.text[first.offset : last.offset + 1])

    def nested_graph(self, token: Token) -> Graph:
        """A graph as the value of an attribute."""
        self.graphs += 1
        if self.graphs > MAX_DEPTH:
            self.fail(f"graphs nest more than {MAX_DEPTH} deep", token)
        graph = self.graph()
        self.graphs -= 1
        return graph

    def scalar(self) -> bool | int | float:
        """A number or truth value."""
        token = self.next
        if token.kind not in ("int", "float") and token.text not in ("true", "false"):
            self.unexpected("a value")
        if token.kind == "int" and len(token.text) > 20:
            self.fail("this number is too large", token)
        self.position += 1
        if token.kind == "int":
            return int(token.text)
        return float(token.text) if token.kind == "float" else token.text == "true"

    def dense_literal(self) -> DenseLiteral:
        """The part of an array literal before its type."""
        token = self.next
        self.keyword("dense")
        self.take("<")
        if self.next.text == "base64":
            self.position += 1
            text = self.take("string", "base64 in quotes").text[1:-1]
            self.take(">")
            return DenseLiteral((), text, token)
        elements = self.elements(0)
        self.take(">")
        return DenseLiteral(elements, None, token)

    def elements(self, depth: int) -> Elements:
        """Numbers in nested lists."""
        if depth > MAX_DEPTH:
            self.fail(f"lists nest more than {MAX_DEPTH} deep", self.next)
        if self.next.kind == "[":
            return self.list_of("[", "]", lambda: self.elements(depth + 1))
        return self.scalar()

    def dense(self, literal: DenseLiteral, type_: TensorType) -> Attribute:
        """The array that a literal stands for."""
        with self.at(literal.token):
            if literal.base64 is not None:
                return array_from_base64(literal.base64, type_)
            return array_from_elements(literal.elements, type_)
