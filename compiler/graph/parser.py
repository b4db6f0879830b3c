"""Text -> graph: reads the text form of the graph IR, which `printer` writes.

Every operation is checked as the verifier would (operator, operands, attributes, types against inference), so that
the graph that comes out is sound. Anything wrong raises `NetcError` with the place in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import NetcError, near_miss
from ..types import TensorType
from .algorithm import Algorithm
from .attribute_parser import AttributeParser, DenseLiteral
from .ir import Attribute, Graph, Operation, Operator, Value
from .lexer import Source, Token
from .registry import lookup
from .syntax import BARE, FROM_TYPE


def parse_graph(text: str, file: str = "<graph>") -> Graph:
    """Read a graph; `file` names the text in errors. Raises `NetcError` with a location for any fault."""
    parser = _Parser(Source.of(text, file))
    graph = parser.graph()
    parser.take("end", "the end of the text")
    return graph


@dataclass(frozen=True, slots=True)
class _Scope:
    """The values that may be used at a place, by name, or by number if they have none."""

    values: dict[str | int, Value]
    is_body: bool = False


class _Parser(AttributeParser):
    """Reads graphs and operations."""

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

    def attributes(self, operator: Operator) -> dict[str, Attribute]:
        """The attributes of an operation, if a brace opens that is not a body's."""
        if self.next.kind != "{":
            return {}
        after = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if after.kind == "value" or after.text == "return":
            return {}
        return dict(self.mapping(0, bare=operator.name in BARE))

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


def _with_type(
    operator: Operator,
    given: dict[str, Attribute],
    result: tuple[Token, TensorType],
    dense: Callable[[DenseLiteral, TensorType], Attribute],
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
    return {k: dense(v, type_) if isinstance(v, DenseLiteral) else v for k, v in given.items()}


def _inferred(
    operator: Operator, operands: tuple[Value, ...], attributes: Mapping[str, Attribute], body: Graph | None
) -> tuple[TensorType, ...]:
    if body is not None:
        return tuple(v.type for v in body.outputs)
    return operator.result_types(tuple(v.type for v in operands), attributes)
