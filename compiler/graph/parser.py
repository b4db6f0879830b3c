"""Text -> graph: reads the text form of the graph IR, which `printer` writes.

Every operation is checked as the verifier would (operator, operands, attributes, types against inference), so that
the graph that comes out is sound. Anything wrong raises `NetcError` with the place in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from ..errors import NetcError, near_miss
from ..types import Quantization, TensorType, parse_quantization, parse_type
from .ir import Algorithm, Attribute, Graph, Operation, Operator, Value
from .lexer import Source, Token, tokenize, unquoted
from .registry import lookup
from .syntax import BARE, FROM_TYPE, MAX_DEPTH, MAX_ELEMENTS, MAX_RANK, Elements, array_from_base64, array_from_elements

T = TypeVar("T")


def parse_graph(text: str, file: str = "<graph>") -> Graph:
    """Read a graph; `file` names the text in errors. Raises `NetcError` with a location for any fault."""
    parser = _Parser(Source.of(text, file))
    graph = parser.graph()
    parser.take("end", "the end of the text")
    return graph


@dataclass(frozen=True, slots=True)
class _Dense:
    """An array literal whose type is not known yet."""

    elements: Elements
    base64: str | None
    token: Token


@dataclass(frozen=True, slots=True)
class _Scope:
    """The values that may be used at a place, by name, or by number if they have none."""

    values: dict[str | int, Value]
    is_body: bool = False


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens, self.comments = tokenize(source)
        self.position = 0
        self.graphs = 0

    # Tokens

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

    # Graphs

    def graph(self) -> Graph:
        """A whole graph."""
        self.keyword("graph")
        name = self.name(self.take("symbol", "the graph's name, such as @net"))
        scope = _Scope({})
        inputs = tuple(self.list_of("(", ")", lambda: self.input(scope)))
        self.take("arrow", "`->`")
        outputs = self.list_of("(", ")", lambda: (self.next, self.dense_type()))
        attributes: Attribute = MappingProxyType({})
        if self.next.text == "attributes":
            self.position += 1
            attributes = self.mapping(0)
        operations, returned = self.region(scope)
        self.check_outputs(returned, outputs)
        return Graph(name, inputs, operations, returned, attributes)

    def input(self, scope: _Scope) -> Value:
        """An input with its type."""
        token = self.take("value", "an input, such as %image")
        if token.text[1:].isdigit():
            self.fail("an input needs a name, not a number", token)
        self.take(":")
        return self.define(token, self.dense_type(), scope)

    def check_outputs(self, returned: Sequence[Value], declared: Sequence[tuple[Token, TensorType]]) -> None:
        """Compare the types of the returned values with those of the header."""
        if len(returned) != len(declared):
            token = declared[0][0] if declared else self.next
            self.fail(f"the graph declares {len(declared)} outputs, but returns {len(returned)}", token)
        for value, (token, type_) in zip(returned, declared, strict=True):
            if value.type != type_:
                self.fail(f"the graph declares an output {type_}, but returns {value.type}", token)

    def region(self, scope: _Scope) -> tuple[tuple[Operation, ...], tuple[Value, ...]]:
        """Operations in braces, with the values that are returned at the end."""
        self.take("{")
        operations: list[Operation] = []
        while self.next.text != "return":
            operations.append(self.operation(scope))
        self.position += 1
        returned: list[Value] = []
        while self.next.kind != "}":
            if returned:
                self.take(",", "`,` or `}`")
            returned.append(self.use(scope))
        self.take("}")
        return tuple(operations), tuple(returned)

    # Operations

    def operation(self, scope: _Scope) -> Operation:
        """One operation, to the comment at the end of its line."""
        names = [self.take("value", "an operation, such as `%0 = relu(%x) : f32[1]`, or `return`")]
        while self.skip(","):
            names.append(self.take("value", "another result"))
        self.take("=")
        token = self.take("word", "the name of an operator")
        with self.at(token):
            operator = lookup(token.text)
        self.check_place(operator, token, names[0], scope)
        inner = _Scope({}, is_body=True) if operator.name == "fused" else None
        operands, inputs = self.operands(scope, inner)
        given = self.attributes(operator)
        body = Graph("fused", inputs, *self.region(inner)) if inner is not None else None
        algorithm_token = self.next
        algorithm = self.algorithm() if body is None else None
        types = self.result_types()
        location = self.comments.get(self.source.line(self.tokens[self.position - 1].offset))
        self.check_count(names, types)
        with self.at(token):
            attributes = operator.complete(_with_type(operator, given, types[0], self.dense))
            operator.check_arity(len(operands))
            expected = _inferred(operator, operands, attributes, body)
        self.check_types(operator, expected, types, exact=body is not None)
        problem = algorithm.problem(types[0][1]) if algorithm is not None else None
        if problem is not None:
            self.fail(problem, algorithm_token)
        results = tuple(self.define(n, t, scope) for n, (_, t) in zip(names, types, strict=True))
        return Operation(operator, operands, attributes, results, location, body, algorithm)

    def algorithm(self) -> Algorithm | None:
        """The algorithm that a backend chose, such as `by winograd[4,4]`, if one is written."""
        if self.next.text != "by":
            return None
        self.position += 1
        name = self.take("word", "the name of an algorithm").text

        def size() -> int:
            token = self.take("int", "the size of a tile")
            if len(token.text) > 9:
                self.fail("this number is too large", token)
            return int(token.text)

        return Algorithm(name, tuple(self.list_of("[", "]", size)) if self.next.kind == "[" else ())

    def operands(self, scope: _Scope, inner: _Scope | None) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """Operands in parentheses (which may be missing), and the inputs of the body that they are bound to."""
        inputs: list[Value] = []

        def operand() -> Value:
            if inner is None:
                return self.use(scope)
            token = self.take("value", "an operand, such as %x = %0")
            self.take("=")
            value = self.use(scope)
            inputs.append(self.define(token, value.type, inner))
            return value

        values = self.list_of("(", ")", operand) if self.next.kind == "(" else []
        return tuple(values), tuple(inputs)

    def check_place(self, operator: Operator, token: Token, name: Token, scope: _Scope) -> None:
        """Some operators can't stand everywhere."""
        if scope.is_body and operator.name in ("param", "fused"):
            self.fail(f"a body can't hold {operator.name}", token)
        if operator.name == "param" and name.text[1:].isdigit():
            self.fail("a parameter needs a name, not a number", name)

    def result_types(self) -> list[tuple[Token, TensorType]]:
        """The types behind the colon."""
        self.take(":", "`:` and the result's type")
        types = [(self.next, self.type())]
        while self.skip(","):
            types.append((self.next, self.type()))
        return types

    def check_count(self, names: Sequence[Token], types: Sequence[tuple[Token, TensorType]]) -> None:
        """Every result has one type."""
        if len(names) != len(types):
            self.fail(f"there are {len(names)} results, but {len(types)} types", types[0][0])

    def check_types(
        self,
        operator: Operator,
        expected: Sequence[TensorType],
        types: Sequence[tuple[Token, TensorType]],
        exact: bool,
    ) -> None:
        """The written types are those that the operator gives, layouts aside unless `exact`."""
        if len(expected) != len(types):
            self.fail(f"{operator.name} has {len(expected)} results, not {len(types)}", types[0][0])
        for wanted, (token, given) in zip(expected, types, strict=True):
            if wanted != given and (exact or wanted.dense() != given.dense()):
                self.fail(f"{operator.name} gives {wanted} here, not {given}", token)

    def define(self, token: Token, type_: TensorType, scope: _Scope) -> Value:
        """A new value; names of digits are numbers for values without a name."""
        name = self.value_name(token)
        if name in scope.values:
            self.fail(f"{token.text} is defined twice", token)
        value = Value(type_, name if isinstance(name, str) else None)
        scope.values[name] = value
        return value

    def use(self, scope: _Scope) -> Value:
        """A value that was defined before."""
        token = self.take("value", "a value, such as %0")
        name = self.value_name(token)
        if name not in scope.values:
            hint = near_miss(str(name), map(str, scope.values))
            self.fail(f"{token.text} is not defined before this place", token, hint)
        return scope.values[name]

    def value_name(self, token: Token) -> str | int:
        """The name of a value, or its number."""
        digits = token.text[1:]
        if not digits.isdigit():
            return self.name(token)
        if len(digits) > 9:
            self.fail("this number is too large", token)
        return int(digits)

    # Types and attributes

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

    def attributes(self, operator: Operator) -> dict[str, Attribute]:
        """The attributes of an operation, if a brace opens that is not a body's."""
        if self.next.kind != "{":
            return {}
        after = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if after.kind == "value" or after.text == "return":
            return {}
        return dict(self.mapping(0, bare=operator.name in BARE))

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

    def dense_literal(self) -> _Dense:
        """The part of an array literal before its type."""
        token = self.next
        self.keyword("dense")
        self.take("<")
        if self.next.text == "base64":
            self.position += 1
            text = self.take("string", "base64 in quotes").text[1:-1]
            self.take(">")
            return _Dense((), text, token)
        elements = self.elements(0)
        self.take(">")
        return _Dense(elements, None, token)

    def elements(self, depth: int) -> Elements:
        """Numbers in nested lists."""
        if depth > MAX_DEPTH:
            self.fail(f"lists nest more than {MAX_DEPTH} deep", self.next)
        if self.next.kind == "[":
            return self.list_of("[", "]", lambda: self.elements(depth + 1))
        return self.scalar()

    def dense(self, literal: _Dense, type_: TensorType) -> Attribute:
        """The array that a literal stands for."""
        with self.at(literal.token):
            if literal.base64 is not None:
                return array_from_base64(literal.base64, type_)
            return array_from_elements(literal.elements, type_)


def _with_type(
    operator: Operator,
    given: dict[str, Attribute],
    result: tuple[Token, TensorType],
    dense: Callable[[_Dense, TensorType], Attribute],
) -> dict[str, Attribute]:
    """The given attributes, with those that the result type gives."""
    type_ = result[1]
    derived: dict[str, Any] = {
        "shape": type_.shape,
        "dtype": str(type_.dtype),
        "quantization": type_.quantization,
    }
    for key in FROM_TYPE.get(operator.name, ()):
        if key in given:
            raise NetcError(f"{operator.name} takes its {key} from the result type", hint=f"remove `{key} = ...`")
        given[key] = derived[key]
    return {k: dense(v, type_) if isinstance(v, _Dense) else v for k, v in given.items()}


def _inferred(
    operator: Operator, operands: tuple[Value, ...], attributes: Mapping[str, Attribute], body: Graph | None
) -> tuple[TensorType, ...]:
    if body is not None:
        return tuple(v.type for v in body.outputs)
    return operator.result_types(tuple(v.type for v in operands), attributes)
